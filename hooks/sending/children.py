"""The parent's side of sending children: starts them, hands out tasks, answers their questions, ends them."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from airflow_bulk.documents.source import parts
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import Part
from airflow_bulk.hooks.limits.store import StoreUnreachable
from airflow_bulk.hooks.sending import messages
from airflow_bulk.hooks.sending.coordinator import SendCoordinator
from airflow_bulk.hooks.sending.protocol import AnswerLost, LineRules, NotNow, SendingCut, Target
from airflow_bulk.hooks.sending.worker import WorkerTask

log = logging.getLogger(__name__)

MOST_WAITING = 4 << 20  # bytes of a part's reject rows that may wait for the part before it
PATIENCE = 5.0  # seconds that an idle child has to leave


class ChildLost(RuntimeError):
    """A sending process ended by itself: killed by the system, or a fault of ours."""


class _Child:
    """One process and what it is doing."""

    def __init__(self, handles: Sequence[int]) -> None:
        # -P: a module in the current folder must not stand in for one of the standard library.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "airflow_bulk.hooks.sending.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=handles,
            bufsize=0,
        )
        assert self._process.stdin and self._process.stdout  # noqa: S101
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.reader = messages.FrameReader(self._stdout.fileno())
        self.index: int | None = None  # of the part it works on
        self.asks = self.begun = self.allowed = False

    def tell(self, order: messages.Order) -> None:
        try:
            messages.write_frame(self._stdin.fileno(), order)
        except BrokenPipeError:
            return  # it is dead; the end of its other pipe tells so

    def give(self, task: WorkerTask) -> None:
        self.index = task.part.index
        self.asks = self.begun = self.allowed = False
        self.tell(messages.Do(task))

    def kill(self) -> None:
        """Kill it now, whatever it does: its socket is reset. Takes no lock that a signal handler may not."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Let it leave if it is idle, else kill it; returns its exit status."""
        if self.index is not None:
            self.kill()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._stdout.close()
        return self._process.returncode


class Children:
    """So many processes, each a worker."""

    def __init__(
        self,
        coordinator: SendCoordinator,
        *,
        files: Sequence[FoundFile],
        rules: LineRules,
        layout: Layout,
        workers: int,
        spills: dict[int, int],
        spooled: int | None,
        most_holes: int,
        want: str,
    ) -> None:
        self._coordinator = coordinator
        self.stopped = False
        self.children: list[_Child] = []
        handles = [*spills.values(), *([] if spooled is None else [spooled])]
        packed = messages.pack_files(list(files))
        for number in range(workers):
            self.children.append(_Child(handles))
            setup = messages.Setup(
                parent=os.getpid(),
                files=packed,
                rules=rules,
                layout=layout,
                number=number,
                spills=spills,
                most_holes=most_holes // workers,
                want=want,
                search_path=sys.path if rules.line_check else [],
            )
            self.children[-1].tell(setup)

    def aim(self, target: Target) -> None:
        """Send there from now on."""
        for child in self.children:
            child.tell(messages.Aim(target))

    def begin_pass(self, after: Part | None) -> None:
        """Read front to back from the beginning, or from behind a part."""
        for child in self.children:
            child.tell(messages.BeginPass(after))

    def cut(self) -> None:
        """Kill them all. Safe in a signal handler."""
        self.stopped = True
        for child in self.children:
            child.kill()

    def close(self) -> None:
        """End them all."""
        for child in self.children:
            child.end()

    def run(self, next_task: Callable[[], WorkerTask | None]) -> None:
        """Work until there are no more tasks."""
        try:
            with selectors.DefaultSelector() as selector:
                _Round(self, self._coordinator, selector).run(next_task)
        except BaseException as error:
            for child in self.children:
                child.kill()
            if self.stopped:
                raise SendingCut("cut by request") from error
            raise


class _Round:
    """One run over all children."""

    def __init__(
        self, pool: Children, coordinator: SendCoordinator, selector: selectors.BaseSelector
    ) -> None:
        self._pool, self._coordinator, self._selector = pool, coordinator, selector
        self._children = pool.children
        self._listened: set[int] = set()

    def run(self, next_task: Callable[[], WorkerTask | None]) -> None:
        ask = True
        while True:
            for child in self._children if ask else ():
                if child.index is None and (task := next_task()):
                    child.give(task)
            busy = [child for child in self._children if child.index is not None]
            if not busy:
                return
            self._listen(busy)
            ask = False
            for key, _ in self._selector.select():
                ask |= self._receive(key.data)
            self._let_begin()

    def _listen(self, busy: list[_Child]) -> None:
        """Listen to those who work, but for those whose rows have to wait: their pipe fills, so they stop."""
        wanted = {
            child.reader.handle: child
            for child in busy
            if child.index is not None and self._coordinator.rows_waiting(child.index) < MOST_WAITING
        }
        for handle in self._listened - wanted.keys():
            self._selector.unregister(handle)
        for handle in wanted.keys() - self._listened:
            self._selector.register(handle, selectors.EVENT_READ, wanted[handle])
        self._listened = set(wanted)

    def _receive(self, child: _Child) -> bool:
        """Take a child's news; says whether a task is over."""
        found = child.reader.read()
        if found is None:
            self._handle_exit(child)
        over = False
        for frame in found or ():
            over |= self._take(child, messages.news.decode(frame))
        return over

    def _take(self, child: _Child, message: messages.News) -> bool:
        coordinator, index = self._coordinator, child.index
        assert index is not None  # noqa: S101 (an idle child says nothing)
        match message:
            case messages.Rows(part_index, rows):
                coordinator.rows(part_index, rows)
            case messages.Checked(inspected):
                coordinator.checked(inspected)
            case messages.MayBegin():
                child.asks = True
            case messages.MayFinish():
                child.allowed = True  # from here on a death leaves the fate open
                child.tell(messages.Finish(coordinator.may_finish(index)))
            case messages.Answered(answer):
                child.begun = False
                coordinator.answered(index, answer)
            case messages.Lost(cut, why):
                child.begun = False
                coordinator.lost(index, SendingCut(why) if cut else AnswerLost(why))
            case messages.Failed(kind, why):
                if kind:
                    raise (StoreUnreachable if kind == StoreUnreachable.__name__ else getattr(parts, kind))(
                        why
                    )
                log.error("A sending process failed:\n%s", why)
                raise ChildLost(
                    "A sending process failed: its traceback is in the log. A retry goes on from the record."
                )
            case messages.Done(found):
                child.index = None
                coordinator.done(index, found)
                return True
        return False

    def _let_begin(self) -> None:
        """Let those begin who asked and may, the lowest part first."""
        asking = [child for child in self._children if child.asks and child.index is not None]
        for child in sorted(asking, key=lambda child: child.index or 0):
            if child.index is not None and self._coordinator.can_begin(child.index):
                child.asks = False
                try:
                    self._coordinator.may_begin(child.index)
                except NotNow:
                    child.tell(messages.Skip())
                    continue
                child.begun = True
                child.tell(messages.Begin())

    def _handle_exit(self, dead: _Child) -> None:
        """End the others with the dead one, and tell of every part that was on its way."""
        status = dead.end()
        if self._pool.stopped:
            raise SendingCut("cut by request")
        what = f"a sending process ended by itself (exit status {status})"
        for child in self._children:
            child.kill()
            if child.index is not None and child.begun:
                self._coordinator.lost(child.index, AnswerLost(what) if child.allowed else SendingCut(what))
            child.index = None
        raise ChildLost(
            f"Could not go on sending: {what}; was it killed for its memory? A retry goes on from the record."
        )
