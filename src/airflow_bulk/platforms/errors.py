"""What can go wrong at a platform, in words that say what a retry will do.

Input errors (``ValueError`` and kin) come before anything was sent; the errors here come after.
A message names the object, what happened and what a retry of the task does. It never holds a
token, a header or line content: the platform's own text passes :func:`reduce_message` first.
"""

from __future__ import annotations

import re

_REDUCTIONS = (
    # A document line that a message repeats, whole or cut short: to the end of the message's line.
    re.compile(r"[{\[].*"),
    # What a saved error says after its kind (mediarithmics.md section 4.6).
    re.compile(r"(?<=:)[^\n]*?(?=\bError id\b)"),
    re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),  # uuids
    re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+"),  # mail addresses
    re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|«[^»]*»|“[^”]*”"),  # quoted text
    re.compile(r"\b(?=\w*\d)\w{12,}\b"),  # hashes, tokens and long ids
    re.compile(r"\d+"),
)


def reduce_message(text: str, limit: int = 200) -> str:
    """Reduce a platform's message to its kind: whatever could identify a person becomes ``*``.

    Uuids, addresses, quoted text, repeated lines, hashes and digits are replaced, and blanks folded
    (ARCHITECTURE.md section 4).

    :param text: the message as the platform sent it.
    :param limit: at most this many characters are kept.
    """
    for pattern in _REDUCTIONS:
        text = pattern.sub("*", text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class PlatformError(Exception):
    """A platform refused a call, or could not be asked.

    :param what: the call in words ("create the document import").
    :param why: what happened.
    :param retry: what a retry of the task will do.
    :param status: HTTP status, where there was an answer.
    """

    def __init__(self, what: str, why: str, *, retry: str, status: int | None = None) -> None:
        super().__init__(f"Could not {what}: {why}. {retry}")
        self.what = what
        self.why = why
        self.retry = retry
        self.status = status


class Unauthorized(PlatformError):
    """401: the credentials are missing, unknown or expired."""


class Forbidden(PlatformError):
    """403: the credentials are known and have no right on the object."""


class NotFound(PlatformError):
    """404: no such object."""


class Refused(PlatformError):
    """Any other 4xx: the request is wrong, and repeating it cannot help."""


class TryLater(PlatformError):
    """429, a passing 5xx, an answer nobody can read, or no connection: still so after our own retries.

    :param retry_after: seconds the platform asked for, if it did.
    """

    def __init__(
        self, what: str, why: str, *, retry: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(what, why, retry=retry, status=status)
        self.retry_after = retry_after


class FateUnknown(PlatformError):
    """A call that creates was sent, and nothing tells whether it was carried out. Look before acting again."""


#: What waiting and retries cannot mend.
LASTING = (Forbidden, NotFound, Refused)
