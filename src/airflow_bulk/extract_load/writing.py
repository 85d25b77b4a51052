"""Several writes at once, with their results in the order in which they were asked for.

One mechanism for all stages of an apply. Items, permits and results are a matter of the calling thread alone: only the
write itself runs in another thread. With one write at once there is no other thread.

* Never more than ``at_once`` writes are under way, so never more are in doubt when the process dies.
* A slow write holds up the results behind it, and so many of them pile up at most: :data:`AHEAD` times ``at_once``.
* The first error stops what has not left. What is under way ends, and counts.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from airflow_bulk.pausing import pausing_by

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

#: The most writes that an apply may have under way: a destination is one system, and each write is a thread and a connection.
MOST_AT_ONCE = 64
#: How many times ``at_once`` the writes may be ahead of the first one that has not ended.
AHEAD = 8
#: Seconds between two permits while nothing ends: as long as a write that waits may leave after the last one.
PERMIT_SECONDS = 1.0
#: Seconds for writes under way when the apply is stopped: Airflow leaves 5 between SIGTERM and SIGKILL.
STOP_SECONDS = 3.0
_END: Any = object()


class NotSent(Exception):
    """A write that was still waiting when the others were stopped. It has not left, and never will."""


class _Ended(NamedTuple):
    number: int
    item: Any
    answer: Any
    error: BaseException | None


def read_at_once(value: object) -> int:
    """Read the ``writes_at_once`` option: a whole number from 1 to :data:`MOST_AT_ONCE`.

    :raises ValueError: for anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_AT_ONCE:
        return value
    raise ValueError(
        f"writes_at_once={value!r:.40}: write a whole number from 1 (one write after the other) to {MOST_AT_ONCE}"
    )


class OrderedWrites:
    """Writes items, several at once; to be used in a ``with`` block, whose end stops what has not left.

    :param at_once: how many writes may be under way.
    :param permit: called in the calling thread before each write, and each second while all wait for an answer; what it raises
        ends the writing.
    """

    def __init__(self, at_once: int, permit: Callable[[], None]) -> None:
        self._at_once = at_once
        self._permit = permit
        self._inbox: queue.SimpleQueue[tuple[int, Callable[[Any], Any], Any] | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._under_way = 0
        self._settle: Callable[[Any, Any], Any] = lambda item, answer: answer

    @property
    def under_way(self) -> int:
        """How many writes have begun and not ended; after the block: whose end nobody knows."""
        return self._under_way

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._drain(STOP_SECONDS)
        for _ in self._threads:
            self._inbox.put(None)
        if not self._under_way:
            for thread in self._threads:
                thread.join()

    def in_order(
        self,
        items: Iterable[T],
        write: Callable[[T], A],
        settle: Callable[[T, A], R],
        *,
        needed: Callable[[T], bool] = lambda item: True,
    ) -> Iterator[R]:
        """Write *items*, and yield what became of each, in their order. Once it ends, nothing is under way.

        :param items: read in the calling thread, no further ahead than the writes are.
        :param write: writes one item; runs in several threads.
        :param settle: judges an answer, in the calling thread and as soon as it is there; its result is yielded.
        :param needed: whether an item needs a write; one that needs none is settled with ``None``.
        :raises Exception: the first error in the order of the items, of a write or its judgement, once all others have ended.
        """
        if self._at_once == 1:
            return self._one_by_one(items, write, settle, needed)
        return self._several(items, write, settle, needed)

    def _one_by_one(
        self,
        items: Iterable[T],
        write: Callable[[T], A],
        settle: Callable[[T, A], R],
        needed: Callable[[T], bool],
    ) -> Iterator[R]:
        for item in items:
            answer: Any = None
            if needed(item):
                self._permit()
                with pausing_by(self._pause_here):
                    answer = write(item)
            yield settle(item, answer)

    def _pause_here(self, seconds: float) -> None:
        time.sleep(seconds)
        self._permit()  # what the last one said is too old to leave by

    def _several(
        self,
        items: Iterable[T],
        write: Callable[[T], A],
        settle: Callable[[T, A], R],
        needed: Callable[[T], bool],
    ) -> Iterator[R]:
        self._settle = settle
        source = iter(items)
        done: dict[int, R] = {}
        asked = given = 0  # of the items: how many were read, how many results were yielded
        more = True
        while more or given < asked:
            while more and self._under_way < self._at_once and asked - given < AHEAD * self._at_once:
                if (item := next(source, _END)) is _END:
                    more = False
                elif needed(item):
                    self._permit()
                    self._hand_out(asked, write, item)
                    asked += 1
                else:
                    done[asked] = settle(item, None)  # type: ignore[arg-type]
                    asked += 1
            self._collect(done, wait=given < asked and given not in done)
            if given in done:
                yield done.pop(given)
                given += 1

    def _hand_out(self, number: int, write: Callable[[Any], Any], item: Any) -> None:
        if self._under_way == len(self._threads):
            # With the context of the task, whose log hears of what a thread says. Daemons: a process that ends waits for none.
            run = contextvars.copy_context().run
            name = f"writes-{len(self._threads)}"
            thread = threading.Thread(target=run, args=(self._work,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._under_way += 1
        self._inbox.put((number, write, item))

    def _collect(self, done: dict[int, Any], *, wait: bool) -> None:
        """Take what has ended; an error stops the rest and is raised once all have ended.

        :param wait: until something has ended.
        """
        failed: dict[int, BaseException] = {}
        while self._under_way and (wait or failed or not self._outbox.empty()):
            try:
                ended = self._outbox.get(timeout=PERMIT_SECONDS)
            except queue.Empty:
                if not failed:
                    self._permit()
                continue
            wait = False
            self._under_way -= 1
            try:
                if ended.error is not None:
                    raise ended.error
                done[ended.number] = self._settle(ended.item, ended.answer)
            except NotSent:
                continue
            except Exception as error:  # noqa: BLE001  (raised below, the first one in order)
                failed[ended.number] = error
                self._stop.set()
        if failed:
            raise failed[min(failed)]

    def _drain(self, seconds: float) -> None:
        """Let what is under way end, for so many seconds; it counts, though another error ends the apply."""
        until = time.monotonic() + seconds
        while self._under_way and (left := until - time.monotonic()) > 0:
            try:
                ended = self._outbox.get(timeout=left)
            except queue.Empty:
                return
            self._under_way -= 1
            if ended.error is None:
                try:
                    self._settle(ended.item, ended.answer)
                except Exception:  # noqa: BLE001, S112  (the apply ends by what came first)
                    continue

    def _work(self) -> None:
        """Write what is handed out; the life of one thread."""
        with pausing_by(self._pause_in_thread):
            while (job := self._inbox.get()) is not None:
                number, write, item = job
                try:
                    self._pause_in_thread(0.0)
                    ended = _Ended(number, item, write(item), None)
                except BaseException as error:  # noqa: BLE001  (raised in the calling thread)
                    ended = _Ended(number, item, None, error)
                self._outbox.put(ended)
                del job, item, ended  # a thread that has nothing to do holds no record

    def _pause_in_thread(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise NotSent
