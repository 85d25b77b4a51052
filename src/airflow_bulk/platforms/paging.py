"""How a list is given in pages: what is asked for first, and what after each answer, up to the end.

A page that is shorter than asked for is not the end: a server may give fewer records than asked for. The end is what the
answers say it is; or an empty page that was really asked for; or the total, once it is reached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from airflow_bulk.platforms.errors import WrongAnswer
from airflow_bulk.platforms.json_lists import ABSENT, JsonPage, dig, type_of, whole_number, wrong
from airflow_bulk.platforms.link_header import OF_PAGES, read_links

#: What each way of paging is, and the key that names its next page where the author names none.
NEXT_KEYS: dict[str, str | None] = {
    "number": "next_page",
    "offset": None,
    "cursor": "next_cursor",
    "url": "next",
    "link": None,
    "key": None,
    "none": None,
}
#: Those whose next page is asked for with what an answer named, which may be gone by then.
NAMED = ("cursor", "url", "link", "key")
#: So many pages without a record, one after the other, and the list is taken for one without end.
EMPTY_PAGES = 1000

_HOST = re.compile(r"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\]")

EMPTY_PAGE = "an empty page after the last record"
LAST_PAGE = "a last page that names no next one"
NO_MORE = "a last page that says that no more follow"


class PagesRepeat(WrongAnswer):
    """A list names a page again that was read before, so that reading it would never end."""


class Ask(NamedTuple):
    """What is asked for: parameters of the query, or a URL that an answer has named."""

    query: Mapping[str, Any] = {}
    url: str | None = None


class End(NamedTuple):
    """The list is at its end.

    :param rests_on: what says so; ``None`` if nothing does.
    """

    rests_on: str | None


def whole_url(address: str, target: str) -> str | None:
    """Return the URL that *target* stands for; ``None`` if it is none of http or https.

    It has no name and password: what an answer says is no credential of ours. It is put together from its parts, so that
    who compares hosts and who connects read the same host.

    :param address: to which it may be relative.
    """
    try:
        parts = urlsplit(urljoin(address, target.strip()))
        host, port = parts.hostname or "", parts.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:  # also a UnicodeError; their texts quote the URL
        return None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        return None
    place = host if port is None else f"{host}:{port}"
    return urlunsplit((parts.scheme, place, parts.path, parts.query, ""))


@dataclass(frozen=True)
class Paging:
    """The options of a list that is given in pages; :class:`airflow_bulk.hooks.extract_load_json.JsonSource` explains them.

    :param size_known: the server has shown that it gives as many records of a page as *page_size* says.
    """

    style: str
    next_key: str | None
    param: str
    size_param: str | None
    page_size: int
    first_page: int = 1
    key_field: str = "id"
    more_key: str | None = None
    last_page_omits_next: bool = False
    size_known: bool = False

    def walk(self, address: str, what: str) -> Walk:
        """Begin to read the list.

        :param address: the URL of the list, to which a next page may be relative.
        :param what: the list in words, for errors.
        """
        return Walk(self, address, what)


@dataclass
class Walk:
    """One reading, page after page.

    :param undecided: the first page had fewer records than asked for, and the next one tells whether they are all.
    :param capped: it told that they are not.
    """

    paging: Paging
    address: str
    what: str
    undecided: bool = False
    capped: bool = False
    _place: int = 0
    _read: int = 0
    _pages: int = 0
    _empty: int = 0
    _named: bool = False
    _seen: set[Any] = field(default_factory=set)

    def first(self) -> Ask:
        """Return what is asked for first."""
        style = self.paging.style
        if style == "number":
            self._place = self.paging.first_page
            return self._ask(self._place)
        return self._ask(0) if style == "offset" else self._ask(None)

    def after(self, page: JsonPage, total: int | None) -> Ask | End:
        """Return what is asked for after a page.

        :param total: how many records the list has, if that is known.
        :raises WrongAnswer: what names the next page is not there, or is no such thing.
        :raises PagesRepeat: it names a page that was read before.
        """
        self._pages += 1
        self._read += len(page.records)
        self._empty = 0 if page.records else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise self._repeats(
                f"{EMPTY_PAGES} pages one after the other hold no record, and each names a next one"
            )
        then = self._then(page, total)
        return self._in_size_given(page, then) if self.paging.style == "number" else then

    def _in_size_given(self, page: JsonPage, then: Ask | End) -> Ask | End:
        """Ask for no more records of a page than the first one had.

        A server that gives 50 where 100 are asked for may nonetheless begin page 2 behind record 100: then 50 are never seen.
        """
        if self.undecided:
            self.undecided, self.capped = False, bool(page.records)
        elif (
            self._pages == 1
            and not self.paging.size_known
            and self.paging.size_param
            and 0 < len(page.records) < self.paging.page_size
            and isinstance(then, Ask)
            and then.url is None
        ):
            self.undecided = True
            self.paging = replace(self.paging, page_size=len(page.records))
            return self._ask(self._place)
        return then

    def _then(self, page: JsonPage, total: int | None) -> Ask | End:
        style = self.paging.style
        if style == "none":
            return End(None)
        if page.more is False:
            return End(NO_MORE)
        if style == "link":
            return self._linked(page)
        if self.paging.next_key is not None:
            return self._named_next(page)
        return self._counted_on(page, total)

    def _counted_on(self, page: JsonPage, total: int | None) -> Ask | End:
        """Nothing names the next page, so it follows from this one."""
        if not page.records:
            if page.more:
                raise self._repeats("a page without a record says that more follow")
            return End(EMPTY_PAGE)
        if total is not None and self._read >= total and page.more is None:
            return End(None)  # the total is what it rests on
        style = self.paging.style
        if style == "key":
            key = self._last_key(page)
            why = (
                f"page {self._pages} ends with the record that an earlier page ended with. The parameter {self.paging.param} may be"
                " none of the source (after_param)"
            )
            return self._once(key, self._ask(key), why)
        self._place += 1 if style == "number" else len(page.records)
        return self._ask(self._place)

    def _last_key(self, page: JsonPage) -> Any:
        """Return the value after which the next page begins."""
        name = self.paging.key_field
        keys = [dig(record, name) for record in page.records]
        if keys[-1] is ABSENT or isinstance(keys[-1], dict | list) or keys[-1] in (None, ""):
            raise wrong(
                self.what,
                f"the last record of page {self._pages} has no value in {name}, after which the next page begins",
            )
        known = [str(key) for key in keys if key is not ABSENT and key is not None]
        if len(set(known)) < len(known):
            raise wrong(
                self.what,
                f"page {self._pages} has records of one value in {name}. Where such records stand on two pages, those on the"
                " second are left out: name a field that tells all records apart (id_field)",
            )
        return keys[-1]

    def _named_next(self, page: JsonPage) -> Ask | End:
        key, found = str(self.paging.next_key), page.next
        if found is ABSENT:
            if self._named and not self.paging.last_page_omits_next:
                raise wrong(
                    self.what,
                    f"page {self._pages} has no key {key}, which has named the next page before. If the last page leaves it out, say"
                    " last_page_omits_next=True",
                    page.answer,
                    key,
                )
            if not self.paging.last_page_omits_next:
                raise wrong(
                    self.what,
                    f"the answer has no key {key}, where the next page is named. An absent key is not taken for the last page:"
                    " name next_key; or next_key=None, to read until a page is empty; or last_page_omits_next=True",
                    page.answer,
                    key,
                )
            return self._last(page, LAST_PAGE if self._named else None)
        if found is None or found is False or found == "":
            return self._last(page, LAST_PAGE)
        self._named = True
        if isinstance(found, float):
            found = whole_number(found)
        if isinstance(found, bool) or not isinstance(found, int | str):
            raise wrong(
                self.what,
                f"the key {key} holds {type_of(page.next)}, and a next page was looked for",
                page.next,
                None,
            )
        style = self.paging.style
        if style == "url":
            return self._follow(str(found))
        if style == "cursor":
            return self._once(found, self._ask(found))
        return self._numbered(key, found)

    def _last(self, page: JsonPage, rests_on: str | None) -> End:
        if page.more:
            raise wrong(
                self.what,
                f"page {self._pages} says that more follow ({self.paging.more_key}), and names no next page"
                f" ({self.paging.next_key})",
                page.answer,
            )
        return End(rests_on)

    def _numbered(self, key: str, found: int | str) -> Ask:
        """The next page's number, or the offset where it begins; a URL is followed."""
        number = whole_number(found)
        if number is None:
            found = str(found)
            if found.startswith(("http://", "https://", "/", "?")):
                return self._follow(found)
            raise wrong(
                self.what,
                f'the key {key} holds text that is neither a number nor a URL. If it is a cursor, say paging="cursor" and name'
                " the parameter that takes it (cursor_param)",
            )
        if number <= self._place:
            raise self._repeats(
                f"the key {key} of page {self._pages} names a page that does not come after it"
            )
        self._place = number
        return self._ask(number)

    def _linked(self, page: JsonPage) -> Ask | End:
        try:
            links = read_links(page.link or "")
        except ValueError as error:
            raise wrong(self.what, f"the header Link of page {self._pages} cannot be read: {error}") from None
        if (target := links.get("next")) is not None:
            self._named = True
            return self._follow(target)
        # Links of other things (a style sheet, a help page) do not say that this page is the last.
        return End(LAST_PAGE if self._named or not OF_PAGES.isdisjoint(links) else None)

    def _follow(self, target: str) -> Ask:
        url = whole_url(self.address, target)
        if url is None:
            raise wrong(self.what, "what names the next page is no URL of http or https")
        self.address = url
        return self._once(url, Ask(url=url))

    def _once(self, token: Any, then: Ask, why: str = "") -> Ask:
        """Read no page twice: *token* is what it is asked for with."""
        if token in self._seen:
            raise self._repeats(why or f"page {self._pages} names a page that was read before")
        self._seen.add(token)
        return then

    def _ask(self, place: Any) -> Ask:
        paging = self.paging
        query = {} if place is None else {paging.param: place}
        return Ask({**query, **({paging.size_param: paging.page_size} if paging.size_param else {})})

    def _repeats(self, why: str) -> PagesRepeat:
        return PagesRepeat(
            self.what,
            f"{why}, so that reading would never end",
            retry="A retry cannot help: look at what the source answers, correct the source's options, and clear this task.",
        )
