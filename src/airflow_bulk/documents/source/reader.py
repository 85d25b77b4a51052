"""The files of a source laid end to end, opened when they are read; and what stands at the beginning of each.

Every process that reads has a reader of its own. Positions are (number of the file, offset in its plain
bytes). A BOM and a CSV header belong to no stretch: reading begins behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import msgspec

from airflow_bulk.documents.lines.checking import LineChecker, looks_like
from airflow_bulk.documents.source.beginning import (
    BOM,
    TWO_OBJECTS,
    ends_in_cr,
    find_first_line,
    other_encoding,
    read_at,
)
from airflow_bulk.documents.source.contents import FIRST_LOOK, Contents, PlainContents, open_contents
from airflow_bulk.documents.source.files import UNSENT, FoundFile
from airflow_bulk.documents.source.parts import SourceFile, SourceUnusable

BLOCK = 256 << 10  # bytes checked at a time: measured best (performance.md section 3)
LOOK_AHEAD = 4 << 20  # bytes of a line that are held before its end is looked for (in plain local files)
OPEN_FILES = 4  # thousands of small files must not be thousands of descriptors


class LineRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a line may be; see :class:`~airflow_bulk.documents.lines.checking.LineChecker`.

    :param encoding: of the import; lines in another one than UTF-8 are not checked.
    """

    document_type: str
    mime_type: str = "APPLICATION_X_NDJSON"
    delimiter: str = ","
    check: bool = True
    line_check: str = ""
    encoding: str = "utf-8"

    def checker(self, header: bytes) -> LineChecker:
        """Make a checker for the lines under a header (empty: none)."""
        return LineChecker(
            self.document_type,
            self.mime_type,
            header=header or None,
            delimiter=self.delimiter,
            check=self.check,
            line_check=self.line_check,
        )


class Beginning(NamedTuple):
    """Where the lines of a file begin.

    :param start: offset of the first line's first byte, behind the BOM and the header; of a stretch, where it begins.
    :param header: the header line with its line end, as it is repeated in every part; empty without one.
    :param line: number of the first line: 1, or 2 under a header; of a stretch whose lines are not known, 1.
    """

    start: int
    header: bytes
    line: int


def read_beginning(record: SourceFile, contents: Contents, rules: LineRules) -> Beginning:
    """Look at the first bytes of a file, and at its first line that is not blank.

    :raises SourceUnusable: it cannot be what it should be: a text in another encoding or with other line ends, a JSON
        array, a document over several lines, a CSV header that is missing or wrong.
    """
    first_line = record.first_line or 1
    if record.begin and rules.mime_type != "TEXT_CSV":
        return Beginning(record.begin, b"", first_line)
    first = read_at(contents, 0, FIRST_LOOK)
    # Unchecked bytes go untouched, and may be of an encoding in which these three bytes are no BOM.
    bom = len(BOM) if rules.check and first.startswith(BOM) else 0
    if rules.check and (why := other_encoding(first)):
        raise _refused(record, why)
    if rules.mime_type == "TEXT_CSV":
        found = _behind_header(record, first, bom, rules)
        return found._replace(start=record.begin, line=first_line) if record.begin else found
    # Whether a line may be an array, or hold a CR, only the function of another platform knows.
    if rules.check and not rules.line_check:
        line = find_first_line(contents, first[bom:], bom)
        why = ends_in_cr(line.data, line.behind, TWO_OBJECTS) or looks_like(*line)
        if why:
            raise _refused(record, why)
    return Beginning(bom, b"", 1)


def _behind_header(record: SourceFile, first: bytes, bom: int, rules: LineRules) -> Beginning:
    stop = first.find(b"\n") + 1 or len(first)
    header = first[bom:stop]
    if header and rules.check:
        if why := ends_in_cr(header, first[stop:], re.compile(b"\r")):
            raise _refused(record, why)
        try:
            rules.checker(header)
        except ValueError as error:
            raise _refused(record, f"line 1: {error}") from error
    if header and not header.endswith(b"\n"):
        header += b"\n"  # a file of a header alone: it has no lines
    return Beginning(stop, header, 2)


def _refused(record: SourceFile, why: str) -> SourceUnusable:
    return SourceUnusable(f"{record.uri}: {why}. {UNSENT}")


class Block(NamedTuple):
    """Whole lines of one file.

    :param file: number of the file.
    :param offset: where in the file the block begins.
    :param data: the lines; empty for one line that is too long to be held.
    :param length: bytes that the block spans in the file.
    """

    file: int
    offset: int
    data: bytes
    length: int


class SourceReader:
    """Open files of a source.

    :param files: what was found, in order.
    :param rules: what a line may be.
    :param max_part_bytes: most bytes of a body; a line that does not fit in one with its header is not held.
    """

    def __init__(self, files: Sequence[FoundFile], rules: LineRules, max_part_bytes: int) -> None:
        self.files = files
        self.rules = rules
        self.max_part_bytes = max_part_bytes
        self._open: dict[int, Contents] = {}
        self._beginnings: dict[int, Beginning] = {}
        self._headers: dict[bytes, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        while self._open:
            self._open.popitem()[1].close()

    def contents(self, file: int) -> Contents:
        """Return a file's contents, opened now if need be; one of the others may be closed for it."""
        if file not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[file] = open_contents(self.files[file], self.max_part_bytes)
        return self._open[file]

    def beginning(self, file: int) -> Beginning:
        """Return where the lines of a file begin."""
        if file not in self._beginnings:
            record = self.files[file].record
            found = read_beginning(record, self.contents(file), self.rules)
            if len(found.header) >= self.max_part_bytes:
                raise SourceUnusable(
                    f"{record.uri}: line 1: the header alone has {len(found.header)} bytes, but a part may have "
                    f"{self.max_part_bytes}. {UNSENT}"
                )
            header = self._headers.setdefault(found.header, found.header)
            self._beginnings[file] = found._replace(header=header)
        return self._beginnings[file]

    def line_limit(self, file: int) -> int:
        """Return the most bytes that a line of a file may have, its line end included."""
        return self.max_part_bytes - len(self.beginning(file).header)

    def blocks(self, file: int, start: int, length: int | None = None) -> Iterator[Block]:
        """Read blocks of whole lines from a position on, over the borders of files, in flat memory.

        :param length: bytes to read; None: all.
        """
        left = length
        while file < len(self.files) and left != 0:
            for block in self._blocks_of(file, max(start, self.beginning(file).start), left):
                yield block
                if left is not None:
                    left -= block.length
            file, start = file + 1, 0

    def _blocks_of(self, file: int, offset: int, left: int | None) -> Iterator[Block]:
        contents, limit = self.contents(file), self.line_limit(file)
        buffer = bytearray(min(BLOCK, limit))
        view, held = memoryview(buffer), 0  # the first `held` bytes are those from `offset` on
        while left is None or left > 0:
            room = len(view) if left is None else min(len(view), left)
            if held < room:
                held += contents.readinto(view[held:room], offset + held)
            data, length = b"", buffer.rfind(b"\n", 0, held) + 1
            if length or held < room or held == left:
                length = length or held  # else the last line of the file, without a line end
                if not length:
                    return
                data = bytes(view[:length])
                held -= length
                view[:held] = view[length : length + held]
            elif held < limit:  # a long line: room for more of it, unless it is too long anyway
                length = 2 * held
                # Only where going back costs nothing: a packed or remote file is read once, so its line is held.
                known = held >= LOOK_AHEAD and isinstance(contents, PlainContents)
                if known:
                    length = self._line_length(contents, offset, held, left)
                if length <= limit or not known:
                    buffer = bytearray(min(length + 1, limit))
                    buffer[:held], view = view, memoryview(buffer)
                    continue
                held = 0
            else:
                length, held = self._pass_over(contents, offset, buffer, left)
                data = bytes(view) if length == limit else b""
            yield Block(file, offset, data, length)
            offset += length
            left = None if left is None else left - length
            if len(view) > BLOCK >= held:
                buffer = bytearray(BLOCK)
                buffer[:held], view = view[:held], memoryview(buffer)

    def _line_length(self, contents: Contents, offset: int, held: int, left: int | None) -> int:
        """Return the length of the line at an offset, its line end included, without holding it."""
        scratch = bytearray(BLOCK)
        length = held
        while left is None or length < left:
            room = BLOCK if left is None else min(BLOCK, left - length)
            count = contents.readinto(memoryview(scratch)[:room], offset + length)
            stop = scratch.find(b"\n", 0, count) + 1
            if stop or not count:
                return length + stop
            length += count
        return length

    def _pass_over(
        self, contents: Contents, offset: int, buffer: bytearray, left: int | None
    ) -> tuple[int, int]:
        """Pass over a line that fills the buffer, in flat memory however long it is.

        :return: the line's length, its line end included, and how many bytes behind it the buffer holds now.
            If the file ends with it, it is not too long after all, and still in the buffer.
        """
        length, stop = len(buffer), 0
        probe = bytearray(1)
        if not contents.readinto(memoryview(probe), offset + length):
            return length, 0
        length += 1
        while probe != b"\n" and length != left:
            room = len(buffer) if left is None else min(len(buffer), left - length)
            count = contents.readinto(memoryview(buffer)[:room], offset + length)
            stop = buffer.find(b"\n", 0, count) + 1
            if stop or not count:
                buffer[: count - stop] = buffer[stop:count]
                return length + stop, count - stop
            length += count
        return length, 0
