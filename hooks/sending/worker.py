"""One worker: checks parts, sends them, and asks before it acts. The same code in this process and in a child."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

import msgspec

from airflow_bulk.documents.errors import SourceChanged
from airflow_bulk.documents.inspection import Inspected, Inspector, Row
from airflow_bulk.documents.source.bodies import BodyReader
from airflow_bulk.documents.source.cuts import Cutter, Layout
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.holes import HoleKeeper, HoleList, spans_of
from airflow_bulk.documents.source.parts import Part
from airflow_bulk.documents.source.reader import Block, SourceReader
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, LineRules, NotNow, SendingCut, Target
from airflow_bulk.hooks.sending.upload_connection import UploadConnection

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 8 << 20  # bytes: room for some blocks and their lines


def keep_freed_memory() -> None:
    """Tell glibc not to give each block's memory back to the system before the next block asks for it.

    It does so by default, at 75,000 page faults a GB: a twentieth of the time of pass 1. Elsewhere nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


class WorkerTask(msgspec.Struct, frozen=True):
    """A job as a worker gets it.

    :param part: the stretch; with length 0, the part of this index that a front-to-back reading finds.
    :param holes: spans to leave out, when they are known.
    """

    part: Part
    check: bool
    send: bool
    report: bool
    holes: HoleList | None = None


class Link(Protocol):
    """How a worker reaches the one who decides."""

    def rows(self, index: int, rows: list[Row]) -> None:
        """Hand on reject rows of a part."""

    def checked(self, found: Inspected) -> None:
        """Hand on what a check found; always before `may_begin` for the part."""

    def ended(self) -> None:
        """Tell that a front-to-back reading is at the end: there is no such part."""

    def may_begin(self, part: Part) -> None:
        """Ask; returns, raises NotNow, or never comes back."""

    def may_finish(self, part: Part) -> float:
        """Ask; returns the boot time by which the last block must have left."""

    def answered(self, part: Part, answer: Answer) -> None:
        """Tell the answer."""

    def lost(self, part: Part, error: SendingCut | AnswerLost) -> None:
        """Tell that there is none."""


class Worker:
    """Does tasks, one after the other.

    :param number: this worker's number, from 0.
    :param spills: descriptor of every worker's spill file.
    :param most_holes: spans that may stay in memory.
    :param want: what is wanted of rejected lines: ``""`` (no rows), ``"position"`` or ``"line"``.
    """

    def __init__(
        self,
        link: Link,
        *,
        files: Sequence[FoundFile],
        rules: LineRules,
        layout: Layout,
        number: int,
        spills: Mapping[int, int],
        most_holes: int,
        want: str,
    ) -> None:
        keep_freed_memory()
        self._link, self._layout, self._spills = link, layout, dict(spills)
        self._reader = SourceReader(files, rules, layout.max_part_bytes)
        # A compressed file is wound forward only: the check goes on where it stands while bodies are read behind it.
        packed = any(found.record.compression for found in files)
        self._bodies = SourceReader(files, rules, layout.max_part_bytes) if packed else self._reader
        keeper = HoleKeeper(number, self._spills[number], most_holes)
        self._inspector = Inspector(self._reader, keeper, link.rows if want else None, want == "line")
        self._cutter: Cutter | None = None
        self._after: Part | None = None
        self._connection: UploadConnection | None = None
        self._stopped = False

    def aim(self, target: Target) -> None:
        """Send there from now on."""
        if self._connection:
            self._connection.close()
        self._connection = UploadConnection(target)

    def begin_pass(self, after: Part | None) -> None:
        """Read front to back from the beginning, or from behind a part."""
        self._after, self._cutter = after, None

    def cut(self) -> None:
        """Stop for good. Safe in a signal handler."""
        self._stopped = True
        if self._connection:
            self._connection.cut()

    def close(self) -> None:
        """Close files and connection; an incomplete body is reset."""
        if self._connection:
            self._connection.close()
        self._reader.close()
        self._bodies.close()

    def do(self, task: WorkerTask) -> None:
        """Do one task.

        :raises SourceError: the source cannot be read, or is not what it was.
        :raises SendingCut: :meth:`cut` was called between two bodies.
        """
        if self._stopped:
            raise SendingCut("cut by request")
        part, holes = task.part, task.holes
        if task.check:
            found = self._check(task)
            if found is None:
                self._link.ended()
                return
            part, holes = self._compared(task.part, found), found.holes
            self._link.checked(found)
        if task.send and part.lines:
            self._send(part, holes or HoleList())

    def _check(self, task: WorkerTask) -> Inspected | None:
        part = task.part
        if part.length:
            items: Iterator[Block | Part] = chain(
                self._reader.blocks(part.file, part.start, part.length), [part]
            )
        else:
            if self._cutter is None:
                self._cutter = Cutter(self._reader, self._layout, self._after)
            while self._cutter.index < part.index:  # another worker's part: find its end only
                if self._cutter.pass_part() is None:
                    return None
            items = self._cutter.next_part()
            first = next(items, None)
            if first is None:
                return None
            items = chain([first], items)
        return self._inspector.inspect(part.index, self._unless_stopped(items), task.report)

    def _unless_stopped(self, items: Iterator[Block | Part]) -> Iterator[Block | Part]:
        for item in items:
            if self._stopped:
                raise SendingCut("cut by request")
            yield item

    def _compared(self, known: Part, found: Inspected) -> Part:
        """Hold what was found against what is recorded, if anything is."""
        if not known.digest:
            return found.part
        same = msgspec.structs.replace(found.part, line=known.line)
        if same != known:
            raise SourceChanged(f"{self._names(known)} since the part was first checked.")
        return known

    def _names(self, part: Part) -> str:
        """Say which files a part came from, as far as it is known here."""
        return f"{self._reader.files[part.file].record.uri} (part {part.index}): has changed"

    def _send(self, part: Part, holes: HoleList) -> None:
        if self._connection is None:
            raise RuntimeError("aim the pool at a target before the first run that sends")
        try:
            self._link.may_begin(part)
        except NotNow:
            return
        body = BodyReader(self._bodies, part, spans_of(holes, self._spills))
        try:
            answer = self._connection.post(part.body, body, part.digest, lambda: self._link.may_finish(part))
        except (SendingCut, AnswerLost) as error:
            if self._stopped:
                raise SendingCut("cut by request") from error
            self._link.lost(part, error)
            return
        except SourceChanged as error:
            raise SourceChanged(f"{self._names(part)}: {error}.") from error
        self._link.answered(part, answer)
