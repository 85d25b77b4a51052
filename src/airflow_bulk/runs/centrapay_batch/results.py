"""The results file of a Centrapay batch: the errors that Centrapay lists, joined to the records of its file.

An error names a record by ``externalId``, ``index``, both or neither. Nobody says whether ``index`` begins at 0 or 1
(centrapay.md section 4), so it is told and never computed with: a record is found by its ``externalId``, if as many records have
it as errors name it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_bulk.documents.error_files import ErrorRow
from airflow_bulk.documents.error_join import PartJoin
from airflow_bulk.documents.line_keys import IdentifierFinder
from airflow_bulk.documents.result_rows import Stretch, lines_row
from airflow_bulk.documents.sent_lines import SentLine, file_lines
from airflow_bulk.documents.source.parts import SourceFile
from airflow_bulk.documents.source.reader import LineRules, SourceReader
from airflow_bulk.platforms import centrapay as api
from airflow_bulk.runs.failed_rows import NO_MESSAGE, FailedPlace, FailedRows, writing_results
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.upload import planning

if TYPE_CHECKING:
    from airflow_bulk.documents.source.files import FoundFile
    from airflow_bulk.runs.centrapay_batch.arguments import CentrapayBatchArguments
    from airflow_bulk.runs.centrapay_batch.file import CentrapayFile

#: The most bytes of a record that is read again.
WINDOW = 16_000_000
NO_FILE = "the task was given a URL, and no file to look into"
CHANGED = "the file has changed or is gone since the batch was created"


def write_results(
    args: CentrapayBatchArguments,
    name: str,
    batch: api.CentrapayBatch,
    file: CentrapayFile,
    *,
    fingerprint: str,
    lines: int | None,
) -> str | None:
    """Write the file; it has the same name at every try.

    :param name: of the file, before its kind.
    :param fingerprint: of the batch's file when it was checked; empty where nobody knows.
    :param lines: records that the file holds; None where nobody counted them.
    :returns: its URI; None where there is no error, or no file is wanted.
    :raises ResultsNotWritten: the file cannot be written.
    """
    results = planning.reject_file(args, name, kind="results")
    if results is None:
        return None
    # The records stay in the batch's own file; what Centrapay says stands as Centrapay writes it.
    rows = FailedRows(results.write_row, with_raw=False, with_words=True)
    with writing_results(results, f"batch {batch.id}"):
        if batch.status == api.ERROR:
            said = [one.message for one in batch.errors if one.message]
            results.write_row(
                lines_row(
                    "unprocessed",
                    source=args.file,
                    lines=lines or 0,
                    part=0,
                    execution=batch.id,
                    reasons=said or [NO_MESSAGE],
                )
            )
        elif failed := api.snapshot(batch).failed:
            _add_failed(rows, args, batch, failed, _found_again(args, file, fingerprint))
        uri = results.finish()
    rows.tell()
    return uri or None


def _found_again(args: CentrapayBatchArguments, file: CentrapayFile, fingerprint: str) -> FoundFile | None:
    """The batch's file, if it is what it was; None where it is not, or cannot be had."""
    if args.file is None or not fingerprint:
        return None
    try:
        found = file.find()
    except TaskStopped:
        raise
    except Exception:  # noqa: BLE001  (a store may raise anything, and a batch does not fail of it)
        return None
    return found if planning.fingerprint([found]).fingerprint == fingerprint else None


def _add_failed(
    rows: FailedRows,
    args: CentrapayBatchArguments,
    batch: api.CentrapayBatch,
    failed: int,
    found: FoundFile | None,
) -> None:
    why = NO_FILE if args.file is None else CHANGED
    finder = IdentifierFinder(args.mime_type, ",")
    rules = LineRules(document_type=args.batch_type, mime_type=args.mime_type, check=False)
    stretches: list[Stretch] = []
    with (
        SourceReader([found] if found else [], rules, WINDOW) as reader,
        PartJoin(failed, identifiers=lambda line: finder.keys(line.raw, reader.beginning(0).header)) as join,
    ):
        if found is not None:
            try:
                join.read_part(_noting(file_lines(reader), stretches, found.record))
                why = "Centrapay does not list it"
            except TaskStopped:
                raise
            except Exception:  # noqa: BLE001  (as above)
                stretches.clear()
                why = CHANGED
        if not stretches:
            join.forget_part(why)
        join.read_rows(_error_rows(batch))
        place = FailedPlace(
            part=0,
            execution=batch.id,
            source=args.file,
            file=lambda number: reader.files[number].record,
            read=lambda *_: None,
            stretches=lambda: stretches or None,
        )
        rows.add(join, place, why)


def _noting(lines: Iterator[SentLine], stretches: list[Stretch], file: SourceFile) -> Iterator[SentLine]:
    """Pass lines on; at their end, note where they stand."""
    first: SentLine | None = None
    stop = 0
    for one in lines:
        first = first or one
        stop = one.offset + len(one.raw)
        yield one
    if first is not None:
        stretches.append((file.uri, first.line, first.offset, stop - first.offset, file.mark))


def _error_rows(batch: api.CentrapayBatch) -> Iterator[ErrorRow]:
    for one in batch.errors:
        told = {"index": one.index, "external_id": one.external_id}
        yield ErrorRow(
            identifier=one.external_id or None,
            message=one.message,
            columns={name: value for name, value in told.items() if value is not None},
        )
