"""The body of a part: its header, the lines that stay, a line end where two files meet; and nothing else.

Pass 1 reckons a body (:class:`BodySum`), pass 2 reads it (:class:`BodyReader`); both add up the same digest.
"""

from __future__ import annotations

from collections.abc import Iterator

import xxhash

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.documents.source.reader import SourceReader


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
