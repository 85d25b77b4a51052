"""The lines of a part as they were sent: which line of the body is which line of the source.

Rejected and blank lines were left out, so numbers in the body and in the file differ. The holes of pass 1 are not recorded, so the
part is read and checked again; what is found must be what was sent, down to the hash of the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from airflow_bulk.documents.inspection import name_part
from airflow_bulk.documents.lines.checking import LineChecker
from airflow_bulk.documents.result_rows import Stretch
from airflow_bulk.documents.source.bodies import BodySum
from airflow_bulk.documents.source.parts import Part, SourceChanged
from airflow_bulk.documents.source.reader import SourceReader


class SentLine(NamedTuple):
    """One line of a part as it was sent.

    :param number: its number among the lines of the body, from 1; a repeated CSV header is not counted.
    :param file: number of its file.
    :param line: its number in the file, from 1.
    :param offset: where it begins in the plain bytes of the file.
    :param raw: its bytes in the file, line end included.
    """

    number: int
    file: int
    line: int
    offset: int
    raw: bytes

    def __repr__(self) -> str:
        return f"SentLine({self.number}, file={self.file}, line={self.line}, offset={self.offset})"


def sent_lines(reader: SourceReader, part: Part) -> Iterator[SentLine]:
    """Read a part again and yield its lines in the order of the body, in flat memory.

    :param part: with all its facts, as recorded.
    :raises SourceChanged: behind the last line: what was read is not what was sent, so the lines before are worth nothing.
    :raises SourceError: the source cannot be read.
    """
    body = BodySum(reader.beginning(part.file).header)
    checkers: dict[bytes, LineChecker] = {}
    file, line, number, spanned, left_out = part.file, part.line, 0, 0, 0
    for block in reader.blocks(part.file, part.start, part.length):
        beginning = reader.beginning(block.file)
        if block.file != file:
            file, line = block.file, beginning.line
        spanned += block.length
        if not block.data:  # too long to be held, and so to be sent
            line, left_out = line + 1, left_out + 1
            continue
        if beginning.header not in checkers:
            checkers[beginning.header] = reader.rules.checker(beginning.header)
        holes = {one.start for one in checkers[beginning.header].check(block.data).findings}
        left_out += len(holes)
        for start, raw in _lines_of(block.data):
            if start not in holes:
                number += 1
                body.add(raw)
                yield SentLine(number, file, line, block.offset + start, raw)
            line += 1
    found = (spanned, number, left_out, body.length, body.digest)
    if found != (part.length, part.lines, part.rejected + part.blank, part.body, part.digest):
        raise SourceChanged(f"{name_part(reader, part)}: has changed since it was sent")


def _lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each line, line end included."""
    start = 0
    while start < len(data):
        stop = data.find(b"\n", start) + 1 or len(data)
        yield start, data[start:stop]
        start = stop


def file_lines(reader: SourceReader) -> Iterator[SentLine]:
    """The lines of a whole file that its platform fetches itself: all but the blank ones; for a source of one file.

    :raises SourceError: the file cannot be read.
    """
    line, number = reader.beginning(0).line, 0
    for block in reader.blocks(0, 0):
        for start, raw in _lines_of(block.data):
            if raw.strip():
                number += 1
                yield SentLine(number, 0, line, block.offset + start, raw)
            line += 1
        line += not block.data  # one line that is too long to be held


def stretches_of(reader: SourceReader, part: Part) -> list[Stretch]:
    """Where a part stands in the source, one stretch a file; rejected and blank lines in it are included.

    :raises SourceError: the source cannot be read, or is shorter than it was.
    """
    found: list[list[int]] = []
    for block in reader.blocks(part.file, part.start, part.length):
        if not found or found[-1][0] != block.file:
            line = reader.beginning(block.file).line if found else part.line
            found.append([block.file, line, block.offset, 0])
        found[-1][3] += block.length
    if sum(one[3] for one in found) != part.length:
        raise SourceChanged(f"{name_part(reader, part)}: has become shorter since it was sent")
    records = [reader.files[one[0]].record for one in found]
    return [
        (record.uri, line, offset, length, record.mark)
        for record, (_, line, offset, length) in zip(records, found, strict=True)
    ]
