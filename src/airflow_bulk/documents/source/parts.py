"""A source as it is recorded: its files, and the parts that will become executions; and why a source is refused.

All refusals come before anything was sent, unless ``overlap`` was chosen.
"""

from __future__ import annotations

import msgspec
import xxhash


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the source, or a stretch of one, as it was when the source was resolved.

    :param uri: the file as shown to people; never holds credentials.
    :param size: stored bytes (compressed bytes of a compressed file).
    :param version: what changes when the content changes: mtime in ns, or the object's etag.
    :param compression: ``""``, ``"gzip"`` or ``"zstd"``.
    :param local: a path of this machine's file system (else an object of a store).
    :param begin: of a stretch of a plain file: offset of its first byte, which begins a line.
    :param end: offset of the byte behind the stretch; None: it goes to the end of the file.
    :param first_line: number in the file of the line at ``begin``; 0 while unknown. It is not asked where ``begin`` is 0.
    """

    uri: str
    size: int
    version: str
    compression: str = ""
    local: bool = True
    begin: int = 0
    end: int | None = None
    first_line: int = 0

    @property
    def stop(self) -> int:
        """Offset behind the last byte that is read, of a file that is not compressed."""
        return self.size if self.end is None else self.end

    @property
    def knows_lines(self) -> bool:
        """Whether the numbers of its lines are known; else they are counted from the beginning of the stretch."""
        return not self.begin or bool(self.first_line)

    @property
    def shown(self) -> str:
        """The file as a message names it, before the number of a line."""
        return self.uri if self.knows_lines else f"{self.uri} from byte {self.begin} on"

    @property
    def mark(self) -> str:
        """Sixteen hexadecimal digits that change when the file does."""
        return xxhash.xxh3_64_hexdigest(f"{self.size}:{self.version}".encode())


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One future execution: a contiguous stretch of the source's files laid end to end.

    Offsets count uncompressed bytes. A part may begin in one file and end in a later one.

    :param index: 0-based number of the part within the import.
    :param file: index of the file in which it begins.
    :param start: byte offset in that file.
    :param length: source bytes it spans, rejected and blank lines included.
    :param line: number, from 1, of its first line in that file; 0 while unknown.
    :param lines: lines of its body (a repeated CSV header is not a line).
    :param rejected: lines left out because they broke a rule.
    :param blank: blank lines left out.
    :param body: bytes of its body, the Content-Length.
    :param digest: xxh3-128 of the body, hexadecimal; empty while unknown.
    """

    index: int
    file: int
    start: int
    length: int
    line: int = 0
    lines: int = 0
    rejected: int = 0
    blank: int = 0
    body: int = 0
    digest: str = ""


class SourceError(ValueError):
    """The source cannot be used as it is. The message names the file and why; never a line's content."""


class SourceUnusable(SourceError):
    """The source as it is can never be sent: every look finds the same, until a person changes something."""


class SourceMissing(SourceError):
    """A file that was named does not exist."""


class NothingFound(SourceMissing):
    """A pattern matches no file. The caller's ``on_empty`` decides."""


class SourceChanged(SourceError):
    """A file is not what it was when it was first read. The message names the file."""


#: The end of a message about a file that changed while a task worked on it.
CHANGED_MEANWHILE = (
    "Nothing more is sent, and a retry is left out. Let nobody write into the file, then clear the task: it looks at the "
    "file again."
)


class LineCheckFailed(SourceUnusable):
    """The function that checks the lines of another platform cannot be imported, or failed at a line."""


def counted(number: int, thing: str) -> str:
    """Say how many things there are, such as "1 byte" or "5 bytes"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
