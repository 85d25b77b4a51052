"""A call is a value: what to ask, whether it may be repeated, how to read the answer.

The platforms write calls; ``hooks/transport.py`` is the only place that carries them out, once
synchronously and once asynchronously.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Reply(NamedTuple):
    """An HTTP answer.

    :param status: HTTP status code.
    :param headers: header names in lower case.
    :param body: the bytes as they came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class AnswerProblem(NamedTuple):
    """What an answer says went wrong, already free of personal data.

    :param meaning: what this status means at this platform, where that is not what it usually means.
    """

    status: int
    message: str
    meaning: str = ""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to a platform, and how to read its answer.

    :param method: HTTP method.
    :param path: path below the connection's base URL.
    :param what: the call in words for messages, as after "could not".
    :param parse: turns a good answer into the record; raises ``ValueError`` kin on one it cannot read.
    :param problem: what a bad answer says, or None for a good one. Its ``message`` goes to logs, without personal data
        (:func:`airflow_bulk.platforms.errors.reduce_message`); what a status means need not be said: the transport knows.
    :param query: query parameters; None values are left out.
    :param json: request body, sent as JSON; None sends no body.
    :param repeatable: may be sent again when nobody knows whether it was carried out.
    :param when_lost: for a call that is not: what a retry does then; empty for "it looks first".
    """

    method: str
    path: str
    what: str
    parse: Callable[[Reply], T]
    problem: Callable[[Reply], AnswerProblem | None]
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    repeatable: bool = True
    when_lost: str = ""

    def then(self, read: Callable[[T], U]) -> Call[U]:
        """Return the same call, whose record is read further.

        :param read: makes of the record what the new call returns.
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
