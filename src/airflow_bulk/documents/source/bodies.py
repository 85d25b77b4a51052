"""The body of a part: its header, the lines that stay, a line end where two files meet; and nothing else.

Pass 1 reckons a body (:class:`BodySum`) and keeps its holes, the spans that do not go out: rejected and blank lines.
Pass 2 reads the part again without its holes (:class:`BodyReader`). Both passes add up the same digest.

Offsets of holes count the stretch's bytes from 0. Neighbouring holes are one. Beyond 100,000 they go to an unlinked
temporary file, so that a file of nothing but bad lines costs no memory.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

import msgspec
import xxhash

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.documents.source.reader import SourceReader

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
            place = os.path.expanduser(folder) if folder else None  # noqa: PTH111
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115
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


class BodySum:
    """Length and digest of a body, from the pieces that stay."""

    def __init__(self, header: bytes) -> None:
        self._hash = xxhash.xxh3_128(header)
        self.length = len(header)
        self._open_end = False

    def add(self, piece: bytes | memoryview) -> None:
        """Take whole lines; if the last one so far has no line end, it gets one now."""
        if self._open_end:
            self._hash.update(b"\n")
            self.length += 1
        self._hash.update(piece)
        self.length += len(piece)
        self._open_end = piece[-1] != 10

    @property
    def digest(self) -> str:
        """xxh3-128, hexadecimal."""
        return self._hash.hexdigest()


class BodyReader:
    """Reads the body of a part into a buffer, piece by piece.

    :param holes: spans of the stretch to leave out, in order.
    """

    def __init__(self, reader: SourceReader, part: Part, holes: Iterator[tuple[int, int]]) -> None:
        self._reader, self._part, self._holes = reader, part, holes
        self._hash = xxhash.xxh3_128()
        self._file = part.file
        self._offset = max(part.start, reader.beginning(part.file).start)
        self._done = 0  # bytes of the stretch that are behind us
        self._hole = next(holes, None)
        self._header = memoryview(reader.beginning(part.file).header)
        self._last = 10  # the last byte that went out
        self._at_border = False

    @property
    def digest(self) -> str:
        """xxh3-128 of what has been read so far, hexadecimal."""
        return self._hash.hexdigest()

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes of the body into a view of 2 bytes or more; 0 only behind the end."""
        filled = 0
        if self._header:
            filled = min(len(self._header), len(view))
            view[:filled] = self._header[:filled]
            self._header = self._header[filled:]
        while filled < len(view) and self._done < self._part.length:
            read = self._read(view[filled:])
            if read is None:  # the end of the source, too early; or no room for a line end and more
                break
            filled += read
        self._hash.update(view[:filled])
        return filled

    def _read(self, view: memoryview) -> int | None:
        if self._hole and self._hole[0] < self._done:
            # A hole that goes on behind what was read. (One that begins here may begin in the next file.)
            self._skip(self._hole[1] - self._done)
            self._hole = next(self._holes, None)
            return 0
        spare = int(self._at_border and self._last != 10)
        size = min(len(view) - spare, self._part.length - self._done)
        if not size:
            return None
        count = self._reader.contents(self._file).readinto(view[spare : spare + size], self._offset)
        if not count:
            return self._next_file()
        kept = self._close_up(view[spare : spare + count])
        self._skip(count)
        if not kept:
            return 0
        if spare:
            view[0] = 10
        self._last, self._at_border = view[spare + kept - 1], False
        return spare + kept

    def _next_file(self) -> int | None:
        self._file += 1
        if self._file >= len(self._reader.files):
            return None
        self._offset = self._reader.beginning(self._file).start
        self._at_border = True
        return 0

    def _skip(self, count: int) -> None:
        self._offset += count
        self._done += count

    def _close_up(self, view: memoryview) -> int:
        """Move what stays over the holes; returns how many bytes stay."""
        kept = place = 0
        end = self._done + len(view)
        while self._hole and self._hole[0] < end:
            start, stop = self._hole[0] - self._done, min(self._hole[1], end) - self._done
            if kept != place:
                view[kept : kept + start - place] = view[place:start]
            kept += start - place
            place = stop
            if self._hole[1] > end:
                break
            self._hole = next(self._holes, None)
        if place and place < len(view):
            view[kept : kept + len(view) - place] = view[place:]
        return kept + len(view) - place
