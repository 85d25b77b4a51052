"""The results file of an import: every line that was rejected, failed or not processed, as far as it can be known.

It is written where the import ends, by whichever try ends it, so nothing of it may come from memory: rejected lines come from the
reject file of pass 1, failed ones from the platform's error files and the source, which is read again for parts with
failed lines alone. What cannot be known is told with the reason, and with where the part stands. The counts of the rows
are those of the result, always; the file decides nothing about the import.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from airflow_bulk.documents.chosen_lines import ONCE_ONLY
from airflow_bulk.documents.error_files import (
    ErrorFileReader,
    ErrorFileUnreadable,
    ErrorRow,
    checked_row,
    read_error_rows,
)
from airflow_bulk.documents.error_join import PartJoin
from airflow_bulk.documents.line_keys import IdentifierFinder
from airflow_bulk.documents.result_rows import lines_row
from airflow_bulk.documents.sent_lines import sent_lines
from airflow_bulk.documents.source.parts import SourceError
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.errors import PlatformError, TryLater, reduce_message
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.failed_rows import FailedPlace, FailedRows, writing_results
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.recorded_parts import RecordedPart
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.result import Pairs, WrittenResults
from airflow_bulk.runs.upload.source_again import SourceAgain

if TYPE_CHECKING:
    from airflow_bulk.documents.result_rows import ResultRow
    from airflow_bulk.documents.source_check import RejectFile
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.runs.upload.submission import UploadSubmission

log = logging.getLogger(__name__)

#: A larger error file is not read: two of a million lines with long messages fit.
MOST_ERROR_BYTES = 2 << 30


def unprocessed_parts(
    work: UploadSubmission, pairs: Pairs
) -> list[tuple[RecordedPart, RemoteSnapshot | None]]:
    """Parts of which it is not known that the platform has worked on them: never sent, cancelled, or failed as a whole."""
    seen = {entry.part.index: one for entry, one in pairs}
    found = [(entry, seen.get(entry.part.index)) for entry in work.recorded.entries if entry.part.lines]
    return [
        (entry, one) for entry, one in found if not one or one.remote_status is not RemoteStatus.SUCCEEDED
    ]


class ResultsFile:
    """Writes the results file of an import that is over.

    :param work: the import.
    :param reader: reads error files; None: the rows are taken as they are, and joined by what can be proved.
    """

    def __init__(self, work: UploadSubmission, reader: ErrorFileReader | None) -> None:
        self._work, self._args, self._reader = work, work.args, reader
        self._with_content = self._args.rejects_content == "line"

    def write(self, pairs: Pairs, left: Iterable[ResultRow] = ()) -> WrittenResults:
        """Write the file, or remove that of an earlier try where there is no bad line.

        :param left: rows of bad lines that were in another import, and are still bad.
        :raises TryLater: the platform cannot be asked for the moment.
        :raises ResultsNotWritten: the file cannot be written.
        """
        file = planning.reject_file(self._args, self._work.file_name(), kind="results")
        if file is None:
            return WrittenResults()
        rows = FailedRows(file.write_row, with_raw=self._with_content, with_words=self._with_content)
        with writing_results(file, self._work.what):
            self._write(file, rows, pairs)
            for row in left:
                file.write_row(row.written(with_content=self._with_content, reduced=reduce_message))
            uri = file.finish()
        rows.tell()
        return WrittenResults(uri, rows.unjoined)

    def _write(self, file: RejectFile, rows: FailedRows, pairs: Pairs) -> None:
        plan = self._work.plan
        assert plan is not None  # noqa: S101
        with SourceAgain(self._args, plan, lambda: self._work.source.find_again(plan)) as source:
            if plan.rejected:
                parts = [entry.part for entry in self._work.recorded.entries]
                for row in source.rejected_rows(parts):
                    file.write_row(row)
            for entry, one in pairs:
                if one.remote_status is RemoteStatus.SUCCEEDED and one.failed:
                    self._add_failed(rows, source, entry, one)
            for entry, last in unprocessed_parts(self._work, pairs):
                self._write_unprocessed(file, source, entry, last)

    # Parts that were not processed.

    def _write_unprocessed(
        self, file: RejectFile, source: SourceAgain, entry: RecordedPart, last: RemoteSnapshot | None
    ) -> None:
        if last is None:
            why = "the part was not sent"
        elif last.remote_status is RemoteStatus.CANCELED:
            why = "its execution was cancelled: the platform took no line of it"
        else:
            why = f"its execution ended {last.status}: it is not known whether the platform took lines of it"
        file.write_row(
            lines_row(
                "unprocessed",
                source=source.name(entry.part),
                lines=entry.part.lines,
                part=entry.part.index,
                execution=last.id if last else None,
                reasons=[why],
                stretches=source.stretches(entry.part),
                part_lines=entry.part.lines,
            )
        )

    # Parts with failed lines.

    def _add_failed(
        self, rows: FailedRows, source: SourceAgain, entry: RecordedPart, one: RemoteSnapshot
    ) -> None:
        rules = planning.line_rules(self._args)
        finder = IdentifierFinder(rules.mime_type, rules.delimiter)
        join = PartJoin(
            one.failed or 0,
            has_header=rules.mime_type == "TEXT_CSV",
            identifiers=lambda line: finder.keys(line.raw, source.header(line.file)),
            keep_columns=self._with_content,
            numbers_alone=self._args.document_type not in ONCE_ONLY,
        )
        with join, tempfile.TemporaryFile() as errors:
            why = self._fetch(one, errors) or self._join(join, source, entry, errors)
            place = FailedPlace(
                part=entry.part.index,
                execution=one.id,
                source=source.name(entry.part),
                file=source.record,
                read=source.read,
                stretches=lambda: source.stretches(entry.part),
                part_lines=entry.part.lines,
                header=source.header,
            )
            rows.add(join, place, why)

    def _fetch(self, one: RemoteSnapshot, into: BinaryIO) -> str:
        """Fetch an error file; return why there is none, empty where there is.

        :raises TryLater: it cannot be had for the moment, and there is time left to wait.
        """
        call = getattr(self._work.port, "data_file", None)
        if call is None:
            return "nothing says how an error file of this platform is fetched"
        if not one.error_file:
            return "the platform names no error file"
        hook: PlatformHook = self._work.hook
        try:
            hook.download(call(one.error_file), into, MOST_ERROR_BYTES)
        except TryLater as error:
            if error.passing and time.time() < self._work.started + self._args.timeout:
                raise
            return f"the error file could not be fetched: {error.why}"
        except PlatformError as error:
            return f"the error file could not be fetched: {error.why}"
        into.seek(0)
        return ""

    def _join(self, join: PartJoin, source: SourceAgain, entry: RecordedPart, errors: BinaryIO) -> str:
        reader = source.reader()
        if reader is None:
            join.forget_part(source.why)
        else:
            try:
                join.read_part(sent_lines(reader, entry.part))
            except SourceError:
                join.forget_part("the source is not what was sent, or cannot be read again")
        join.read_rows(self._rows(errors))
        return join.why

    def _rows(self, errors: BinaryIO) -> Iterator[ErrorRow]:
        """The rows of an error file; whatever a reader of the user raises ends them, and names nothing of the file."""
        if self._reader is None:
            yield from read_error_rows(errors)
            return
        done = 0
        try:
            for row in self._reader(errors):
                yield checked_row(row)
                done += 1
        except (TaskStopped, ErrorFileUnreadable):
            raise
        except Exception as error:  # noqa: BLE001  (the user's code may raise anything)
            raise ErrorFileUnreadable(
                f"error_file_reader failed after {how_many(done, 'row')} ({type(error).__name__})"
            ) from None
