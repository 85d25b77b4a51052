"""A call is a value: the request, whether it may be repeated, and how to read the answer.

The modules of the platforms make calls; only ``hooks/transport.py`` sends them, on a worker or on an event loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from airflow_bulk.platforms.errors import PlatformError

T = TypeVar("T")
U = TypeVar("U")


class Reply(NamedTuple):
    """An HTTP answer.

    :param status: HTTP status code.
    :param headers: header names in lower case.
    :param body: the bytes of the body, unchanged.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class AnswerProblem(NamedTuple):
    """What went wrong, as an answer says it, without personal data.

    :param meaning: what this status means at this platform, where it has another meaning than usual.
    """

    status: int
    message: str
    meaning: str = ""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to a platform, and how to read its answer. Its repr shows neither path nor query nor body.

    :param method: HTTP method.
    :param path: path below the connection's base URL.
    :param what: the call in words, for messages: what stands after "could not".
    :param parse: turns a good answer into the record; raises a ``ValueError`` (or a subclass) when it cannot.
    :param problem: returns what a bad answer says, or None for a good one. Its ``message`` goes to logs, so it holds no
        personal data (:func:`airflow_bulk.platforms.errors.reduce_message`); what a status means need not be said: the
        transport knows.
    :param query: query parameters; None values are left out.
    :param json: request body, sent as JSON; None sends no body.
    :param repeatable: whether the call may be sent again when it is not known whether it was carried out.
    :param when_lost: for a call that is not repeatable: what a retry does after a lost answer; empty means that the
        retry looks first.
    :param url: a whole URL that an earlier answer has named, in place of base URL and path. At another origin than the base
        URL's it gets no credentials. For a worker's calls alone.
    """

    method: str
    path: str = field(repr=False)
    what: str
    parse: Callable[[Reply], T] = field(repr=False)
    problem: Callable[[Reply], AnswerProblem | None] = field(repr=False)
    query: Mapping[str, Any] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    repeatable: bool = True
    when_lost: str = ""
    url: str | None = field(default=None, repr=False)

    def then(self, read: Callable[[T], U]) -> Call[U]:
        """Return the same call with another result.

        :param read: turns the record of this call into the result of the new one.
        """
        parse = self.parse
        return dataclasses.replace(self, parse=lambda reply: read(parse(reply)))  # type: ignore[arg-type, return-value]

    def parameters(self) -> dict[str, str]:
        """Return the query as text: None left out, booleans as ``true`` and ``false``."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in self.query.items()
            if value is not None
        }


#: Calls whose order depends on their answers, written once and sent by a worker or on an event loop: a generator that
#: yields calls, and gets back the answer to each, or the platform's error as an exception.
CallSequence = Generator[Call[Any], Any, T]


def run_calls(calls: CallSequence[T], send: Callable[[Call[Any]], Any]) -> T:
    """Send the calls of a sequence with ``send``; return what the sequence returns."""
    try:
        call = next(calls)
        while True:
            try:
                answer = send(call)
            except PlatformError as error:
                call = calls.throw(error)
            else:
                call = calls.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun_calls(calls: CallSequence[T], asend: Callable[[Call[Any]], Awaitable[Any]]) -> T:
    """Do what :func:`run_calls` does, on the event loop."""
    try:
        call = next(calls)
        while True:
            try:
                answer = await asend(call)
            except PlatformError as error:
                call = calls.throw(error)
            else:
                call = calls.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
