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

from airflow_bulk.documents.chosen_lines import ChosenCounts, RowChoice, rows_left
from airflow_bulk.documents.source.parts import SourceError
from airflow_bulk.judging import how_many, name_ids
from airflow_bulk.platforms.errors import NotFound
from airflow_bulk.runs import failures
from airflow_bulk.runs.own_files import remove_file, without_failing
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.rounds import (
    BAD,
    CHOSEN,
    FATES,
    FORMER,
    FormerImport,
    ResendArguments,
    Round,
    bad_lines_told,
    bad_rows,
    choice_of,
    round_of,
)
from airflow_bulk.runs.upload.run import UploadRun

if TYPE_CHECKING:
    from airflow_bulk.documents.error_files import ErrorFileReader
    from airflow_bulk.documents.result_rows import ResultRow
    from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting
    from airflow_bulk.runs.record import RecordedEnd
    from airflow_bulk.runs.upload.submission import UploadSubmission

log = logging.getLogger(__name__)


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

    # Which import the recorded round is of.

    def _recorded_end(self) -> dict[str, Any] | None:
        end = self.record.end()
        if end is not None and (begun := self._begun_with_another(end)) is not None:
            self._begin_anew(begun)
        return super()._recorded_end()

    def _open(self) -> None:
        self._begin_round()  # a clear of a success has just begun another generation
        super()._open()
        if (begun := self._begun_with_another()) is not None:
            if going := self._going_on():
                raise SourceError(
                    f"This resend has begun with the bad lines of {begun.in_words}, and results now names "
                    f"{self.resend.former.in_words}. Of the former, executions are not over: {name_ids(going)}. Nothing of the latter "
                    "was sent. Once they are over, a retry or a clear begins with the latter."
                )
            self._begin_anew(begun)
            self._open()
        elif self.round.first is None and self.round.number == 1:
            self.record.write(FORMER, msgspec.to_builtins(self.resend.former))

    @property
    def first(self) -> FormerImport:
        """The import that this resend is of, as recorded where it has begun."""
        return self.round.first or self.resend.former

    def _begun_with_another(self, end: RecordedEnd | None = None) -> FormerImport | None:
        """What is recorded, where ``results`` names other bad lines by now: the import was cleared, and has run again."""
        now = self.resend.former
        begun = round_of(self.record, now).first
        if begun is not None:
            return None if begun.is_same(now) else begun
        # Of a success that Airflow knows of, the end alone outlives a clear.
        if end is None or (end.result.get("former_import_id", now.import_id) or "") == now.import_id:
            return None
        return FormerImport(import_id=end.result["former_import_id"] or "", results_uri=None)

    def _going_on(self) -> list[str]:
        """Executions of the recorded round that are not over."""
        try:
            if not self.work.settle_sent():
                return []
            return [one.id for one in self._snapshots() if not one.remote_status.over]
        except NotFound:
            return []  # its import was deleted

    def _begin_anew(self, begun: FormerImport) -> None:
        """Leave what is recorded, of which nothing is in flight, and begin with the bad lines that ``results`` names."""
        log.warning(
            "This resend has begun with the bad lines of %s, and results now names %s. Nothing of the former is in flight: what it "
            "has sent stays on the platform, and the lines of the latter are sent, as generation %d.",
            begun.in_words,
            self.resend.former.in_words,
            self.record.generation + 1,
        )
        self.record.next_generation()
        self._begin_work()
        self._begin_round()

    def _begin_work(self) -> None:
        self._forget_live()
        self._submitted = False
        self.take_work(self._make_work())

    def _begin_round(self) -> None:
        self.round = round_of(self.record, self.resend.former)
        self._chosen: ChosenCounts | None = None
        # An import that was never created has no id.
        of = f" of {self.first.import_id}" if self.first.import_id else ""
        name = f"{self.resend.base_name}, resend {self.round.number}{of}"
        self.args = self.work.args = dataclasses.replace(self.work.args, name=name)

    def _submit(self) -> dict[str, Any] | None:
        if self.round.former.results_uri is None:  # there was no bad line: nothing is spooled
            self.work.plan = planning.SourcePlan(fingerprint="", files=[], file_count=0)
        elif self._send():
            return None
        return self._end_without_import()

    # Ends.

    def _end_without_import(self) -> dict[str, Any] | None:
        """No line was chosen, the transform left all of them out, or all still break a rule: this round creates no import.

        :returns: the result; None where another round has sent its lines.
        """
        assert self.work.plan is not None  # noqa: S101
        self._pairs = []
        self._write_results()
        result = self._result()
        self._push_results(result)
        if self.round.number == 1 and not self.work.plan.rejected:
            planning.nothing_to_send(self.args, f"No line of {self.first.in_words} is to be sent again.")
        if self._goes_on(result):
            self._begin_next_round(result)
            self._open()
            self._show("begun")
            return self._submit()
        reason = self._too_many_left(result)
        ended = super()._end(reason and self._with_results(reason))
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
        choice = choice_of(self.record, self.resend)
        return rows_left(bad_rows(self.round.former.results_uri), choice)

    def _too_many_left(self, result: dict[str, Any]) -> str:
        totals = result["totals"]
        if min(totals.values()) < 0:
            return f"The sum of the rounds does not close: {say_totals(totals)} Nothing is sent again; look at the imports of the rounds."
        bad = {fate: totals[fate] for fate in BAD}
        of = f" of document import {self.first.import_id}" if self.first.import_id else ""
        return failures.say_too_many(
            f"The resend{of}, after {how_many(self.round.number, 'round')}",
            sum(bad.values()),
            totals["lines_read"],
            self.resend.tolerance,
            parts=", ".join(f"{count} {fate.removeprefix('lines_')}" for fate, count in bad.items()),
            more="The accepted lines stay imported.",
        )

    def _goes_on(self, result: dict[str, Any]) -> bool:
        """Whether another round has lines to send: today's arguments choose one of the bad lines that are left."""
        if self.round.number >= self.resend.rounds or not result.get("results_uri"):
            return False
        choice = RowChoice(self.resend.only, self.resend.whole_parts)
        return any(choice.takes(row) for row in bad_rows(result["results_uri"]))

    def _end(self, reason: str = "", *, retried: bool = False) -> KeepWaiting | dict[str, Any]:
        result = self._result()
        if reason or not self._goes_on(result):
            return super()._end(reason, retried=retried)
        self._begin_next_round(result)
        return self.advance()

    def _begin_next_round(self, result: dict[str, Any]) -> None:
        log.info("Round %d is over. %s", self.round.number, say_totals(result["totals"]))
        former = FormerImport(
            import_id=str(result["import_id"] or self.round.former.import_id),
            results_uri=result["results_uri"],
            totals=result["totals"],
        )
        following = Round(
            number=self.round.number + 1,
            former=former,
            first=self.first,
            done=result["rounds"],
            spools=self._spools(),
        )
        self.record.next_generation(msgspec.to_builtins(following))
        self._begin_work()

    def _result(self) -> dict[str, Any]:
        result = super()._result()
        if self._chosen is None:
            self._chosen = msgspec.convert(self.record.read(CHOSEN) or {}, ChosenCounts)
        this = {"round": self.round.number, "import_id": result["import_id"], **counts_of(result)}
        this |= {"lines_dropped": self._chosen.dropped, "results_uri": result["results_uri"]}
        totals = totals_after(self.round.former.totals, self._chosen, result)
        of = {"former_import_id": self.first.import_id or None}
        return {
            **result,
            **of,
            "round": self.round.number,
            "rounds": [*self.round.done, this],
            "totals": totals,
        }

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
    known = before or {"lines_accepted": was_good, **bad_lines_told(chosen)}
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
