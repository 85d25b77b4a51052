"""Cut the files of a source, laid end to end, into parts on line borders.

What this room promises: where the cuts are follows from the plain bytes and the layout alone, so every
process and every try finds the same ones, compressed or not. A body never exceeds the limit:

* A part takes lines as long as they fit, the repeated CSV header counted in, and one byte for a line end that
  is missing where a file ends and another follows in the same part.
* A line that fits in no part is passed over at the beginning of the part that follows it, at no cost.
* A part ends at the border of a file whose CSV header differs, and at every border with ``one_part_per_file``.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from airflow_bulk.documents.source.parts import Part, SourceUnusable
from airflow_bulk.documents.source.reader import Block, SourceReader

LEAST_PART_BYTES = 1_000
LOOK_BACK = 64 << 10  # bytes searched at a time for a line border
STAGGER = 256  # neighbouring parts differ by this share of the limit


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a source is cut.

    :param max_part_bytes: most bytes of a part's body, the repeated CSV header counted in. 1,000 or more.
    :param one_part_per_file: never put two files in one part.
    :param workers: parts that may be in flight at once; with more than one, neighbouring parts get
        slightly different limits, so that parts of equally long lines differ in their line counts.
    :raises SourceUnusable: the limit is too low to be meant.
    """

    max_part_bytes: int = 100_000_000
    one_part_per_file: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        if self.max_part_bytes < LEAST_PART_BYTES:
            raise SourceUnusable(
                f"max_part_bytes is {self.max_part_bytes}, less than {LEAST_PART_BYTES:,}. Nothing was sent."
            )

    def limit(self, index: int) -> int:
        """Return the most bytes of the body of one part."""
        if self.workers == 1:
            return self.max_part_bytes
        return self.max_part_bytes - index % (2 * self.workers) * (self.max_part_bytes // STAGGER)


class _Filling:
    """One part being filled: what has been taken, and what still fits."""

    def __init__(self, reader: SourceReader, layout: Layout, index: int, file: int, start: int) -> None:
        self.index, self.file, self.start = index, file, start
        self.length = 0
        self.has_line = False  # lines that are too long do not count
        self._reader, self._layout = reader, layout
        self._header = reader.beginning(file).header
        self._left = layout.limit(index) - len(self._header)
        self._last_file = file
        self._open_end = False

    def goes_on_in(self, file: int) -> bool:
        """Say whether this part may take lines of a file."""
        if not self.length or file == self._last_file:
            return True
        return not self._layout.one_part_per_file and self._reader.beginning(file).header == self._header

    @property
    def room(self) -> int:
        """Bytes that the next lines may have."""
        return self._left - self._open_end

    def take(self, file: int, length: int, ends_line: bool) -> None:
        """Take whole lines."""
        self._left -= length + self._open_end
        self._open_end = not ends_line
        self._note(file, length)
        self.has_line = True

    def pass_over(self, file: int, length: int) -> None:
        """Take a line that is too long: it costs nothing, for it is left out of the body."""
        self._note(file, length)

    def _note(self, file: int, length: int) -> None:
        self._last_file = file
        self.length += length

    def part(self) -> Part:
        return Part(index=self.index, file=self.file, start=self.start, length=self.length)


def plan_parts(reader: SourceReader, layout: Layout, after: Part | None = None) -> Iterator[Part]:
    """Plan the parts of plain local files from a few reads around each cut; nothing else is read.

    :param after: begin behind this part, with the next index.
    """
    planner = _Planner(reader, layout)
    index = after.index + 1 if after else 0
    place = planner.place_behind(after) if after else planner.next_place(0, 0)
    while place:
        part, place = planner.plan(index, *place)
        yield part
        index += 1


class _Planner:
    """Finds line borders by reading backwards from where a part must end."""

    def __init__(self, reader: SourceReader, layout: Layout) -> None:
        self._reader, self._layout = reader, layout

    def next_place(self, file: int, offset: int) -> tuple[int, int] | None:
        """Return where the next line begins, at a position or in a later file."""
        while file < len(self._reader.files):
            offset = max(offset, self._reader.beginning(file).start)
            if offset < self._reader.files[file].record.stop:
                return file, offset
            file, offset = file + 1, 0
        return None

    def place_behind(self, part: Part) -> tuple[int, int] | None:
        """Return where the next part begins."""
        place, left = self.next_place(part.file, part.start), part.length
        while place and left:
            file, offset = place
            step = min(left, self._reader.files[file].record.stop - offset)
            place, left = self.next_place(file, offset + step), left - step
        return place

    def plan(self, index: int, file: int, offset: int) -> tuple[Part, tuple[int, int] | None]:
        filling = _Filling(self._reader, self._layout, index, file, offset)
        place: tuple[int, int] | None = (file, offset)
        while place and filling.goes_on_in(place[0]):
            file, offset = place
            size = self._reader.files[file].record.stop
            if size - offset <= filling.room:
                filling.take(file, size - offset, self._last_byte(file, size) == b"\n")
                place = self.next_place(file + 1, 0)
                continue
            cut = self._border_before(file, offset, offset + filling.room)
            if cut > offset:
                filling.take(file, cut - offset, True)
                return filling.part(), (file, cut)
            if filling.has_line:
                return filling.part(), place
            stop = self._line_end(file, offset, size)
            place = self.next_place(file, stop)
            if stop - offset <= self._reader.line_limit(file):
                filling.take(file, stop - offset, True)
                break
            filling.pass_over(file, stop - offset)
        return filling.part(), place

    def _read(self, file: int, start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        return bytes(data[: self._reader.contents(file).readinto(memoryview(data), start)])

    def _last_byte(self, file: int, size: int) -> bytes:
        return self._read(file, size - 1, size)

    def _border_before(self, file: int, start: int, stop: int) -> int:
        """Return where the last line that ends before `stop` ends, or `start`."""
        while stop > start:
            back = max(start, stop - LOOK_BACK)
            found = self._read(file, back, stop).rfind(b"\n")
            if found >= 0:
                return back + found + 1
            stop = back
        return start

    def _line_end(self, file: int, start: int, size: int) -> int:
        while start < size:
            found = self._read(file, start, min(size, start + LOOK_BACK)).find(b"\n")
            if found >= 0:
                return start + found + 1
            start += LOOK_BACK
        return size


class Cutter:
    """Finds the same parts while the files are read front to back, as compressed and remote ones must be.

    :param after: begin behind this part, with the next index.
    """

    def __init__(self, reader: SourceReader, layout: Layout, after: Part | None = None) -> None:
        self._reader, self._layout = reader, layout
        self.index = after.index + 1 if after else 0
        self._waiting: Block | None = None
        self._blocks = reader.blocks(after.file, after.start) if after else reader.blocks(0, 0)
        self._drop(after.length if after else 0)

    def _drop(self, length: int) -> None:
        while length and (block := next(self._blocks, None)):
            if block.length > length:
                self._waiting = _rest(block, length)
                return
            length -= block.length

    def next_part(self) -> Iterator[Block | Part]:
        """Read one part: its blocks, then the part itself; nothing at the end of the source."""
        block = self._next()
        if block is None:
            return
        filling = _Filling(self._reader, self._layout, self.index, block.file, block.offset)
        while block:
            head, tail = self._divide(filling, block)
            if head:
                yield head
            if tail:
                self._waiting = tail
                break
            block = self._next()
        self.index += 1
        yield filling.part()

    def pass_part(self) -> Part | None:
        """Read one part without looking at its lines."""
        found = None
        for item in self.next_part():
            found = item if isinstance(item, Part) else None
        return found

    def _next(self) -> Block | None:
        block, self._waiting = self._waiting or next(self._blocks, None), None
        return block

    def _divide(self, filling: _Filling, block: Block) -> tuple[Block | None, Block | None]:
        """Take from a block what fits; the rest, if any, ends the part."""
        if not filling.goes_on_in(block.file):
            return None, block
        if not block.data:
            if filling.has_line:
                return None, block
            filling.pass_over(block.file, block.length)
            return block, None
        cut = block.length
        if cut > filling.room:
            cut = block.data.rfind(b"\n", 0, max(filling.room, 0)) + 1
            if not cut and not filling.has_line:
                # A part takes its first line even if its own limit is a little lower than the layout's.
                cut = block.data.find(b"\n") + 1 or block.length
        if not cut:
            return None, block
        head = block if cut == block.length else Block(block.file, block.offset, block.data[:cut], cut)
        filling.take(block.file, cut, head.data.endswith(b"\n"))
        if cut < block.length:
            return head, _rest(block, cut)
        return head, None


def line_behind(reader: SourceReader, part: Part) -> tuple[int, int]:
    """Read a part again to tell in which file, and in which line of it, the next part begins.

    :return: the file in which the part ends, and the number of the line behind it there.
    """
    file, line = part.file, part.line
    for block in reader.blocks(part.file, part.start, part.length):
        if block.file != file:
            file, line = block.file, reader.beginning(block.file).line
        line += count_lines(block)
    return file, line


def count_lines(block: Block) -> int:
    """Return how many physical lines a block has; one that is too long to be held counts, too."""
    return block.data.count(b"\n") + (not block.data.endswith(b"\n"))


def _rest(block: Block, cut: int) -> Block:
    return Block(block.file, block.offset + cut, block.data[cut:], block.length - cut)
