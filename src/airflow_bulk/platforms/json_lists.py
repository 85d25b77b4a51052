"""The answer of an API that lists records as JSON: where its records, its total and its next page stand.

Such an answer is read strictly, since what is taken for an empty list leads to deletions: an answer that is not what was
asked for is an error that names the key looked for, the type found and the names of the keys that are there. It never tells
a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_bulk.platforms.answers import json_reader
from airflow_bulk.platforms.call import Call, Reply
from airflow_bulk.platforms.errors import TryLater, WrongAnswer, reduce_message
from airflow_bulk.platforms.extract_load import problem

Record = dict[str, Any]
#: Keys that say in an answer of status 200 that it failed.
ERROR_KEYS = ("error", "errors")
#: What is found at a key that is not there.
ABSENT: Any = object()
#: Names of keys that a message tells, and the most characters of one.
_NAMES, _NAME_LENGTH = 20, 40
_any = json_reader(Any)
_DIGITS = re.compile(r"[0-9]{1,18}")
_PLAIN_NAME = re.compile(r"[A-Za-z_@$][A-Za-z0-9_.:@$-]*")


class JsonPage(NamedTuple):
    """One answer of a list.

    :param records: its records.
    :param total: how many the whole list has; ``None`` where the answer need not say it.
    :param next: what stands where the next page is named; :data:`ABSENT` if nothing does.
    :param more: whether it says that more follow; ``None`` where it need not say it.
    :param link: the header ``Link``; ``None`` without it.
    :param answer: the whole answer, to tell the names of its keys.
    """

    records: list[Record]
    total: int | None = None
    next: Any = None
    more: bool | None = None
    link: str | None = None
    answer: Any = None


@dataclass(frozen=True)
class JsonList:
    """Where things stand in the answers of one list. Keys may be dotted: ``paging.next.after``.

    :param records_key: the records; ``None``: the answer is the array.
    :param next_key: what names the next page; ``None``: nothing does.
    :param more_key: true or false: whether more follow; ``None``: nothing says it.
    :param total_key: how many records the list has; ``None``: nothing says it.
    :param total_header: the header that says how many records the list has.
    :param error_keys: keys that, unless they are empty, say that the answer failed.
    """

    records_key: str | None = None
    next_key: str | None = None
    more_key: str | None = None
    total_key: str | None = None
    total_header: str | None = None
    error_keys: tuple[str, ...] = ERROR_KEYS

    def page(self, reply: Reply, what: str) -> JsonPage:
        """Read one answer.

        :param what: the call in words, for errors.
        :raises WrongAnswer: it is not what was asked for. A retry brings the same.
        :raises TryLater: it says that it failed.
        :raises ValueError: it is no JSON; it may have been cut short.
        """
        answer = self.answer(reply, what)
        return JsonPage(
            self._records(answer, what),
            self._total(answer, reply, what),
            dig(answer, self.next_key) if self.next_key else None,
            self._more(answer, what),
            reply.headers.get("link"),
            answer,
        )

    def answer(self, reply: Reply, what: str) -> Any:
        """Read the JSON of an answer that does not say that it failed; raises what :meth:`page` raises."""
        answer = read_json(reply, what)
        for key in self.error_keys if isinstance(answer, dict) else ():
            found = dig(answer, key)
            if found is not ABSENT and found and key != self.records_key:
                text = found.get("message") if isinstance(found, dict) else found
                text = f" ({reduce_message(text)})" if isinstance(text, str) else ""
                raise TryLater(
                    what,
                    f"the answer has status {reply.status} and says in {key} that it failed{text}",
                    retry="A retry asks again; nothing that was recorded is repeated.",
                    status=reply.status,
                )
        return answer

    def _records(self, answer: Any, what: str) -> list[Record]:
        key = self.records_key
        if key is None:
            if not isinstance(answer, list):
                raise wrong(
                    what,
                    f"the answer is {type_of(answer)}, and an array of records was looked for (records_key=None)",
                    answer,
                )
            found, place = answer, "the answer"
        else:
            if not isinstance(answer, dict):
                raise wrong(
                    what, f"the answer is {type_of(answer)}, and the key {key} was looked for in an object"
                )
            found, place = dig(answer, key), f"the key {key}"
            if found is ABSENT:
                raise wrong(
                    what, f"the answer has no key {key}, where the records were looked for", answer, key
                )
            if not isinstance(found, list):
                raise wrong(
                    what, f"{place} holds {type_of(found)}, and an array of records was looked for", answer
                )
        for number, record in enumerate(found, 1):
            if not isinstance(record, dict):
                raise wrong(
                    what, f"{place} holds {type_of(record)} in place {number}, and an object was looked for"
                )
        return found

    def _total(self, answer: Any, reply: Reply, what: str) -> int | None:
        if self.total_header:
            text = reply.headers.get(self.total_header.lower())
            if text is None:
                raise wrong(
                    what, f"the answer has no header {self.total_header}, where its total was looked for"
                )
            return number_of(text, f"the header {self.total_header}", what)
        if not self.total_key:
            return None
        found = dig(answer, self.total_key)
        if found is ABSENT:
            raise wrong(
                what,
                f"the answer has no key {self.total_key}, where its total was looked for",
                answer,
                self.total_key,
            )
        return number_of(found, f"the key {self.total_key}", what)

    def _more(self, answer: Any, what: str) -> bool | None:
        if not self.more_key:
            return None
        found = dig(answer, self.more_key)
        if not isinstance(found, bool):
            told = "is not there" if found is ABSENT else f"holds {type_of(found)}"
            raise wrong(
                what,
                f"the key {self.more_key} {told}, and true or false was looked for",
                answer,
                self.more_key,
            )
        return found


def ask(
    path: str, what: str, listed: JsonList, *, query: Mapping[str, Any], url: str | None = None
) -> Call[JsonPage]:
    """Ask for one page of a list.

    :param url: a whole URL that the page before has named, in place of path and query.
    """
    return Call("GET", path, what, lambda reply: listed.page(reply, what), problem, query=query, url=url)


def ask_total(
    path: str, what: str, key: str | None, *, query: Mapping[str, Any], error_keys: tuple[str, ...]
) -> Call[int]:
    """Ask how many records a list has.

    :param key: where the number stands; ``None``: the answer is the number.
    """

    def parse(reply: Reply) -> int:
        answer = JsonList(key, error_keys=error_keys).answer(reply, what)
        found = answer if key is None else dig(answer, key)
        if found is ABSENT:
            raise wrong(what, f"the answer has no key {key}, where the total was looked for", answer, key)
        return number_of(found, f"the key {key}" if key else "the answer", what)

    return Call("GET", path, what, parse, problem, query=query)


def read_json(reply: Reply, what: str) -> Any:
    """Read an answer's JSON, whatever its content type is called: many a script sends JSON as ``text/html``.

    :raises WrongAnswer: it is a page for people.
    :raises ValueError: it is no JSON; it may have been cut short.
    """
    try:
        return _any(reply.body)
    except ValueError:
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if "html" in kind or reply.body.lstrip()[:1] == b"<":
            raise wrong(
                what, "the answer is a page of HTML or XML and no JSON, such as a page to log in has"
            ) from None
        raise


def dig(answer: Any, key: str) -> Any:
    """Return what stands at a key, dots reach inside; :data:`ABSENT` if there is no such key."""
    if isinstance(answer, dict) and key in answer:
        return answer[key]
    value = answer
    for step in key.split("."):
        if not isinstance(value, dict) or step not in value:
            return ABSENT
        value = value[step]
    return value


def number_of(found: Any, place: str, what: str) -> int:
    """Read a number from 0 up, or text with one.

    :raises WrongAnswer: it is none.
    """
    number = whole_number(found)
    if number is None or number < 0:
        told = "a number" if number is not None else type_of(found)
        raise wrong(what, f"{place} holds {told}, and a whole number from 0 up was looked for")
    return number


def whole_number(found: Any) -> int | None:
    """Return a whole number, also one that is written ``2.0`` or as text; ``None`` if it is none."""
    if isinstance(found, str) and _DIGITS.fullmatch(found.strip()):
        return int(found)
    if isinstance(found, float) and found.is_integer() and abs(found) < 2**53:
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def wrong(what: str, why: str, answer: Any = None, key: str | None = None) -> WrongAnswer:
    """The error for an answer that is not what was asked for.

    :param answer: tells the names of its keys, and no value.
    :param key: the dotted key that was looked for: the names are those of the object that lacks it.
    """
    place = ""
    for step in key.split(".") if key else ():
        if not isinstance(answer, dict) or not isinstance(answer.get(step), dict):
            break
        answer, place = answer[step], f"{place}.{step}" if place else step
    names = (
        f"; the keys {f'of {place}' if place else 'there'} are {names_of(answer)}"
        if isinstance(answer, dict)
        else ""
    )
    return WrongAnswer(
        what,
        f"{why}{names}",
        retry="A retry cannot help: look at what the source answers, correct the source's options, and clear this task.",
    )


def names_of(answer: dict[str, Any]) -> str:
    """Return the names of an object's keys. What is no plain name, such as a person's, an address or an id, is a ``*``."""
    told = [
        reduce_message(name, _NAME_LENGTH) if _PLAIN_NAME.fullmatch(name) else "*"
        for name in list(answer)[:_NAMES]
    ]
    return ", ".join(told + ["..."] * (len(answer) > _NAMES)) or "none"


def type_of(value: Any) -> str:
    """Return the JSON type of a value in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    words = {dict: "an object", list: "an array", str: "text", int: "a number", float: "a number"}
    return words.get(type(value), type(value).__name__)
