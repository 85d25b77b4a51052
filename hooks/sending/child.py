"""A sending process: ``python -m airflow_bulk.hooks.sending.child``, orders on stdin, news on stdout.

It never outlives its parent: the kernel kills it with the parent (Linux), and at the end of the pipe it leaves in
mid-body; either way its socket is reset. It records nothing and allows itself nothing.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
import traceback
from types import UnionType
from typing import TypeVar, cast

from airflow_bulk.documents.inspection import Inspected, Row
from airflow_bulk.documents.source.parts import SourceError
from airflow_bulk.hooks.limits.store import StoreUnreachable
from airflow_bulk.hooks.sending import messages
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, NotNow, SendingCut
from airflow_bulk.hooks.sending.worker import Worker

PR_SET_PDEATHSIG = 1
OrderT = TypeVar("OrderT", bound=messages.Order)


class _Pipes:
    """Both pipes. A thread reads orders, so that the end of the pipe is noticed in mid-body."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[messages.Order] = queue.SimpleQueue()
        self._out = os.dup(1)
        os.dup2(2, 1)  # nothing else may write between our frames
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        reader = messages.FrameReader(0)
        try:
            while (found := reader.read()) is not None:
                for frame in found:
                    self._orders.put(messages.orders.decode(frame))
        finally:
            os._exit(1)

    def get(self) -> messages.Order:
        return self._orders.get()

    def expect(self, kind: type[OrderT] | UnionType) -> OrderT:
        order = self.get()
        if not isinstance(order, kind):
            raise TypeError(f"{type(order).__name__} came out of turn")
        return cast(OrderT, order)

    def put(self, message: messages.News) -> None:
        try:
            messages.write_frame(self._out, message)
        except BrokenPipeError:
            os._exit(1)


class _Piped:
    """The port of a worker in a child."""

    def __init__(self, pipes: _Pipes) -> None:
        self._pipes = pipes

    def rows(self, index: int, rows: list[Row]) -> None:
        self._pipes.put(messages.Rows(index, rows))

    def checked(self, found: Inspected) -> None:
        self._pipes.put(messages.Checked(found))

    def may_begin(self, index: int) -> None:
        self._pipes.put(messages.MayBegin())
        if isinstance(self._pipes.expect(messages.Begin | messages.Skip), messages.Skip):
            raise NotNow

    def may_finish(self, index: int) -> float:
        self._pipes.put(messages.MayFinish())
        return self._pipes.expect(messages.Finish).by

    def answered(self, index: int, answer: Answer) -> None:
        self._pipes.put(messages.Answered(answer))

    def lost(self, index: int, error: SendingCut | AnswerLost) -> None:
        self._pipes.put(messages.Lost(isinstance(error, SendingCut), str(error)))


def _die_with(parent: int) -> None:
    """Have the kernel end this process when the parent ends; leave if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Take orders until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it ends us
    pipes = _Pipes()
    setup = pipes.expect(messages.Setup)
    _die_with(setup.parent)
    sys.path += [folder for folder in setup.search_path if folder not in sys.path]
    worker = Worker(
        _Piped(pipes),
        files=messages.unpack_files(setup.files),
        rules=setup.rules,
        layout=setup.layout,
        number=setup.number,
        spills=setup.spills,
        most_holes=setup.most_holes,
        want=setup.want,
    )
    while True:
        _follow(worker, pipes, pipes.get())


def _follow(worker: Worker, pipes: _Pipes, order: messages.Order) -> None:
    try:
        match order:
            case messages.Do(task):
                pipes.put(messages.Done(worker.do(task)))
            case messages.Aim(target):
                worker.aim(target)
            case messages.BeginPass(after):
                worker.begin_pass(after)
            case _:
                raise RuntimeError(f"an order out of turn: {type(order).__name__}")
    except (SourceError, StoreUnreachable) as error:
        pipes.put(messages.Failed(type(error).__name__, str(error)))
    except Exception:  # noqa: BLE001 (whatever it is, the parent has to hear of it)
        pipes.put(messages.Failed("", traceback.format_exc()))


if __name__ == "__main__":
    main()
