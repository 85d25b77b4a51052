"""The caller's side of every worker: asks the gate, keeps what is in flight, the holes and the order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from airflow_bulk.documents.inspection import Inspected, Row
from airflow_bulk.documents.source.bodies import HoleList
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import Part
from airflow_bulk.documents.source_check import CheckFindings, PartOrder, RejectFile
from airflow_bulk.hooks.limits.store import boot_time
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, Gate, Job, SendingCut
from airflow_bulk.hooks.sending.worker import WorkerTask


class Pass(Protocol):
    """A first pass, which may find out only while reading where the source ends."""

    ended: bool


class SendCoordinator:
    """Everything that is decided in the caller's main thread; the port of the worker that runs there, too."""

    def __init__(self, files: Sequence[FoundFile], rejects: RejectFile | None, commit_window: float) -> None:
        self._order, self._window = PartOrder(files, rejects, self._take), commit_window
        self._holes: dict[int, HoleList] = {}
        self._sending: dict[int, int] = {}  # lines of each part whose body is on its way
        self._in_flight: dict[int, Part] = {}
        self._ready: set[int] = set()  # parts in flight whose facts the gate knows
        self._ended_early: Counter[int] = (
            Counter()
        )  # ends that the gate knows, of workers that are not done yet
        self.gate: Gate
        self._pass: Pass | None = None

    @property
    def in_flight(self) -> list[Part]:
        """The parts that are being checked or sent."""
        return list(self._in_flight.values())

    def knows_holes(self, index: int) -> bool:
        """Say whether a part was checked here."""
        return index in self._holes

    def holes(self, index: int) -> HoleList:
        """What a checked part leaves out."""
        return self._holes[index]

    @property
    def line_behind(self) -> int:
        """Number of the line behind the parts that were checked, in the file in which the last of them ends."""
        return self._order.line_behind

    def begin_pass(self, jobs: Pass, index: int, line_behind: int) -> None:
        """Expect the parts of a first pass from this index on, and in which line the part before it ends."""
        self._pass = jobs
        self._order.begin_pass(index, line_behind)

    def task(self, job: Job, needs_check: bool) -> WorkerTask:
        """Put a part in flight."""
        part, check = job.part, job.check or (job.send and needs_check)
        self._in_flight[part.index] = part
        if part.digest:
            self._ready.add(part.index)
            if check:
                self._order.recheck(part)
        return WorkerTask(part, check, job.send, job.report, None if check else self._holes.get(part.index))

    def done(self, index: int, found: bool = True) -> None:
        """Hear that a worker is done with a part.

        :param found: False: a first pass that reads front to back came to the end of the source before this part.
        """
        if not found and self._pass:
            self._pass.ended = True
        if self._ended_early[
            index
        ]:  # it may be in flight once more: the gate may give a lost part again at once
            self._ended_early[index] -= 1
        else:
            self._take_out(index)

    def _take_out(self, index: int) -> Part | None:
        """Take a part out of flight."""
        self._sending.pop(index, None)
        self._ready.discard(index)
        return self._in_flight.pop(index, None)

    def rows(self, index: int, rows: list[Row]) -> None:
        """Take reject rows."""
        self._order.rows(index, rows)

    def rows_waiting(self, index: int) -> int:
        """Return about how many bytes of rows of a part wait for the parts before it."""
        return self._order.waiting(index)

    def checked(self, found: Inspected) -> None:
        """Take what a check found; tells the gate of this part or later, when the ones before are known."""
        self._holes[found.part.index] = found.holes
        self._order.checked(found)

    def _take(self, part: Part, findings: CheckFindings) -> None:
        self.gate.checked(part, findings)
        if part.index in self._in_flight:
            self._in_flight[part.index] = part
            self._ready.add(part.index)

    def can_begin(self, index: int) -> bool:
        """Say whether the gate may be asked: it knows the part, and no part on its way has as many lines.

        Two parts of equal line counts could not be told apart by a later try that finds one of them taken.
        """
        return index in self._ready and self._in_flight[index].lines not in self._sending.values()

    def may_begin(self, index: int) -> None:
        """Ask for the intent."""
        self.gate.may_begin(self._in_flight[index])
        self._sending[index] = self._in_flight[index].lines

    def may_finish(self, index: int) -> float:
        """Ask for the commit; returns the boot time by which the last block must have left.

        Counted from before the question: whoever reads the commit may rely on it from that moment on.
        """
        asked = boot_time()
        self.gate.may_finish(self._in_flight[index])
        return asked + self._window

    def answered(self, index: int, answer: Answer) -> None:
        """Tell the gate."""
        self.gate.answered(self._end_part(index), answer)

    def lost(self, index: int, error: SendingCut | AnswerLost) -> None:
        """Tell the gate."""
        self.gate.lost(self._end_part(index), error)

    def _end_part(self, index: int) -> Part:
        part = self._take_out(index)
        assert part is not None  # noqa: S101 (a part ends once)
        self._ended_early[index] += 1
        return part
