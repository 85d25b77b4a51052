"""One worker that sends a part while it checks the next: a second thread sends, the main thread decides.

The gate is asked in the main thread only: the sending thread puts its questions into a queue, and the main
thread looks there between two blocks of its check.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from airflow_bulk.documents.inspection import Inspected, Row
from airflow_bulk.documents.source.parts import Part
from airflow_bulk.hooks.sending.coordinator import SendCoordinator
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, NotNow, SendingCut, Target
from airflow_bulk.hooks.sending.worker import Link, Worker, WorkerTask

PATIENCE = 5.0  # seconds that the thread has to leave; its socket is shut down by then
LATER = -1.0  # the answer to a question that has to be asked again
MOST_WAITING = 2  # checked parts that wait for the sending thread; more would gain nothing


class _Refused(BaseException):
    """The main thread will not answer any more: the body is cut on the way out."""


class Overlapped:
    """Checks in this thread, sends in another.

    :param make: makes a worker for a link.
    """

    def __init__(self, coordinator: SendCoordinator, make: Callable[[Link], Worker]) -> None:
        self._coordinator = coordinator
        self._asking = _Asking()
        self._checker, self._sender = make(_Checking(self)), make(self._asking)
        self._waiting: deque[WorkerTask] = deque()
        self._orders: queue.SimpleQueue[WorkerTask | None] = queue.SimpleQueue()
        self._sending: WorkerTask | None = None
        self._found: Inspected | None = None
        self.stopped = False
        self.begin_pass = self._checker.begin_pass
        self._thread = threading.Thread(target=self._send_all, name="sending", daemon=True)
        self._thread.start()

    def aim(self, target: Target) -> None:
        """Send there from now on."""
        self._sender.aim(target)

    def cut(self) -> None:
        """Stop for good. Safe in a signal handler."""
        self.stopped = True
        self._checker.cut()
        self._sender.cut()

    def close(self) -> None:
        """End the thread; an incomplete body is reset."""
        self._asking.refuse()
        self._orders.put(None)
        self._thread.join(1.0)
        self._sender.cut()
        self._thread.join(PATIENCE)
        self._checker.close()

    def run(self, next_task: Callable[[], WorkerTask | None]) -> None:
        """Work until there are no more tasks."""
        try:
            while True:
                self.serve()
                room = len(self._waiting) < MOST_WAITING
                if room and (task := next_task()):
                    self._start(task)
                elif self._sending or self._waiting:
                    self.serve(wait=True)
                else:
                    return
        except BaseException as error:
            self._asking.refuse()
            if not self._asking.waits:
                self._sender.cut()  # in mid-body: wake it; where it waits for leave it resets the socket itself
            if self.stopped and not isinstance(error, SendingCut):
                raise SendingCut("cut by request") from error
            raise

    def _start(self, task: WorkerTask) -> None:
        self._found = None
        if task.check:
            self._checker.do(msgspec.structs.replace(task, send=False))
        if task.check and self._found is None:  # the end of the source
            self._coordinator.done(task.part.index)
            return
        part, holes = (self._found.part, self._found.holes) if self._found else (task.part, task.holes)
        if task.send and part.lines:
            self._waiting.append(WorkerTask(part, False, True, False, holes))
        else:
            self._coordinator.done(part.index)

    def found(self, found: Inspected) -> None:
        """Take what the check found."""
        self._found = found
        self._coordinator.checked(found)

    def serve(self, wait: bool = False) -> None:
        """Answer the sending thread, and keep it busy."""
        if self.stopped:
            raise SendingCut("cut by request")
        if self._sending is None and self._waiting:
            self._sending = self._waiting.popleft()
            self._orders.put(self._sending)
        while self._sending and (question := self._asking.heard(wait)):
            if self.stopped:
                raise SendingCut("cut by request")
            self._take(*question)
            if self._sending is None:
                return self.serve()
            wait = False
        return None

    def _take(self, what: str, value: object) -> None:
        assert self._sending is not None  # noqa: S101
        index = self._sending.part.index
        if what == "begin":
            try:
                self._coordinator.may_begin(index)
            except NotNow:
                self._asking.allow(LATER)
            else:
                self._asking.allow(0.0)
        elif what == "finish":
            self._asking.allow(self._coordinator.may_finish(index))
        elif what == "failed" and isinstance(value, BaseException):
            raise value
        elif isinstance(value, Answer):
            self._coordinator.answered(index, value)
        elif isinstance(value, SendingCut | AnswerLost):
            self._coordinator.lost(index, value)
        else:
            self._coordinator.done(index)
            self._sending = None

    def _send_all(self) -> None:
        """Run in the sending thread."""
        while task := self._orders.get():
            try:
                self._sender.do(task)
                self._asking.tell("done", None)
            except _Refused:
                break
            except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
                self._asking.tell("failed", error)
        self._sender.close()


class _Checking:
    """The link of the checking worker, in the main thread."""

    def __init__(self, engine: Overlapped) -> None:
        self._engine = engine
        self.checked = engine.found

    def rows(self, index: int, rows: list[Row]) -> None:
        self._engine._coordinator.rows(index, rows)

    def ended(self) -> None:
        self._engine._coordinator.ended()

    def pause(self) -> None:
        self._engine.serve()

    def may_begin(self, part: Part) -> None:
        raise NotImplementedError

    def may_finish(self, part: Part) -> float:
        raise NotImplementedError

    def answered(self, part: Part, answer: Answer) -> None:
        raise NotImplementedError

    def lost(self, part: Part, error: SendingCut | AnswerLost) -> None:
        raise NotImplementedError


class _Asking:
    """The link of the sending worker, between the two threads."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
        self._leaves: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self.waits = False

    def heard(self, wait: bool) -> tuple[str, object] | None:
        """Return the next question or news; without waiting, None if there is none."""
        try:
            return self._questions.get(wait)
        except queue.Empty:
            return None

    def allow(self, value: float) -> None:
        self._leaves.put(value)

    def refuse(self) -> None:
        self._leaves.put(None)

    def tell(self, what: str, value: object) -> None:
        self._questions.put((what, value))

    def _ask(self, what: str) -> float:
        self.waits = True
        self.tell(what, None)
        leave = self._leaves.get()
        self.waits = False
        if leave is None:
            raise _Refused
        return leave

    def may_begin(self, part: Part) -> None:
        if self._ask("begin") == LATER:
            raise NotNow

    def may_finish(self, part: Part) -> float:
        return self._ask("finish")

    def answered(self, part: Part, answer: Answer) -> None:
        self.tell("answered", answer)

    def lost(self, part: Part, error: SendingCut | AnswerLost) -> None:
        self.tell("lost", error)

    def rows(self, index: int, rows: list[Row]) -> None:
        raise NotImplementedError

    def checked(self, found: Inspected) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        raise NotImplementedError

    def pause(self) -> None:
        """Nothing to do between blocks: this worker does not check."""
