"""Where the rejected lines of a results file stand in their source: a whole part that is sent again leaves them out.

Nothing is checked again there. What was rejected then may break no rule of today, and the other way round; what was sent, and
what was not, is told by the rows alone.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from typing import Any, Self

from airflow_bulk.documents.result_rows import Stretch

_PLACE = struct.Struct("<QQ")
_READ = 4096  # places that are read at a time


class RejectedPlaces:
    """Places of lines, in a temporary file: there may be millions of them.

    Rows come in the order of their source, and those of one source stand together: so each source has one stretch of this
    file, in ascending order. Were it otherwise, a place would not be found, and the count of the part would tell.
    """

    def __init__(self) -> None:
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._of: dict[str, tuple[int, int]] = {}  # the first place of a source, and the one behind its last
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget all places."""
        self._file.close()

    def add(self, source: str, offset: int, length: int) -> None:
        """Add the place of a line."""
        first, behind = self._of.get(source, (self._count, self._count))
        if behind != self._count:
            first = self._count
        self._file.write(_PLACE.pack(offset, length))
        self._count += 1
        self._of[source] = first, self._count

    def without(self, stretch: Stretch) -> Iterator[Stretch]:
        """What is left of a stretch of the source without these lines; no line is added meanwhile."""
        source, line, offset, length, version = stretch
        at, end = offset, offset + length
        for place, size in self._from(source, offset):
            if place >= end:
                break
            if place > at:
                yield source, line, at, place - at, version
            at = max(at, place + size)
            line = 0  # not known behind a line that was left out
        if at < end:
            yield source, line, at, end - at, version

    def _from(self, source: str, offset: int) -> Iterator[tuple[int, int]]:
        """The places of a source from an offset on."""
        low, stop = self._of.get(source, (0, 0))
        high = stop
        while low < high:
            middle = (low + high) // 2
            if next(self._read(middle, middle + 1))[0] < offset:
                low = middle + 1
            else:
                high = middle
        for start in range(low, stop, _READ):
            yield from self._read(start, min(start + _READ, stop))

    def _read(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        self._file.seek(start * _PLACE.size)
        data = self._file.read((stop - start) * _PLACE.size)
        self._file.seek(0, 2)
        return _PLACE.iter_unpack(data)
