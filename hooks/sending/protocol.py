"""The words that the sending side and its callers share: target, answer, job, gate, errors.

Nothing here does I/O, and nothing of Airflow is imported: child processes load this module.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.documents.source.reader import LineRules
from airflow_bulk.documents.source_check import CheckFindings
from airflow_bulk.hooks.limits.bodies import BodyLimits

__all__ = [
    "Answer",
    "AnswerLost",
    "CheckFindings",
    "Gate",
    "Job",
    "LineRules",
    "NotNow",
    "SendingCut",
    "Target",
]

ANSWER_LIMIT = 1_000_000  # bytes of an answer's body that are kept: an execution object has a few thousand


class SendingCut(Exception):
    """The body was not completed, so the platform cannot have taken the part. A new sending is safe."""


class AnswerLost(Exception):
    """The last block left, but no usable answer came. Look at the platform before anything is sent again."""


class NotNow(Exception):
    """Raised by a gate's ``may_begin``: leave this part for later. Nothing of it is sent; the run goes on."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where bodies go.

    :param url: the whole URL of the POST.
    :param headers: all headers but Host and Content-Length. Secret: the repr shows the names only.
    :param connect_timeout: seconds for connecting, the TLS handshake included.
    :param read_timeout: seconds without any progress while sending or waiting for the answer.
    :param verify: False, True (the certifi bundle, as requests does) or the path of a CA file or folder.
    :param proxies: proxy URL by scheme (``http``, ``https``, ``all``), as requests takes it, already
        resolved: neither the environment nor ``no_proxy`` is looked at here.
    :param limits: what all bodies of the connection share; None: nothing is limited.
    """

    url: str
    headers: dict[str, str]
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    verify: bool | str = True
    proxies: dict[str, str] = {}
    limits: BodyLimits | None = None

    def __repr__(self) -> str:
        return f"Target(url={self.url!r}, headers={sorted(self.headers)})"


class Answer(NamedTuple):
    """What came back for a body: any status, 2xx or not. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One part's work.

    :param part: the stretch. If its ``digest`` is set the facts are known: a check must find the same
        facts again, and a sending the same digest, else :class:`SourceChanged`.
    :param check: read and check the stretch. Needed for a sending when the part has rejected or blank
        lines and this pool has not checked it before; see :meth:`SenderPool.needs_check`.
    :param send: POST it (a part without good lines is never sent).
    :param report: write reject rows. False for a second check of a part whose rows are already on disk.
    """

    part: Part
    check: bool = True
    send: bool = True
    report: bool = True


class Gate(Protocol):
    """The caller's decisions. Every method is called in the caller's own main thread only.

    An exception from any of them ends the run: sockets are reset, children ended, the exception raised.
    """

    def checked(self, part: Part, findings: CheckFindings) -> None:
        """Take a part's facts; in the order of ``part.index``, without gaps, ``part.line`` filled in.

        Not called for a part whose facts were known.
        """

    def may_begin(self, part: Part) -> None:
        """Record the intent. No byte was sent yet. No other part in flight has as many lines.

        :raises NotNow: this part has to wait (an answer has to be reconciled first); give it again later.
        """

    def may_finish(self, part: Part) -> None:
        """Write the commit. All but the last block is out; the last one goes only if this returns.

        It must go within ``commit_window`` seconds of the *beginning* of this call, else the body is cut.
        """

    def answered(self, part: Part, answer: Answer) -> None:
        """Take the answer, of whatever status. An error status may have come before the body's end."""

    def lost(self, part: Part, error: SendingCut | AnswerLost) -> None:
        """Hear that no answer came. Return to go on with the next job (give this one again if you like)."""
