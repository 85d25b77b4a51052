"""The errors of a platform; each says what a retry of the task will do.

Errors of the input (``ValueError`` and its subclasses) are raised before anything is sent; the errors here are raised
after that. A message names the object, what happened and what a retry of the task does. It never holds a token, a
header or line content: the platform's own text passes through :func:`reduce_message` first.
"""

from __future__ import annotations

import re

# A platform's text may be a million characters long, and an event loop waits for its reduction: each pattern must pass over
# it once. So a run of characters is tried from its beginning alone, and an opening quote that nothing closes takes the rest.
_REDUCTIONS = (
    re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),  # uuids
    re.compile(r"(?<![^\s@\"'<>])[^\s@\"'<>]++@[^\s@\"'<>]+"),  # mail addresses
    re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|«[^»]*(?:»|\Z)|“[^”]*(?:”|\Z)"),  # quoted text
    re.compile(r"\b(?=\w*\d)\w{12,}\b"),  # hashes, tokens and long ids
    re.compile(r"\d+"),
)
# A document line that a message repeats, whole or cut short, up to the end of the line of the message.
_REPEATED_LINE = re.compile(r"[{\[].*")
_ERROR_ID = re.compile(r"\bError id\b")


def _without_error_texts(text: str) -> str:
    """Replace the text of each stored error, which stands between its kind and its id (mediarithmics.md section 4.6)."""
    kept: list[str] = []
    done = searched = 0
    for mark in _ERROR_ID.finditer(text):
        searched = max(searched, text.rfind("\n", searched, mark.start()))
        colon = text.find(":", searched, mark.start())
        searched = mark.start()
        if colon >= 0:
            kept += [text[done : colon + 1], "*"]
            done = mark.start()
    return "".join([*kept, text[done:]])


def reduce_message(text: str, limit: int = 200) -> str:
    """Reduce a platform's message to its kind: whatever could identify a person becomes ``*``.

    Uuids, addresses, quoted text, repeated lines, hashes and digits are replaced, and blanks folded
    (ARCHITECTURE.md section 4).

    :param text: the message as the platform sent it.
    :param limit: at most this many characters are kept.
    """
    text = _without_error_texts(_REPEATED_LINE.sub("*", text))
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


class TooLarge(Refused):
    """A file of the platform has more bytes than the caller takes."""


class TryLater(PlatformError):
    """429, 5xx, an answer that cannot be read, or no connection; repeating the call did not help.

    :param retry_after: seconds after which the platform wants the next call, if it said so.
    :param passing: it passes by itself; False where somebody has to act first, such as for a certificate.
    """

    def __init__(
        self,
        what: str,
        why: str,
        *,
        retry: str,
        status: int | None = None,
        retry_after: float | None = None,
        passing: bool = True,
    ) -> None:
        super().__init__(what, why, retry=retry, status=status)
        self.retry_after = retry_after
        self.passing = passing


class WrongAnswer(PlatformError):
    """A good answer is not what was asked for: another type, or without a key that must be there. Its values are not told."""


class FateUnknown(PlatformError):
    """A call that creates was sent, and it is not known whether it was carried out. Look before creating again."""


#: Errors that neither waiting nor a retry can mend.
LASTING = (Forbidden, NotFound, Refused, WrongAnswer)


class WrongPort(Exception):
    """The code that describes a platform breaks a rule; only changing that code can help."""


def text_id(value: object, where: str) -> str:
    """Return a remote id, which must be text: ids are compared, recorded and put into paths.

    :param where: what made the id, for the message.
    :raises WrongPort: it is no text, such as the number that JSON holds.
    """
    if not isinstance(value, str) or not value:
        raise WrongPort(
            f"{where} must be text that is not empty, and is {type(value).__name__}. Return str(...) of what the platform "
            "says; a retry cannot help before that."
        )
    return value
