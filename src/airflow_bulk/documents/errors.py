"""Why a source is refused. All of these come before anything was sent, unless ``overlap`` was chosen."""

from __future__ import annotations


class SourceError(ValueError):
    """The source cannot be used as it is. The message names the file and why; never a line's content."""


class SourceMissing(SourceError):
    """A file that was named does not exist."""


class NothingFound(SourceMissing):
    """A pattern matches no file. The caller's ``on_empty`` decides."""


class SourceChanged(SourceError):
    """A file is not what it was when it was first read. The message names the file."""


class LineCheckFailed(SourceError):
    """The function that checks the lines of another platform cannot be imported, or failed at a line."""
