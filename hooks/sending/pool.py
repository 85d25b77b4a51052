"""The pool: the workers of one source, and what they do next."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from airflow_bulk.documents.inspection import name_part
from airflow_bulk.documents.source.bodies import MOST_IN_MEMORY, BodyReader, Spill, spans_of
from airflow_bulk.documents.source.contents import Spooled, spool
from airflow_bulk.documents.source.cuts import Layout, line_behind, plan_parts
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import CHANGED_MEANWHILE, Part, SourceChanged
from airflow_bulk.documents.source.reader import BLOCK, SourceReader
from airflow_bulk.documents.source.sampling import hash_lines
from airflow_bulk.documents.source_check import RejectFile
from airflow_bulk.hooks.limits.store import StoreUnreachable
from airflow_bulk.hooks.sending.coordinator import SendCoordinator
from airflow_bulk.hooks.sending.protocol import Gate, Job, LineRules, SendingCut, Target
from airflow_bulk.hooks.sending.worker import Worker, WorkerTask
from airflow_bulk.platforms.errors import TryLater

if TYPE_CHECKING:
    from airflow_bulk.hooks.sending.children import Children

NextJob = Callable[[list[Part]], Job | None]

log = logging.getLogger(__name__)


class SenderPool:
    """Check and send the parts of a source.

    :param files: what :func:`~airflow_bulk.documents.source.files.find_files` found, in order.
    :param rules: what a line may be.
    :param layout: how the source is cut.
    :param workers: 1: everything in this process. More: so many child processes.
    :param spool_dir: folder for one unlinked copy of a remote source, read once then.
    :param rejects: where reject rows go; None: only counts and the first line numbers are kept.
    :param commit_window: seconds from the call of ``may_finish`` within which the last block must leave.
    """

    def __init__(
        self,
        *,
        files: Sequence[FoundFile],
        rules: LineRules,
        layout: Layout,
        workers: int = 1,
        spool_dir: str | None = None,
        rejects: RejectFile | None = None,
        commit_window: float = 2.0,
    ) -> None:
        self._files = list(files)
        self._rules, self._layout = rules, layout
        self._workers, self._window = workers, commit_window
        self._spool_dir, self._rejects = spool_dir, rejects
        self._spills: dict[int, int] = {}
        self._open = contextlib.ExitStack()
        self._engine: _InProcess | Children | None = None
        self._stopped = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            self._set_up(undo)
            self._open = undo.pop_all()
        return self

    def _set_up(self, opened: contextlib.ExitStack) -> None:
        spooled: IO[bytes] | None = None
        if self._spool_dir and any(not found.record.local for found in self._files):
            self._files, spooled = spool(self._files, self._spool_dir)
            opened.callback(spooled.close)
        workers = self._workers
        if workers > 1 and any(_is_remote(found) for found in self._files):
            log.warning(
                "The source is remote and spool_dir is not set: one worker in this process reads it, not %d. "
                "With spool_dir it is copied once and then read by all.",
                workers,
            )
            workers = 1
        self._reader = opened.enter_context(
            SourceReader(self._files, self._rules, self._layout.max_part_bytes)
        )
        self._coordinator = SendCoordinator(self._files, self._rejects, self._window)
        spills = self._spills
        for number in range(workers):
            spill = Spill(self._spool_dir)
            opened.callback(spill.close)
            spills[number] = spill.handle
        self._engine = self._start(workers, spills, spooled.fileno() if spooled else None)
        opened.callback(self._engine.close)

    def _start(self, workers: int, spills: dict[int, int], spooled: int | None) -> _InProcess | Children:
        want = self._rejects.content if self._rejects else ""
        if workers > 1:
            from airflow_bulk.hooks.sending.children import Children  # one worker needs no pipes

            return Children(
                self._coordinator,
                files=self._files,
                rules=self._rules,
                layout=self._layout,
                workers=workers,
                spills=spills,
                spooled=spooled,
                most_holes=MOST_IN_MEMORY,
                want=want,
            )
        worker = Worker(
            self._coordinator,
            files=self._files,
            rules=self._rules,
            layout=self._layout,
            number=0,
            spills=spills,
            most_holes=MOST_IN_MEMORY,
            want=want,
        )
        return _InProcess(self._coordinator, worker)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def aim(self, target: Target) -> None:
        """Say where bodies go from now on; needed before the first run that sends."""
        self._working.aim(target)

    @property
    def _working(self) -> _InProcess | Children:
        if self._engine is None:
            raise RuntimeError("a pool works only inside its with block")
        return self._engine

    def needs_check(self, part: Part) -> bool:
        """Say whether a recorded part must be checked before it can be sent (its holes are not known)."""
        if not part.digest:
            return True
        return bool(part.rejected or part.blank) and not self._coordinator.knows_holes(part.index)

    def first_pass(self, *, send: bool = False, after: Part | None = None) -> NextJob:
        """Jobs that cut and check the whole source, or what follows a recorded part.

        :param send: send each part as soon as it is checked; :meth:`aim` first. With one worker a part is sent before
            the next one is checked.
        :param after: the last part of an earlier try's first pass; its successor is the first job.
        """
        _, line = line_behind(self._reader, after) if after else (0, 1)
        jobs = _FirstPass(self._reader, self._layout, send, after)
        self._coordinator.begin_pass(jobs, after.index + 1 if after else 0, line)
        self._working.begin_pass(after)
        return jobs

    @property
    def line_behind(self) -> int:
        """Number of the line behind all that was checked, in the file in which that ends."""
        return self._coordinator.line_behind

    def run(self, next_job: NextJob, gate: Gate) -> None:
        """Work until there are no more jobs.

        :raises SendingCut: :meth:`cut` was called.
        :raises SourceError: the source cannot be read, or has changed.
        :raises ChildLost: a child ended by itself; its part, if it was on its way, was told to the gate.
        :raises TryLater: nobody can say what the limits of the connection allow.
        """
        self._coordinator.gate = gate

        def next_task() -> WorkerTask | None:
            if self._stopped:
                raise SendingCut("cut by request")
            job = next_job(self._coordinator.in_flight)
            return self._coordinator.task(job, self.needs_check(job.part)) if job else None

        try:
            self._working.run(next_task)
        except StoreUnreachable as error:
            raise TryLater(
                "send the next part", str(error), retry="A retry goes on with the parts that were not taken."
            ) from None
        if self._stopped:
            raise SendingCut("cut by request")

    def hash_lines(self, part: Part, numbers: Sequence[int]) -> list[str]:
        """Hash some lines of a checked part's body, read here and once more; see :mod:`~airflow_bulk.documents.source.sampling`.

        :param numbers: from 0 within the part, and in order.
        :raises SourceChanged: the body is shorter than it was when it was checked.
        """
        body = BodyReader(self._reader, part, spans_of(self._coordinator.holes(part.index), self._spills))
        header = len(self._reader.beginning(part.file).header)
        found = list(hash_lines(_pieces(body, header, lambda: self._stopped), numbers))
        if len(found) < len(numbers):
            raise SourceChanged(f"{name_part(self._reader, part)}: has changed. {CHANGED_MEANWHILE}")
        return found

    def cut(self) -> None:
        """Stop at once: reset the socket, kill the children. Safe in a signal handler; takes no lock."""
        self._stopped = True
        if self._engine:
            self._engine.cut()


def _pieces(body: BodyReader, header: int, stopped: Callable[[], bool]) -> Iterator[bytes]:
    """The pieces of a body behind its header."""
    buffer = bytearray(BLOCK)
    while count := body.readinto(memoryview(buffer)):
        if stopped():
            raise SendingCut("cut by request")
        passed = min(header, count)
        header -= passed
        yield bytes(buffer[passed:count])


def _is_remote(found: FoundFile) -> bool:
    return not found.record.local and not isinstance(found.path, Spooled)


class _FirstPass:
    """Jobs over the whole source: planned ahead where that is cheap, else found while reading."""

    def __init__(self, reader: SourceReader, layout: Layout, send: bool, after: Part | None) -> None:
        self._send = send
        self._index = after.index + 1 if after else 0
        plain = not any(_is_remote(found) or found.record.compression for found in reader.files)
        self._planned = plan_parts(reader, layout, after) if plain else None
        self.ended = False

    def __call__(self, in_flight: list[Part]) -> Job | None:
        if self.ended:
            return None
        if self._planned:
            part = next(self._planned, None)
        else:
            part = Part(index=self._index, file=0, start=0, length=0)
        self._index += 1
        return Job(part=part, check=True, send=self._send) if part else None


class _InProcess:
    """The one worker in this process."""

    def __init__(self, coordinator: SendCoordinator, worker: Worker) -> None:
        self._coordinator, self._worker = coordinator, worker
        self.aim, self.begin_pass, self.close = worker.aim, worker.begin_pass, worker.close
        self._stopped = False

    def run(self, next_task: Callable[[], WorkerTask | None]) -> None:
        try:
            while task := next_task():
                self._coordinator.done(task.part.index, self._worker.do(task))
        except BaseException as error:
            if self._stopped and not isinstance(error, SendingCut):
                raise SendingCut("cut by request") from error
            raise

    def cut(self) -> None:
        self._stopped = True
        self._worker.cut()
