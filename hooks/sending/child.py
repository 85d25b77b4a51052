"""A sending process: ``python -m airflow_bulk.hooks.sending.child``, orders on stdin, news on stdout; and those messages.

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
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import TypeVar, cast

import msgspec

from airflow_bulk.documents.inspection import Inspected, Row
from airflow_bulk.documents.source.contents import Spooled
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import Part, SourceError, SourceFile
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, LineRules, NotNow, SendingCut, Target
from airflow_bulk.hooks.sending.worker import Worker, WorkerTask

PR_SET_PDEATHSIG = 1
LENGTH = 4  # bytes of a frame's length


class Setup(msgspec.Struct, tag=True, frozen=True):
    """The first order: the source to read, and what the child needs to know of itself and its parent.

    A file's path is text, or where its spooled copy is. The search path is where a line check of a user's own is found.
    """

    parent: int
    files: list[tuple[SourceFile, str | tuple[int, int]]]
    rules: LineRules
    layout: Layout
    number: int
    spills: dict[int, int]
    most_holes: int
    want: str
    search_path: list[str]


class Aim(msgspec.Struct, tag=True, frozen=True):
    """The target of all bodies from now on."""

    target: Target


class BeginPass(msgspec.Struct, tag=True, frozen=True):
    """Read the source front to back, from its beginning or from behind a part."""

    after: Part | None


class Do(msgspec.Struct, tag=True, frozen=True):
    """One part to check, to send, or both."""

    task: WorkerTask


class Begin(msgspec.Struct, tag=True, frozen=True):
    """The answer to ``MayBegin``: begin."""


class Skip(msgspec.Struct, tag=True, frozen=True):
    """The answer to ``MayBegin``: leave this part unsent for now."""


class Finish(msgspec.Struct, tag=True, frozen=True):
    """The answer to ``MayFinish``: send the last block, at the latest at this boot time."""

    by: float


class Rows(msgspec.Struct, tag=True, frozen=True):
    """Reject rows of a part."""

    index: int
    rows: list[Row]


class Checked(msgspec.Struct, tag=True, frozen=True):
    """A part's facts."""

    found: Inspected


class MayBegin(msgspec.Struct, tag=True, frozen=True):
    """The question whether the POST of a part may begin."""


class MayFinish(msgspec.Struct, tag=True, frozen=True):
    """The question whether the last block of a body may be sent."""


class Answered(msgspec.Struct, tag=True, frozen=True):
    """The answer of the platform to a part."""

    answer: Answer


class Lost(msgspec.Struct, tag=True, frozen=True):
    """A part without an answer: its body was cut, or it is not known whether the platform took it."""

    cut: bool
    why: str


class Done(msgspec.Struct, tag=True, frozen=True):
    """The task is over; not ``found``: the source ends before that part."""

    found: bool


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The child cannot go on: the name of an error of the source, or empty, and its message."""

    kind: str
    why: str


Order = Setup | Aim | BeginPass | Do | Begin | Skip | Finish
News = Rows | Checked | MayBegin | MayFinish | Answered | Lost | Done | Failed

_encoder = msgspec.msgpack.Encoder()
orders = msgspec.msgpack.Decoder(Order)
news = msgspec.msgpack.Decoder(News)


def write_frame(handle: int, message: Order | News) -> None:
    """Write a message to a pipe, all of it."""
    data = _encoder.encode(message)
    view = memoryview(len(data).to_bytes(LENGTH, "big") + data)
    while view:
        view = view[os.write(handle, view) :]


class FrameReader:
    """Reads frames from a pipe as they come."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._buffer = bytearray()

    def read(self) -> Iterator[bytes] | None:
        """Read what is there; returns the frames that are whole now, or None at the end of the pipe."""
        data = os.read(self.handle, 1 << 16)
        if not data:
            return None
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[bytes]:
        while len(self._buffer) >= LENGTH:
            stop = LENGTH + int.from_bytes(self._buffer[:LENGTH], "big")
            if len(self._buffer) < stop:
                return
            frame = bytes(self._buffer[LENGTH:stop])
            del self._buffer[:stop]
            yield frame


def pack_files(files: list[FoundFile]) -> list[tuple[SourceFile, str | tuple[int, int]]]:
    """Make found files fit for a frame."""
    return [
        (
            found.record,
            (found.path.handle, found.path.start) if isinstance(found.path, Spooled) else str(found.path),
        )
        for found in files
    ]


def unpack_files(packed: list[tuple[SourceFile, str | tuple[int, int]]]) -> list[FoundFile]:
    """Undo :func:`pack_files`."""
    return [
        FoundFile(record, Path(path) if isinstance(path, str) else Spooled(*path)) for record, path in packed
    ]


OrderT = TypeVar("OrderT", bound=Order)


class _Pipes:
    """Both pipes. A thread reads orders, so that the end of the pipe is noticed in mid-body."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._out = os.dup(1)
        os.dup2(2, 1)  # nothing else may write between our frames
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        reader = FrameReader(0)
        try:
            while (found := reader.read()) is not None:
                for frame in found:
                    self._orders.put(orders.decode(frame))
        finally:
            os._exit(1)

    def get(self) -> Order:
        return self._orders.get()

    def expect(self, kind: type[OrderT] | UnionType) -> OrderT:
        order = self.get()
        if not isinstance(order, kind):
            raise TypeError(f"{type(order).__name__} came out of turn")
        return cast(OrderT, order)

    def put(self, message: News) -> None:
        try:
            write_frame(self._out, message)
        except BrokenPipeError:
            os._exit(1)


class _Piped:
    """The port of a worker in a child."""

    def __init__(self, pipes: _Pipes) -> None:
        self._pipes = pipes

    def rows(self, index: int, rows: list[Row]) -> None:
        self._pipes.put(Rows(index, rows))

    def checked(self, found: Inspected) -> None:
        self._pipes.put(Checked(found))

    def may_begin(self, index: int) -> None:
        self._pipes.put(MayBegin())
        if isinstance(self._pipes.expect(Begin | Skip), Skip):
            raise NotNow

    def may_finish(self, index: int) -> float:
        self._pipes.put(MayFinish())
        return self._pipes.expect(Finish).by

    def answered(self, index: int, answer: Answer) -> None:
        self._pipes.put(Answered(answer))

    def lost(self, index: int, error: SendingCut | AnswerLost) -> None:
        self._pipes.put(Lost(isinstance(error, SendingCut), str(error)))


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
    setup = pipes.expect(Setup)
    _die_with(setup.parent)
    sys.path += [folder for folder in setup.search_path if folder not in sys.path]
    worker = Worker(
        _Piped(pipes),
        files=unpack_files(setup.files),
        rules=setup.rules,
        layout=setup.layout,
        number=setup.number,
        spills=setup.spills,
        most_holes=setup.most_holes,
        want=setup.want,
    )
    while True:
        _follow(worker, pipes, pipes.get())


def _follow(worker: Worker, pipes: _Pipes, order: Order) -> None:
    try:
        match order:
            case Do(task):
                pipes.put(Done(worker.do(task)))
            case Aim(target):
                worker.aim(target)
            case BeginPass(after):
                worker.begin_pass(after)
            case _:
                raise RuntimeError(f"an order out of turn: {type(order).__name__}")
    except SourceError as error:
        pipes.put(Failed(type(error).__name__, str(error)))
    except Exception:  # noqa: BLE001 (whatever it is, the parent has to hear of it)
        pipes.put(Failed("", traceback.format_exc()))


if __name__ == "__main__":
    main()
