"""Which lines of a results file are sent again, and what they are by then: raw, read at their place, or transformed.

A line that is known comes from its row, or from its place in the source where the row holds no content. Of failed lines
that are not known one by one only the whole part is known: it is read from the source, and only where a line may be sent
twice without harm.
"""

from __future__ import annotations

import contextlib
import csv
import io
import traceback
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from airflow_bulk.documents.line_places import LinePlaces
from airflow_bulk.documents.rejected_places import RejectedPlaces
from airflow_bulk.documents.result_rows import FAILED, REJECTED, UNPROCESSED, ResultRow
from airflow_bulk.documents.source.parts import SourceUnusable, counted
from airflow_bulk.documents.source.reader import LineRules

Only = Literal["failed", "rejected", "both"]
#: Lines of these types may be sent twice: the second one changes nothing (mediarithmics.md section 6). An activity may not.
ONCE_ONLY = {"USER_ACTIVITY": "$unique_key"}
#: A line of these alone is blank: an import leaves it out.
BLANKS = b" \t\r"


@dataclass(frozen=True)
class BadLine:
    """A line that was rejected or failed, as a transform gets it.

    :param text: the line, without its line end.
    :param state: ``rejected`` or ``failed``; ``unknown`` for a line of a part of which some unknown lines have failed.
    :param reasons: why, in the words of the check or of the platform.
    :param source: the file.
    :param line: its number in the file, from 1; None where it is not known.
    :param columns: what the platform's error file says beside the message.
    :param header: the columns of a CSV file; empty for NDJSON.
    """

    text: str = field(repr=False)
    state: str
    reasons: tuple[str, ...] = field(repr=False)  # the platform may quote the line
    source: str | None
    line: int | None
    columns: dict[str, Any] = field(default_factory=dict, repr=False)
    header: tuple[str, ...] = ()
    delimiter: str = ","

    @property
    def record(self) -> dict[str, Any]:
        """The line as a dictionary.

        :raises ValueError: it is none.
        """
        if self.header:
            cells = next(csv.reader([self.text], delimiter=self.delimiter), [])
            return dict(zip(self.header, cells, strict=False))
        found = msgspec.json.decode(self.text)
        if not isinstance(found, dict):
            raise ValueError("the line is no JSON object")  # noqa: TRY004 (a bad value, of the right type)
        return found


#: Returns the line to send: a text, or a dictionary; None leaves the line out.
Transform = Callable[[BadLine], str | bytes | dict[str, Any] | None]


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
        names = next(csv.reader([self._header.decode().rstrip("\r\n")], delimiter=self._rules.delimiter), [])
        bad = BadLine(
            text=content.decode(errors="surrogateescape"),
            state=state,
            reasons=tuple(row.reasons),
            source=row.source,
            line=line,
            columns=dict(row.columns),
            header=tuple(names) if self._header else (),
            delimiter=self._rules.delimiter,
        )
        where = f"{row.source} line {line}" if line else f"a line of part {row.part + 1}"
        try:
            made = self._transform(bad)
        except self._passing:
            raise
        except Exception as error:  # noqa: BLE001 (it is not our function)
            # What it says may hold the line, and so may what it was raised from.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise SourceUnusable(
                f"transform failed with {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}, at {where}. "
                "Nothing of this round was sent; a retry helps only once it is corrected."
            ) from None
        return _as_line(made, bad, where)


def _has(content: bytes, key: str) -> bool:
    try:
        return bool(msgspec.json.decode(content).get(key))
    except (msgspec.DecodeError, AttributeError):
        return False


def _as_line(made: object, bad: BadLine, where: str) -> bytes | None:
    if made is None:
        return None
    if isinstance(made, dict):
        try:
            made = _row_of(made, bad) if bad.header else msgspec.json.encode(made)
        except Exception as error:  # noqa: BLE001 (what an object of the user says of itself may hold the line)
            raise SourceUnusable(
                f"transform returned a dictionary that cannot be written ({type(error).__name__}) at {where}. Nothing of this round was sent; a "
                "retry helps only once it is corrected."
            ) from None
    data = made.encode(errors="surrogateescape") if isinstance(made, str) else made
    if not isinstance(data, bytes):
        raise SourceUnusable(
            f"transform returned {type(made).__name__} at {where}: it must return a text, a dictionary, or None to leave the line "
            "out. Nothing of this round was sent; a retry helps only once it is corrected."
        )
    data = data.rstrip(b"\r\n")
    if not data.strip() or b"\n" in data:
        raise SourceUnusable(
            f"transform returned {'more than one line' if data.strip() else 'an empty line'} at {where}: it must return one "
            "line, or None to leave it out. Nothing of this round was sent; a retry helps only once it is corrected."
        )
    return data


def _row_of(record: dict[str, Any], bad: BadLine) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=bad.delimiter, lineterminator="").writerow(
        ["" if record.get(name) is None else record[name] for name in bad.header]
    )
    return text.getvalue()
