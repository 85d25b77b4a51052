"""Send the bad lines of an import again: round after round, each an import of its own, in one run.

A round is a generation of the run's record. What the next round has to know (the counts so far, where the bad lines of this one
are) goes over in the one write that begins its generation, so that a kill leaves either round whole. Each round spools
its lines first, and sends the spool as any source: a retry reads the spool again, and calls no transform twice.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bulk.arguments import UploadArguments
from airflow_bulk.documents.chosen_lines import (
    ChosenCounts,
    ChosenLines,
    Only,
    RowChoice,
    Transform,
    rows_left,
)
from airflow_bulk.documents.result_rows import ResultRow, read_rows
from airflow_bulk.documents.source.parts import SourceError, SourceMissing
from airflow_bulk.judging import Tolerance, how_many
from airflow_bulk.runs import failures
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.own_files import open_folder, remove_file, without_failing
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.run import UploadRun

if TYPE_CHECKING:
    from airflow_bulk.documents.error_files import ErrorFileReader
    from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting
    from airflow_bulk.runs.record import Record
    from airflow_bulk.runs.upload.submission import UploadSubmission

log = logging.getLogger(__name__)

#: The record's key: what was chosen, and where its spool is.
CHOSEN = "chosen"
#: What a line has become, as the totals count it; together they are the lines read.
FATES = ("lines_accepted", "lines_rejected", "lines_failed", "lines_unprocessed", "lines_dropped")


class FormerImport(msgspec.Struct, frozen=True, kw_only=True):
    """The import whose bad lines are sent again.

    :param import_id: its id.
    :param results_uri: its results file; None where it had no bad line.
    :param totals: lines by what has become of them, over all rounds before; empty where only the file was named.
    """

    import_id: str
    results_uri: str | None
    totals: dict[str, int] = {}


class Round(msgspec.Struct, kw_only=True):
    """What a round has to know when it begins.

    :param number: from 1.
    :param former: the import whose bad lines it sends.
    :param done: the rounds before: number, import, and counts.
    :param spools: their spools; rows without content point into them.
    """

    number: int
    former: FormerImport
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

    :param former: the import whose bad lines the first round sends.
    """
    if record.handed_on is None:
        return Round(number=1, former=former)
    return msgspec.convert(record.handed_on, Round)


def lines_of_round(resend: ResendArguments, args: UploadArguments, record: Record) -> Iterator[bytes]:
    """The lines that a round sends; how many were chosen is recorded behind the last one.

    :raises SourceError: the results file, or a line in its source, cannot be read.
    """
    lines = ChosenLines(
        _rows(round_of(record, resend.former).former),
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
            f"The lines to send again cannot be read ({type(error).__name__}). Nothing was sent; a retry reads them again."
        ) from None
    record.write(CHOSEN, dataclasses.asdict(lines.chosen))


def _rows(former: FormerImport) -> Iterator[ResultRow]:
    if former.results_uri is not None:
        with _opened(former.results_uri) as file:
            yield from read_rows(file, former.results_uri)


def _opened(uri: str) -> Any:
    try:
        return open_folder(uri).open("rb")
    except FileNotFoundError:
        raise SourceMissing(
            f"{uri}: this results file does not exist (any more). Nothing was sent; a retry looks again."
        ) from None
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001  (each store's library has errors of its own)
        why = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(
            f"{uri}: this results file cannot be read ({why}). Nothing was sent; a retry reads it again."
        ) from None


class ResendRun(UploadRun):
    """The rounds of a resend.

    :param resend: what was asked for.
    :param first: the way of the first round's spool to the platform.
    :param make_work: makes that of a later round.
    """

    def __init__(
        self,
        resend: ResendArguments,
        first: UploadSubmission,
        make_work: Callable[[], UploadSubmission],
        error_file_reader: ErrorFileReader | None = None,
    ) -> None:
        self.resend, self._make_work = resend, make_work
        super().__init__(first, error_file_reader)
        self._begin_round()

    def _open(self) -> None:
        self._begin_round()  # a clear of a success has just begun another generation
        super()._open()

    def _begin_round(self) -> None:
        self.round = round_of(self.record, self.resend.former)
        self._chosen: ChosenCounts | None = None
        name = f"{self.resend.base_name}, resend {self.round.number} of {self.resend.former.import_id}"
        self.args = self.work.args = dataclasses.replace(self.work.args, name=name)

    def _submit(self) -> dict[str, Any] | None:
        if self.round.former.results_uri is None:  # there was no bad line: nothing is spooled
            self.work.plan = planning.SourcePlan(fingerprint="", files=[], file_count=0)
            return self._end_empty()
        return super()._submit()

    # Ends.

    def _end_empty(self) -> dict[str, Any]:
        """No line was chosen, the transform left all of them out, or all still break a rule: no import is created."""
        assert self.work.plan is not None  # noqa: S101
        if not self.work.plan.rejected:
            first = self.resend.former.import_id
            planning.nothing_to_send(self.args, f"No line of document import {first} is to be sent again.")
        self._pairs = []
        self._write_results()
        ended = super()._end(self._too_many_left(self._result()))
        assert isinstance(ended, dict)  # noqa: S101
        return ended

    def _why_not_good(self, verdict: Finished | FailedBecause) -> str:
        # The bad lines of a round are not judged by themselves: its own limit is 100%.
        reason = super()._why_not_good(verdict)
        result = self._result()
        if not reason and not self._goes_on(result) and (reason := self._too_many_left(result)):
            reason = self._with_results(reason)
        return reason

    def _left_rows(self) -> Iterator[ResultRow]:
        """The rows of bad lines that this round has not chosen: its results file tells all that are left."""
        choice = RowChoice(self.resend.only, self.resend.whole_parts)
        return rows_left(_rows(self.round.former), choice)

    def _too_many_left(self, result: dict[str, Any]) -> str:
        totals = result["totals"]
        if min(totals.values()) < 0:
            return f"The sum of the rounds does not close: {say_totals(totals)} Nothing is sent again; look at the imports of the rounds."
        bad = {fate: totals[fate] for fate in ("lines_rejected", "lines_failed", "lines_unprocessed")}
        return failures.say_too_many(
            f"The resend of document import {self.resend.former.import_id}, after {how_many(self.round.number, 'round')}",
            sum(bad.values()),
            totals["lines_read"],
            self.resend.tolerance,
            parts=", ".join(f"{count} {fate.removeprefix('lines_')}" for fate, count in bad.items()),
            more="The accepted lines stay imported.",
        )

    def _goes_on(self, result: dict[str, Any]) -> bool:
        """Whether another round has lines to send."""
        if self.round.number >= self.resend.rounds or not result.get("results_uri"):
            return False
        failed = result["lines_failed"] + result["lines_unprocessed"]
        if not self.resend.whole_parts:
            failed -= result["lines_unjoined"] + result["lines_unprocessed"]
        rejected = result["lines_rejected"]
        return bool({"failed": failed, "rejected": rejected}.get(self.resend.only, failed + rejected))

    def _end(self, reason: str = "", *, retried: bool = False) -> KeepWaiting | dict[str, Any]:
        result = self._result()
        if reason or not self._goes_on(result):
            return super()._end(reason, retried=retried)
        log.info("Round %d is over. %s", self.round.number, say_totals(result["totals"]))
        former = FormerImport(
            import_id=str(result["import_id"]), results_uri=result["results_uri"], totals=result["totals"]
        )
        following = Round(
            number=self.round.number + 1, former=former, done=result["rounds"], spools=self._spools()
        )
        self.record.next_generation(msgspec.to_builtins(following))
        self._forget_live()
        self._submitted = False
        self.take_work(self._make_work())
        return self.advance()

    def _result(self) -> dict[str, Any]:
        result = super()._result()
        if self._chosen is None:
            self._chosen = msgspec.convert(self.record.read(CHOSEN) or {}, ChosenCounts)
        this = {"round": self.round.number, "import_id": result["import_id"], **counts_of(result)}
        this |= {"lines_dropped": self._chosen.dropped, "results_uri": result["results_uri"]}
        totals = totals_after(self.round.former.totals, self._chosen, result)
        return {**result, "round": self.round.number, "rounds": [*self.round.done, this], "totals": totals}

    def _spools(self) -> list[str]:
        spool = self.record.read("spool")
        return [*self.round.spools, *([] if spool is None else [spool["uri"]])]

    def forget_spools(self, result: Mapping[str, Any]) -> None:
        """Remove the spools after a good end, unless bad lines are left: some may be told by their place in one. It never fails.

        :param result: of the resend.
        """
        if not result.get("results_uri"):
            for uri in self._spools():
                without_failing(lambda uri=uri: remove_file(uri), "a spool of this resend")  # type: ignore[misc]

    def _log_end(self, result: dict[str, Any]) -> None:
        super()._log_end(result)
        log.info("%s", say_totals(result["totals"]))


def counts_of(result: Mapping[str, Any]) -> dict[str, int]:
    """What has become of the lines of an import."""
    return {fate: int(result.get(fate) or 0) for fate in ("lines_read", *FATES)}


def totals_after(
    before: Mapping[str, int], chosen: ChosenCounts, result: Mapping[str, Any]
) -> dict[str, int]:
    """What has become of all lines after a round; the sum stays the lines read.

    :param before: the totals before it; empty where nobody knows them: then the lines of this resend are all there are.
    :param chosen: what the round has sent again.
    :param result: what has become of that.
    """
    was_good = chosen.part_lines - chosen.in_parts - chosen.unprocessed
    known = before or {
        "lines_accepted": was_good,
        "lines_rejected": chosen.rejected + chosen.left.get("rejected", 0),
        "lines_failed": chosen.failed + chosen.in_parts + chosen.left.get("failed", 0),
        "lines_unprocessed": chosen.unprocessed + chosen.left.get("unprocessed", 0),
    }
    taken_back = {
        "lines_accepted": was_good,
        "lines_rejected": chosen.rejected,
        "lines_failed": chosen.failed + chosen.in_parts,
        "lines_unprocessed": chosen.unprocessed,
        "lines_dropped": 0,
    }
    now = {**counts_of(result), "lines_dropped": chosen.dropped}
    after = {fate: known.get(fate, 0) - taken_back[fate] + now[fate] for fate in FATES}
    return {"lines_read": sum(after.values()), **after}


def say_totals(totals: Mapping[str, int]) -> str:
    """The totals in one sentence."""
    fates = " + ".join(f"{totals[fate]} {fate.removeprefix('lines_')}" for fate in FATES)
    return f"Over all rounds: {how_many(totals['lines_read'], 'line')} read = {fates}."
