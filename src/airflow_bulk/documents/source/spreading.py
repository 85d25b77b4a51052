"""Spread a source over several tasks: groups of stretches of about equal bytes, cut on line borders.

A few bytes around each border are read, and nothing else, so a source of any size is spread in a moment. Where the borders
are follows from the files and the number of groups alone. What a compressed file holds behind some byte only unpacking all
before it tells, so such a file stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from airflow_bulk.documents.source.beginning import read_at
from airflow_bulk.documents.source.contents import Contents, open_contents
from airflow_bulk.documents.source.files import UNSENT_UNTIL_CHANGED, FoundFile
from airflow_bulk.documents.source.parts import SourceChanged, SourceFile, SourceUnusable
from airflow_bulk.documents.source.reader import LineRules, read_beginning

LOOK = 64 << 10  # bytes read at a time while the end of a line is looked for
#: Bytes of text that one stored byte of a compressed file is taken for: only unpacking tells, and groups need not be equal.
UNPACKED = 6


class FileStretch(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a file, or a whole one, as one task hands it to another.

    :param uri: the file as shown to people.
    :param mark: changes when the file does (:attr:`~airflow_bulk.documents.source.parts.SourceFile.mark`).
    :param begin: offset of its first byte, which begins a line.
    :param end: offset behind its last byte; None: the end of the file.
    :param first_line: number in the file of the line at ``begin``; 0 while unknown.
    """

    uri: str
    mark: str
    begin: int = 0
    end: int | None = None
    first_line: int = 0


Group = list[FileStretch]


def spread_files(files: Sequence[FoundFile], rules: LineRules, count: int) -> list[Group]:
    """Spread files over groups, each a stretch of all of them laid end to end.

    :param files: what was found, in order.
    :param rules: what a line may be; the beginning of a file that is cut is looked at.
    :param count: how many groups; there are fewer where the source has too few lines, or too few compressed files.
    :return: groups that are not empty; together they are the source, each byte of it once.
    :raises SourceUnusable: a file cannot be what it should be, or one compressed file is all there is.
    """
    files = [found for found in files if found.record.size]
    _refuse_what_cannot_be_spread(files, count)
    cuts = [_Cuts(found, rules) for found in files]
    whole = sum(one.weight for one in cuts)
    borders = {(0, 0)}
    for number in range(1, count):
        borders.add(_border(cuts, whole * number // count))
    places = sorted(place for place in borders if place[0] < len(files))
    places.append((len(files), 0))
    return [_stretches(files, first, last) for first, last in pairwise(places)]


def _refuse_what_cannot_be_spread(files: Sequence[FoundFile], count: int) -> None:
    if len({found.record.uri for found in files}) < len(files):
        raise SourceUnusable(
            f"Two files of the source are shown under one name, so a task could not tell which is meant. {UNSENT_UNTIL_CHANGED}"
        )
    if count > 1 and len(files) == 1 and (packed := files[0].record).compression:
        raise SourceUnusable(
            f"{packed.uri}: one compressed file cannot be spread over {count} tasks, since nobody knows where its lines "
            "are before it is unpacked. Unpack it, have it exported as several files, or say spread=1. "
            f"{UNSENT_UNTIL_CHANGED}"
        )


class _Cuts:
    """Where one file can be cut."""

    def __init__(self, found: FoundFile, rules: LineRules) -> None:
        self._found, self._rules = found, rules
        record = found.record
        self.weight = record.size * (UNPACKED if record.compression else 1)

    def near(self, weight: int) -> int | None:
        """Return the beginning of the line behind a byte; 0 for the beginning of the file, None for its end."""
        record = self._found.record
        if record.compression:
            return 0 if 2 * weight < self.weight else None
        contents = open_contents(self._found, LOOK)
        try:
            begins = read_beginning(record, contents, self._rules).start
            if weight <= begins:
                return 0
            stop = _line_end(contents, weight, record.size)
            return stop if stop < record.size else None
        finally:
            contents.close()


def _line_end(contents: Contents, offset: int, size: int) -> int:
    """Return where the line ends in which a byte stands; that byte's own place where a line begins there."""
    place = offset - 1
    while place < size:
        data = read_at(contents, place, LOOK)
        found = data.find(b"\n")
        if found >= 0:
            return place + found + 1
        if not data:
            break
        place += len(data)
    return size


def _border(cuts: Sequence[_Cuts], weight: int) -> tuple[int, int]:
    """Return the place of a border: the number of a file, and an offset in it."""
    for file, one in enumerate(cuts):
        if weight < one.weight:
            offset = one.near(weight)
            return (file + 1, 0) if offset is None else (file, offset)
        weight -= one.weight
    return len(cuts), 0


def _stretches(files: Sequence[FoundFile], first: tuple[int, int], last: tuple[int, int]) -> Group:
    """The stretches between two places."""
    group = []
    for file in range(first[0], last[0] + bool(last[1])):
        record = files[file].record
        begin = first[1] if file == first[0] else 0
        end = last[1] if file == last[0] else None
        group.append(FileStretch(uri=record.uri, mark=record.mark, begin=begin, end=end))
    return group


def gap_between(groups: Sequence[Group]) -> str:
    """Say at which file the groups are not one stretch of the source behind the other; empty where they are.

    Each begins where the one before it ends, the first one at the beginning of a file, the last one ends with a file.
    """
    before: FileStretch | None = None
    begun: set[str] = set()
    for here in (one for group in groups for one in group):
        if before is None or before.end is None:
            goes_on = not here.begin and here.uri not in begun
        else:
            goes_on = (here.uri, here.begin) == (before.uri, before.end)
        if not goes_on:
            return here.uri
        begun.add(here.uri)
        before = here
    return before.uri if before is not None and before.end is not None else ""


def take_stretches(files: Sequence[FoundFile], stretches: Sequence[FileStretch]) -> list[FoundFile]:
    """Take from the files that were found the stretches of one group.

    :raises SourceChanged: a file is gone, or is not what it was when the source was spread.
    """
    found = {one.record.uri: one for one in files}
    return [_taken(found.get(one.uri), one) for one in stretches]


def _taken(found: FoundFile | None, stretch: FileStretch) -> FoundFile:
    if found is None or found.record.mark != stretch.mark:
        happened = "is gone" if found is None else "has changed"
        raise SourceChanged(
            f"{stretch.uri}: {happened} since the source was spread over tasks. Nothing more was sent. Put the file back as "
            "it was and clear this task. If nothing of the source was sent yet, clear the whole group of tasks instead; else "
            "import the file as it is now in a new DAG run."
        )
    record: SourceFile = msgspec.structs.replace(
        found.record, begin=stretch.begin, end=stretch.end, first_line=stretch.first_line
    )
    return found._replace(record=record)
