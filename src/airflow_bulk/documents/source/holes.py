"""Spans of a stretch that do not go out: rejected and blank lines, kept in flat memory.

Offsets count the stretch's bytes from 0. Neighbouring spans are one. Beyond 100,000 spans they go to an
unlinked temporary file, so that a file of nothing but bad lines costs no memory.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

import msgspec

MOST_IN_MEMORY = 100_000  # spans, over all parts: 1.6 MB
CHUNK = 4_096  # spans read or written at a time
SPAN = 16  # bytes of a span: two unsigned numbers of 8 bytes


class HoleList(msgspec.Struct, frozen=True):
    """The spans of one part: in memory, or where in the spill file of which worker."""

    count: int = 0
    spans: bytes = b""
    worker: int = -1
    offset: int = 0


class Spill:
    """The temporary file of one worker's spans; it has no name, and no byte until it is needed.

    Where no folder takes one, it lives in memory: sources with that many bad lines are rare.
    """

    def __init__(self, folder: str | None = None) -> None:
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError:
            if not hasattr(os, "memfd_create"):
                raise
            self._file = os.fdopen(os.memfd_create("holes"), "w+b", buffering=0)
        self.handle = self._file.fileno()

    def close(self) -> None:
        """Give the space back."""
        self._file.close()


class HoleKeeper:
    """Collects the spans of one part after the other.

    :param worker: number of this worker.
    :param handle: descriptor of its spill file.
    :param most: spans that may stay in memory, over all parts.
    """

    def __init__(self, worker: int, handle: int, most: int = MOST_IN_MEMORY) -> None:
        self._worker, self._handle, self._left = worker, handle, most
        self._end = 0
        self._begin()

    def _begin(self) -> None:
        self._spans = array("Q")
        self._spilled = 0
        self._offset = self._end
        self._mergeable = False

    def add(self, start: int, stop: int) -> None:
        """Leave out a span; spans come in order."""
        spans = self._spans
        if self._mergeable and spans[-1] == start:
            spans[-1] = stop
            return
        if len(spans) >= 2 * CHUNK and len(spans) >= 2 * self._left:
            self._write()
        self._spans.extend((start, stop))
        self._mergeable = True

    def fence(self) -> None:
        """Merge nothing across this place: another file begins."""
        self._mergeable = False

    def _write(self) -> None:
        data = memoryview(self._spans).cast("B")
        while data:
            written = os.pwrite(self._handle, data, self._end)
            self._end += written
            data = data[written:]
        data.release()
        self._spilled += len(self._spans) // 2
        self._spans = array("Q")
        self._mergeable = False

    def finish(self) -> HoleList:
        """Return the part's spans and begin the next part."""
        count = len(self._spans) // 2
        if self._spilled or count > self._left:
            if count:
                self._write()
            found = HoleList(self._spilled, b"", self._worker, self._offset)
        else:
            self._left -= count
            found = HoleList(count, self._spans.tobytes())
        self._begin()
        return found


def spans_of(holes: HoleList, spills: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Read spans back.

    :param spills: descriptor of each worker's spill file.
    """
    done = 0
    while done < holes.count:
        if holes.worker < 0:
            data = holes.spans
        else:
            size = min(CHUNK, holes.count - done) * SPAN
            data = os.pread(spills[holes.worker], size, holes.offset + done * SPAN)
        numbers = array("Q", data)
        yield from zip(numbers[::2], numbers[1::2], strict=True)
        done += len(data) // SPAN
