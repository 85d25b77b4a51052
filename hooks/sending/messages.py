"""The messages between a parent and its sending children: msgpack frames over two pipes.

Credentials go this way and no other: never as an argument, never in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from airflow_bulk.documents.inspection import Inspected, Row
from airflow_bulk.documents.source.contents import Spooled
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import Part, SourceFile
from airflow_bulk.hooks.sending.protocol import Answer, LineRules, Target
from airflow_bulk.hooks.sending.worker import WorkerTask

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
    """The child cannot go on: the name of an error of the source or of the limits, or empty, and its message."""

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
