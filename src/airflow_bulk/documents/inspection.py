"""Pass 1 over one part: every line read and checked, the facts and the holes that pass 2 needs."""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

import msgspec

from airflow_bulk.documents.lines.checking import Finding, LineChecker
from airflow_bulk.documents.source.bodies import BodySum, HoleKeeper, HoleList
from airflow_bulk.documents.source.cuts import Cutter, Layout
from airflow_bulk.documents.source.parts import CHANGED_MEANWHILE, Part, SourceChanged
from airflow_bulk.documents.source.reader import Block, SourceReader

MOST_CONTENT = 1 << 20  # a rejected line longer than this is told by its position only
FIRST_ROWS = 10  # rejected lines of a part that are told even without a reject file
ROWS_BYTES = 256 << 10  # reject rows are handed on when they hold this much
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 8 << 20  # bytes: room for some blocks and their lines


class CheckStopped(Exception):
    """The check was stopped on request, before its end."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One rejected line.

    :param file: number of the file.
    :param line: its number in the file; counted from the part's first line if ``relative``.
    :param relative: the part began in the middle of this file, at a line whose number is not known here.
    :param offset: where it begins in the plain bytes of the file.
    :param length: its bytes, line end included.
    :param content: the raw line, if asked for and short enough to be held.
    :param header: the header of its file, if content is asked for; empty without one.
    """

    file: int
    line: int
    relative: bool
    offset: int
    length: int
    reasons: tuple[str, ...]
    content: bytes | None
    header: bytes = b""


class Inspected(msgspec.Struct, frozen=True):
    """What pass 1 knows about a part.

    :param part: facts filled in, but for ``line``.
    :param first_line: number of its first line; 0 if it begins in the middle of a file.
    :param last_file: the file in which the part ends.
    :param last_line: number of the line behind it there; counted from the part's first line if ``relative``.
    """

    part: Part
    holes: HoleList
    first_line: int
    last_file: int
    last_line: int
    relative: bool
    first: list[Row]
    reasons: dict[str, int]
    hints: dict[str, int]


class Inspector:
    """Checks parts, one after the other.

    :param rows: takes reject rows of a part (its index, some rows, in order); None: they are not wanted.
    :param want_content: put raw lines into the rows.
    """

    def __init__(
        self,
        reader: SourceReader,
        holes: HoleKeeper,
        rows: Callable[[int, list[Row]], None] | None = None,
        want_content: bool = False,
    ) -> None:
        self.reader, self.holes, self.rows, self.want_content = reader, holes, rows, want_content
        self._checkers: dict[bytes, LineChecker] = {}

    def inspect(self, index: int, items: Iterator[Block | Part], report: bool = True) -> Inspected:
        """Check one part.

        :param index: the part's.
        :param items: its blocks, then its stretch.
        :param report: hand rows on.
        """
        inspection = _Inspection(self, self.rows if report else None, index)
        for item in items:
            if isinstance(item, Part):
                return inspection.finish(item)
            inspection.take(item)
        raise RuntimeError("a part's blocks must be followed by the part")

    def checker(self, file: int) -> LineChecker:
        """Return the checker for the lines of a file."""
        header = self.reader.beginning(file).header
        if header not in self._checkers:
            self._checkers[header] = self.reader.rules.checker(header)
        return self._checkers[header]

    def take_hints(self) -> dict[str, int]:
        """Return the hints since the last call, by kind."""
        hints: Counter[str] = Counter()
        for checker in self._checkers.values():
            hints.update(checker.hints)
            checker.hints.clear()
        return dict(hints)


class _Inspection:
    """The check of one part."""

    def __init__(
        self, inspector: Inspector, rows: Callable[[int, list[Row]], None] | None, index: int
    ) -> None:
        self._inspector, self._rows, self._index = inspector, rows, index
        self._file, self._relative = -1, False
        self._place = 0  # where in the stretch the next block begins
        self._line = 0  # number of the next block's first line, or how many of the part's stand above it
        self._first_line = 0
        self._lines = self._rejected = self._blank = 0
        self._body = BodySum(b"")
        self._first: list[Row] = []
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._reasons: Counter[str] = Counter()

    def take(self, block: Block) -> None:
        if block.file != self._file:
            self._enter(block)
        if not block.data:
            limit = self._inspector.reader.line_limit(block.file)
            why = (f"the line has {block.length} bytes, more than the {limit} that a part may have",)
            self._leave_out(block, Finding(0, 0, block.length, why))
            self._line += 1
        else:
            report = self._checker.check(block.data)
            if report.findings:
                self._take_around(block, report.findings)
            else:
                self._body.add(block.data)
            self._lines += report.lines - len(report.findings)
            self._line += report.lines
        self._place += block.length

    def _enter(self, block: Block) -> None:
        beginning = self._inspector.reader.beginning(block.file)
        if self._file < 0:
            self._body = BodySum(beginning.header)
        self._relative = block.offset > beginning.start
        self._line = 0 if self._relative else beginning.line
        if self._file < 0:
            self._first_line = self._line
        self._file = block.file
        self._checker = self._inspector.checker(block.file)
        self._inspector.holes.fence()

    def _take_around(self, block: Block, findings: list[Finding]) -> None:
        view, kept = memoryview(block.data), 0
        for finding in findings:
            if finding.start > kept:
                self._body.add(view[kept : finding.start])
            kept = finding.stop
            self._leave_out(block, finding)
        if kept < len(view):
            self._body.add(view[kept:])

    def _leave_out(self, block: Block, finding: Finding) -> None:
        self._inspector.holes.add(self._place + finding.start, self._place + finding.stop)
        if not finding.reasons:
            self._blank += 1
            return
        self._rejected += 1
        self._reasons.update(finding.reasons)
        first = len(self._first) < FIRST_ROWS
        if not first and not self._rows:
            return
        row = Row(
            block.file,
            self._line + finding.line,
            self._relative,
            block.offset + finding.start,
            finding.stop - finding.start,
            finding.reasons,
            self._content(block, finding),
            self._inspector.reader.beginning(block.file).header if self._inspector.want_content else b"",
        )
        if first:
            self._first.append(msgspec.structs.replace(row, content=None, header=b""))
        if self._rows:
            self._pending.append(row)
            self._pending_bytes += 200 + len(row.content or b"") + len(row.header)
            if self._pending_bytes > ROWS_BYTES:
                self._hand_on()

    def _content(self, block: Block, finding: Finding) -> bytes | None:
        if not self._rows or not self._inspector.want_content or not block.data:
            return None
        return (
            block.data[finding.start : finding.stop] if finding.stop - finding.start <= MOST_CONTENT else None
        )

    def _hand_on(self) -> None:
        if self._rows and self._pending:
            self._rows(self._index, self._pending)
        self._pending, self._pending_bytes = [], 0

    def finish(self, part: Part) -> Inspected:
        record = self._inspector.reader.files[part.file].record
        if self._place != part.length:
            raise SourceChanged(
                f"{record.uri}: has become shorter since it was first read. {CHANGED_MEANWHILE}"
            )
        self._hand_on()
        empty = not self._lines
        facts = msgspec.structs.replace(
            part,
            lines=self._lines,
            rejected=self._rejected,
            blank=self._blank,
            body=0 if empty else self._body.length,
            digest=BodySum(b"").digest if empty else self._body.digest,
        )
        return Inspected(
            part=facts,
            holes=self._inspector.holes.finish(),
            first_line=self._first_line,
            last_file=self._file,
            last_line=self._line,
            relative=self._relative,
            first=self._first,
            reasons=dict(self._reasons),
            hints=self._inspector.take_hints(),
        )


class CheckingPort(Protocol):
    """Whom a checker tells what it finds."""

    def rows(self, index: int, rows: list[Row]) -> None:
        """Take reject rows of a part, in order."""

    def checked(self, found: Inspected) -> None:
        """Take what the check of a part found; all its rows came before."""


class PartChecker:
    """Finds the parts of a source and checks them, one after the other.

    :param port: told what is found.
    :param layout: how the source is cut.
    :param want: what is wanted of rejected lines: ``""`` (no rows), ``"position"`` or ``"line"``.
    """

    def __init__(
        self, port: CheckingPort, reader: SourceReader, layout: Layout, holes: HoleKeeper, want: str
    ) -> None:
        _keep_freed_memory()
        self._port, self._reader, self._layout = port, reader, layout
        self._inspector = Inspector(reader, holes, port.rows if want else None, want == "line")
        self._cutter: Cutter | None = None
        self._after: Part | None = None
        self._stopped = False

    def begin_pass(self, after: Part | None) -> None:
        """Read front to back from the beginning, or from behind a part."""
        self._after, self._cutter = after, None

    def stop(self) -> None:
        """Stop for good. Safe in a signal handler."""
        self._stopped = True

    def check(self, part: Part, report: bool = True) -> Inspected | None:
        """Check one part, and tell the port.

        :param part: the stretch; with length 0, the part of this index that a front-to-back reading finds. If its
            digest is set, the same facts must be found again.
        :param report: hand on reject rows.
        :return: what was found; None where the source ends before this part.
        :raises SourceError: the source cannot be read, or is not what it was.
        :raises CheckStopped: :meth:`stop` was called.
        """
        items = self._items(part)
        if items is None:
            return None
        found = self._inspector.inspect(part.index, self._unless_stopped(items), report)
        if part.digest:
            if msgspec.structs.replace(found.part, line=part.line) != part:
                raise SourceChanged(
                    f"{name_part(self._reader, part)}: has changed since the part was first checked. {CHANGED_MEANWHILE}"
                )
            found = msgspec.structs.replace(found, part=part)
        self._port.checked(found)
        return found

    def _items(self, part: Part) -> Iterator[Block | Part] | None:
        """The blocks of a part, then the part itself."""
        if part.length:
            return chain(self._reader.blocks(part.file, part.start, part.length), [part])
        if self._cutter is None:
            self._cutter = Cutter(self._reader, self._layout, self._after)
        while self._cutter.index < part.index:  # another worker's part: find its end only
            if self._cutter.pass_part() is None:
                return None
        items = self._cutter.next_part()
        first = next(items, None)
        return None if first is None else chain([first], items)

    def _unless_stopped(self, items: Iterator[Block | Part]) -> Iterator[Block | Part]:
        for item in items:
            if self._stopped:
                raise CheckStopped("the check was stopped on request")
            yield item


def name_part(reader: SourceReader, part: Part) -> str:
    """Say which file a part begins in, and which part it is."""
    return f"{reader.files[part.file].record.uri} (part {part.index + 1})"


def _keep_freed_memory() -> None:
    """Tell glibc not to give each block's memory back to the system before the next block asks for it.

    It does so by default, at 75,000 page faults a GB: a twentieth of the time of pass 1. Elsewhere nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)
