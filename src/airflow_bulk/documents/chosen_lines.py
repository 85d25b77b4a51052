"""Which lines of a results file are sent again, and what they are by then: raw, read at their place, or transformed.

A line that is known comes from its row, or from its place in the source where the row holds no content. Of failed lines
that are not known one by one only the whole part is known: it is read from the source, and only where a line may be sent
twice without harm.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import msgspec

from airflow_bulk.documents.line_places import LinePlaces
from airflow_bulk.documents.records import is_utf8
from airflow_bulk.documents.rejected_places import RejectedPlaces
from airflow_bulk.documents.result_rows import FAILED, REJECTED, UNPROCESSED, ResultRow
from airflow_bulk.documents.source.parts import SourceUnusable, counted
from airflow_bulk.documents.source.reader import LineRules
from airflow_bulk.documents.transforms import BadLine, Transform, header_names, transformed

#: DAG files import BadLine from here.
__all__ = [
    "ONCE_ONLY",
    "BadLine",
    "ChosenCounts",
    "ChosenLines",
    "Only",
    "RowChoice",
    "Transform",
    "rows_left",
]

Only = Literal["failed", "rejected", "both"]
#: Lines of these types may be sent twice: the second one changes nothing (mediarithmics.md section 6). An activity may not.
ONCE_ONLY = {"USER_ACTIVITY": "$unique_key"}
#: Stretches of one part in a row; a part that has more is not cut, and the count of its lines tells.
MOST_STRETCHES = 10_000
#: A line of these alone is blank: an import leaves it out.
BLANKS = b" \t\r"


@dataclass
class ChosenCounts:
    """How many lines were chosen.

    :param rejected: lines that the check had rejected.
    :param failed: lines that the platform had failed, known one by one.
    :param in_parts: failed lines that are not known one by one, and whose whole parts are sent.
    :param unprocessed: lines of parts that were not processed, and are sent.
    :param part_lines: the lines of those parts, but for the failed ones that are known.
    :param dropped: lines that the transform left out.
    :param left: bad lines that were not chosen, by their state.
    """

    rejected: int = 0
    failed: int = 0
    unprocessed: int = 0
    in_parts: int = 0
    part_lines: int = 0
    dropped: int = 0
    left: dict[str, int] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """Lines to send."""
        return self.rejected + self.failed + self.part_lines - self.dropped


class RowChoice:
    """Which rows are chosen; the rows must come in the order of their file.

    :param only: ``failed`` (on the platform), ``rejected`` (by the check), or ``both``.
    :param whole_parts: of failed lines that are not known one by one, the whole part is chosen.
    """

    def __init__(self, only: Only, whole_parts: bool) -> None:
        failed = {FAILED, UNPROCESSED}
        self._states = {"failed": failed, "rejected": {REJECTED}}.get(only, {*failed, REJECTED})
        self._whole_parts = whole_parts
        self._parts: set[tuple[int, str | None]] = set()

    def takes(self, row: ResultRow) -> bool:
        """Whether a row is chosen.

        A row without a place belongs to a part whose place an earlier row has told. Of rejected lines that are not known one by
        one there is nothing to send: their part holds the others.
        """
        if row.state not in self._states:
            return False
        if row.line is not None:
            return True
        if not self._whole_parts or row.state == REJECTED:
            return False
        if row.stretches:
            self._parts.add((row.part, row.execution))
        return (row.part, row.execution) in self._parts


def rows_left(rows: Iterable[ResultRow], choice: RowChoice) -> Iterator[ResultRow]:
    """The rows of bad lines that are not chosen, as the next results file tells them.

    A rejected line that is chosen has no row there any more, so the stretches of its part go without it: else a later resend of
    the whole part would send it, too.
    """
    with RejectedPlaces() as taken:
        for row in rows:
            if not choice.takes(row):
                yield _cut(row, taken)
            elif row.state == REJECTED:
                taken.add(row.source or "", row.offset or 0, row.bytes or 0)


def _cut(row: ResultRow, taken: RejectedPlaces) -> ResultRow:
    pieces = (piece for whole in row.stretches for piece in taken.without(whole))
    stretches = list(islice(pieces, MOST_STRETCHES + 1))
    return row if len(stretches) > MOST_STRETCHES else msgspec.structs.replace(row, stretches=stretches)


class ChosenLines:
    """The lines of a results file that are to be sent again, made anew each time they are asked for.

    :param rows: of the results file, in its order.
    :param rules: what a line may be; of the import that the lines were in.
    :param choice: which rows are chosen.
    :param transform: makes the line to send; None sends it as it was.
    :param open_path: opens an object of a store.
    :param passing: errors of the transform that are raised as they are.
    :ivar chosen: how many there are; whole once all lines were asked for.
    """

    def __init__(
        self,
        rows: Iterable[ResultRow],
        rules: LineRules,
        choice: RowChoice,
        *,
        transform: Transform | None = None,
        open_path: Callable[[str], Any] | None = None,
        passing: tuple[type[Exception], ...] = (),
    ) -> None:
        self._rows, self._rules, self._choice = rows, rules, choice
        self._transform, self._passing = transform, passing
        self._places = LinePlaces(rules, open_path)
        self._header = b""
        #: The known failed lines of the part whose rows are read: a whole part leaves them out.
        self._known_in: tuple[int, str | None] | None = None
        self._known_at: dict[str | None, array[int]] = {}
        self.chosen = ChosenCounts()

    def __iter__(self) -> Iterator[bytes]:
        """The lines, each with its line end; for CSV the header first.

        :raises SourceError: a line has to be read in its source, and that one has changed or is gone; or the transform failed.
        """
        self.chosen, self._header = ChosenCounts(), b""
        with contextlib.closing(self._places), RejectedPlaces() as rejected:
            for row in self._rows:
                if row.state == REJECTED and row.line is not None:
                    rejected.add(row.source or "", row.offset or 0, row.bytes or 0)
                if not self._choice.takes(row):
                    self.chosen.left[row.state] = self.chosen.left.get(row.state, 0) + row.lines
                elif row.line is not None:
                    yield from self._known(row)
                else:
                    yield from self._part(row, rejected)

    def _known(self, row: ResultRow) -> Iterator[bytes]:
        content = row.content
        if content is None:
            content = self._places.line(row)
        if row.state == REJECTED:
            self.chosen.rejected += 1
        else:
            self.chosen.failed += 1
            if (row.part, row.execution) != self._known_in:
                self._known_in, self._known_at = (row.part, row.execution), {}
            self._known_at.setdefault(row.source, array("Q")).append(row.offset or 0)
        yield from self._made(row, content, row.state, row.line)

    def _part(self, row: ResultRow, rejected: RejectedPlaces) -> Iterator[bytes]:
        """A whole part, but for its lines that are known; a row without a place tells of the same part as one before."""
        if row.state == UNPROCESSED:
            self.chosen.unprocessed += row.lines
        else:
            self.chosen.in_parts += row.lines
        known = self._known_at if (row.part, row.execution) == self._known_in else {}
        read = blank = 0
        for source, offset, content in self._places.part(row, rejected):
            if not content.strip(BLANKS):
                blank += 1
                continue
            read += 1
            places = known.get(source)
            if (
                places is not None
                and (at := bisect_left(places, offset)) < len(places)
                and places[at] == offset
            ):
                continue
            self.chosen.part_lines += 1
            yield from self._made(row, content, "unknown", None)
        sent = row.lines if row.part_lines is None and row.state == UNPROCESSED else row.part_lines
        # An import that checks nothing sends its blank lines, too.
        if row.stretches and sent not in (None, read, read + blank):
            raise SourceUnusable(
                f"{row.source}: of part {row.part + 1}, {counted(read, 'line')} would be sent again, and the part had "
                f"{sent}: this results file does not tell all of its rejected lines. Nothing of this round was sent. Name "
                "the results file of the import that has sent the part, or say whole_parts=False; a retry helps only then."
            )

    def _made(self, row: ResultRow, content: bytes, state: str, line: int | None) -> Iterator[bytes]:
        """The line that is sent, under its header where it is the first."""
        header = row.header_line
        if header is None:
            header = self._places.header(row)
        if header != self._header:
            if self._header:
                raise SourceUnusable(
                    f"{row.source}: its header is not that of the lines before, and one import takes one. Nothing of this round was sent: "
                    "send the lines of each file by themselves."
                )
            self._header = header
            yield header + b"\n"
        made = content if self._transform is None else self._transformed(row, content, state, line)
        if made is None:
            self.chosen.dropped += 1
            return
        key = ONCE_ONLY.get(self._rules.document_type)
        if state == "unknown" and key and not _has(made, key):
            raise SourceUnusable(
                f"Part {row.part + 1} holds lines of type {self._rules.document_type} without {key}: sent twice, they are there "
                "twice, and which of them failed is not known. Nothing of this round was sent; whole_parts=False leaves them out, and "
                "an error_file_reader of the import can tell them apart."
            )
        yield made.rstrip(b"\r\n") + b"\n"

    def _transformed(self, row: ResultRow, content: bytes, state: str, line: int | None) -> bytes | None:
        assert self._transform is not None  # noqa: S101
        bad = BadLine(
            text=content.decode(errors="surrogateescape"),
            state=state,
            reasons=tuple(row.reasons),
            source=row.source,
            line=line,
            columns=dict(row.columns),
            header=header_names(self._header, self._rules.delimiter),
            delimiter=self._rules.delimiter,
            raw=content,
        )
        where = f"{row.source} line {line}" if line else f"a line of part {row.part + 1}"
        return transformed(
            self._transform, bad, where, passing=self._passing, only_bytes=not is_utf8(self._rules.encoding)
        )


def _has(content: bytes, key: str) -> bool:
    try:
        return bool(msgspec.json.decode(content).get(key))
    except (msgspec.DecodeError, AttributeError):
        return False
