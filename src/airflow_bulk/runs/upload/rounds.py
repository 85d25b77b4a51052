"""A round of a resend: of which import its lines are, and the lines themselves, as its spool gets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bulk.documents.chosen_lines import ChosenCounts, ChosenLines, Only, RowChoice, Transform
from airflow_bulk.documents.result_rows import UNPROCESSED, ResultRow, read_rows
from airflow_bulk.documents.source.parts import SourceError, SourceMissing, SourceUnusable
from airflow_bulk.judging import Tolerance, how_many
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.own_files import open_folder
from airflow_bulk.runs.upload import planning

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.runs.record import Record

#: The record's keys: what was chosen, and by which choice; and the import that the first round is made of.
CHOSEN, FORMER = "chosen", "former"
#: What a bad line is, as the totals count it.
BAD = ("lines_rejected", "lines_failed", "lines_unprocessed")
#: What a line has become, as the totals count it; together they are the lines read.
FATES = ("lines_accepted", *BAD, "lines_dropped")
#: The end of an error while a round's lines are chosen. Rounds before it may have sent theirs.
UNSENT = " Nothing of this round was sent."


class FormerImport(msgspec.Struct, frozen=True, kw_only=True):
    """The import whose bad lines are sent again.

    :param import_id: its id; empty where it was never created.
    :param results_uri: its results file; None where it had no bad line.
    :param totals: lines by what has become of them, over all rounds before; empty where only the file was named.
    """

    import_id: str
    results_uri: str | None
    totals: dict[str, int] = {}

    def is_same(self, other: FormerImport) -> bool:
        """Whether both tell of the same bad lines, as far as can be known: one of them may have been named by its file alone."""
        if (self.import_id, self.results_uri) != (other.import_id, other.results_uri):
            return False
        return not (self.totals and other.totals) or self.totals == other.totals

    @property
    def in_words(self) -> str:
        """The import, and where its bad lines are."""
        what = f"document import {self.import_id}" if self.import_id else "an import that was never created"
        if self.results_uri is None:
            return f"{what} (without a bad line)" if self.totals else what
        count = (
            f"{how_many(sum(self.totals.get(one, 0) for one in BAD), 'bad line')}, " if self.totals else ""
        )
        return f"{what} ({count}{self.results_uri})"


class Round(msgspec.Struct, kw_only=True):
    """What a round has to know when it begins.

    :param number: from 1.
    :param former: the import whose bad lines it sends.
    :param first: the import whose bad lines the first round has sent; None in records of earlier versions.
    :param done: the rounds before: number, import, and counts.
    :param spools: their spools; rows without content point into them.
    """

    number: int
    former: FormerImport
    first: FormerImport | None = None
    done: list[dict[str, Any]] = []
    spools: list[str] = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResendArguments:
    """What a resend was asked for, beside what every upload is asked for.

    :param former: the import.
    :param only: which lines.
    :param whole_parts: send whole parts where the failed lines are not known one by one.
    :param transform: makes the line to send.
    :param rounds: imports at most.
    :param tolerance: how many bad lines may be left of all lines read.
    :param base_name: the name of the first import, without its marker.
    """

    former: FormerImport
    only: Only
    whole_parts: bool
    transform: Transform | None
    rounds: int
    tolerance: Tolerance
    base_name: str


def round_of(record: Record, former: FormerImport) -> Round:
    """The round that the record's generation is.

    :param former: the import whose bad lines the first round sends, where the record does not say it.
    """
    if record.handed_on is not None:
        return msgspec.convert(record.handed_on, Round)
    stored = record.read(FORMER)
    if stored is None:
        return Round(number=1, former=former)
    former = msgspec.convert(stored, FormerImport)
    return Round(number=1, former=former, first=former)


def choice_of(record: Record, resend: ResendArguments) -> RowChoice:
    """By what the lines of this round were chosen: the arguments may have changed since."""
    stored = record.read(CHOSEN) or {}
    return RowChoice(stored.get("only", resend.only), stored.get("whole_parts", resend.whole_parts))


def lines_of_round(resend: ResendArguments, args: UploadArguments, record: Record) -> Iterator[bytes]:
    """The lines that a round sends; how many were chosen is recorded behind the last one.

    :raises SourceError: the results file, or a line in its source, cannot be read.
    """
    former = round_of(record, resend.former).former
    lines = ChosenLines(
        _told_once(bad_rows(former.results_uri, UNSENT), str(former.results_uri)),
        planning.line_rules(args),
        RowChoice(resend.only, resend.whole_parts),
        transform=resend.transform,
        open_path=planning.open_path,
        passing=(TaskStopped,),
    )
    try:
        yield from lines
    except (SourceError, TaskStopped):
        raise
    except Exception as error:  # noqa: BLE001  (each store's library has errors of its own)
        raise SourceError(
            f"The lines to send again cannot be read ({type(error).__name__}); a retry reads them again.{UNSENT}"
        ) from None
    _refuse_other_counts(former, lines.chosen)
    choice = {"only": resend.only, "whole_parts": resend.whole_parts}
    record.write(CHOSEN, {**dataclasses.asdict(lines.chosen), **choice})


def bad_rows(results_uri: str | None, unsent: str = "") -> Iterator[ResultRow]:
    """The rows of a results file; none where there is no file.

    :param unsent: the end of an error: what was sent by then.
    :raises SourceError: it cannot be read.
    """
    if results_uri is None:
        return
    try:
        with open_folder(results_uri).open("rb") as file:
            yield from read_rows(file, results_uri)
    except FileNotFoundError:
        raise SourceMissing(
            f"{results_uri}: this results file does not exist (any more); a retry looks again.{unsent}"
        ) from None
    except SourceUnusable as error:
        raise SourceUnusable(f"{error}{unsent}") from None
    except (SourceError, TaskStopped):
        raise
    except Exception as error:  # noqa: BLE001  (each store's library has errors of its own)
        why = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(
            f"{results_uri}: this results file cannot be read ({why}); a retry reads it again.{unsent}"
        ) from None


def _told_once(rows: Iterable[ResultRow], name: str) -> Iterator[ResultRow]:
    """The rows of a results file, each line told once: those of one part and one file stand together, in the file's order.

    Failed lines that are not known one by one have as many rows as the platform's error file: nothing tells two of them apart.

    :raises SourceUnusable: a row tells of a line that another one has told.
    """
    told: set[tuple[Any, ...]] = set()  # an entry for each part and file
    last: tuple[Any, ...] = ()
    offset = -1
    for number, row in enumerate(rows, 1):
        if row.offset is not None or row.state == UNPROCESSED:
            place = (row.state, row.part, row.execution, row.source)
            follows = place == last and row.offset is not None and row.offset > offset
            if place in told and not follows:
                raise SourceUnusable(
                    f"{name}, line {number}: tells of a line that a row before it has told, or is not in its place, so the file was "
                    f"changed. Put it back as the import wrote it, and clear this task; a retry cannot help before.{UNSENT}"
                )
            told.add(place)
            last, offset = place, row.offset or 0
        yield row


def _refuse_other_counts(former: FormerImport, chosen: ChosenCounts) -> None:
    """Refuse a results file that does not tell all bad lines of its import, or tells more.

    :raises SourceUnusable: naming both counts.
    """
    if not former.totals:
        return
    told, known = bad_lines_told(chosen), {fate: former.totals.get(fate, 0) for fate in BAD}
    if told != known:
        raise SourceUnusable(
            f"{former.results_uri}: tells of {_in_words(told)} lines, but its import has counted {_in_words(known)}, so the file "
            "was cut or changed. Put it back as the import wrote it, and clear this task; a retry cannot help before."
            f"{UNSENT}"
        )


def bad_lines_told(chosen: ChosenCounts) -> dict[str, int]:
    """How many bad lines a results file tells of, chosen or left."""
    return {
        "lines_rejected": chosen.rejected + chosen.left.get("rejected", 0),
        "lines_failed": chosen.failed + chosen.in_parts + chosen.left.get("failed", 0),
        "lines_unprocessed": chosen.unprocessed + chosen.left.get("unprocessed", 0),
    }


def _in_words(bad: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {fate.removeprefix('lines_')}" for fate, count in bad.items())
