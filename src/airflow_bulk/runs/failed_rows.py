"""What is known of the failed lines of one upload, as rows of a results file; and what of it the log says."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_bulk.documents.inspection import MOST_CONTENT
from airflow_bulk.documents.line_keys import line_key
from airflow_bulk.documents.result_rows import Stretch, line_row, lines_row
from airflow_bulk.documents.source.parts import SourceError
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.errors import reduce_message

if TYPE_CHECKING:
    from airflow_bulk.documents.error_join import FailedLine, PartJoin
    from airflow_bulk.documents.source.parts import SourceFile
    from airflow_bulk.documents.source_check import RejectFile

log = logging.getLogger(__name__)

#: Reasons that the log names.
NAMED = 5
NO_MESSAGE = "the platform gives no reason"
NOT_TOLD = "the error file does not tell it"


class ResultsNotWritten(SourceError):
    """The results file cannot be written; the platform's work is over."""


@contextmanager
def writing_results(file: RejectFile, what: str) -> Iterator[None]:
    """Write a results file: it is there as a whole, or not at all.

    :param what: the platform's work, in words.
    :raises ResultsNotWritten: the file cannot be written, or what it is made of cannot be read.
    """
    try:
        yield
    except (SourceError, OSError, sqlite3.Error) as error:
        why = str(error) if isinstance(error, SourceError) else f"({type(error).__name__})."
        if isinstance(error, sqlite3.Error):  # the temporary database of a part: a full disk, mostly
            why = f"the worker's temporary folder takes no file ({type(error).__name__})."
        raise ResultsNotWritten(
            f"The results file cannot be written: {why} The {what} is over, and nothing of it is lost or sent again: once "
            "this is mended, a retry writes the file."
        ) from None
    finally:
        file.discard()  # does nothing to a finished file


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailedPlace:
    """Where failed lines stand.

    :param part: 0-based number of the part.
    :param execution: id of the platform's work on it.
    :param source: URI of the file in which the part begins; None where it is not known.
    :param file: a file, by its number.
    :param read: bytes of a file from an offset on; None where they are not there any more.
    :param stretches: where the part stands in the source; None where that cannot be told.
    :param part_lines: how many lines of the part were sent; None where nobody has counted them.
    :param header: the header of a file, by its number; empty without one.
    """

    part: int
    execution: str
    source: str | None
    file: Callable[[int], SourceFile]
    read: Callable[[int, int, int], bytes | None]
    stretches: Callable[[], Sequence[Stretch] | None]
    part_lines: int | None = None
    header: Callable[[int], bytes] = lambda _: b""


class FailedRows:
    """Writes rows about failed lines, and adds up how they were told.

    :param write: takes a row.
    :param with_raw: put the lines themselves into the rows.
    :param with_words: put in what the platform says as it says it; False reduces it to its kind, and keeps no columns.
    :ivar unjoined: failed lines that could not be told one by one.
    """

    def __init__(
        self, write: Callable[[Mapping[str, Any]], None], *, with_raw: bool, with_words: bool
    ) -> None:
        self._write, self._with_raw, self._with_words = write, with_raw, with_words
        self.unjoined = 0
        self._ways: Counter[str] = Counter()
        self._whys: Counter[str] = Counter()

    def add(self, join: PartJoin, place: FailedPlace, why: str) -> None:
        """Write the failed lines of one part: as many as failed, told one by one or not.

        :param why: why lines cannot be told, where no row of the platform says it.
        """
        for line in join.failed_lines():
            self._write(self._line(place, line))
        self._ways.update(join.ways)
        left = join.failed - join.joined
        if not left:
            return
        self.unjoined += left
        stretches = place.stretches()
        for row in join.unjoined_rows():
            self._whys[row.why] += 1
            said = [*self._reasons([row.message]), f"not joined: {row.why}"]
            self._write(self._lines(place, 1, said, stretches, row.columns))
            stretches, left = None, left - 1
        if left:
            self._whys[why or NOT_TOLD] += left
            self._write(self._lines(place, left, [f"not joined: {why or NOT_TOLD}"], stretches))

    def _line(self, place: FailedPlace, line: FailedLine) -> dict[str, Any]:
        raw = None
        if self._with_raw and line.length <= MOST_CONTENT:
            raw = place.read(line.file, line.offset, line.length)
            if raw is not None and line_key(raw) != line.key:
                raw = None  # it has changed a moment ago
        file = place.file(line.file)
        return line_row(
            "failed",
            source=file.uri,
            version=file.mark,
            line=line.line,
            part=place.part,
            execution=place.execution,
            reasons=self._reasons(line.messages),
            offset=line.offset,
            length=line.length,
            raw=raw,
            header=place.header(line.file) if self._with_raw else b"",
            columns=line.columns if self._with_words else None,
        )

    def _lines(
        self,
        place: FailedPlace,
        lines: int,
        reasons: list[str],
        stretches: Sequence[Stretch] | None,
        columns: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        return lines_row(
            "failed",
            source=place.source,
            lines=lines,
            part=place.part,
            execution=place.execution,
            reasons=reasons,
            stretches=stretches,
            part_lines=place.part_lines,
            columns=columns if self._with_words else None,
        )

    def _reasons(self, messages: Iterable[str]) -> list[str]:
        told = [one if self._with_words else reduce_message(one) for one in messages if one.strip()]
        return list(dict.fromkeys(told)) or [NO_MESSAGE]

    def tell(self) -> None:
        """Log how the lines were told, and why some could not be: never anything that the platform's file holds."""
        if self._ways:
            told = ", ".join(f"{count} by {way}" for way, count in sorted(self._ways.items()))
            log.info("Failed lines that the platform's errors tell: %s.", told)
        for why, count in self._whys.most_common(NAMED):
            log.warning("%s failed, and which ones cannot be told: %s.", how_many(count, "line"), why)
