"""The life of one import over all tries of its task: what uploads add to :mod:`airflow_bulk.runs.skeleton`.

The submission plans, creates, reconciles and sends. Here stands how the executions are polled and judged, what is sent
once more, and how an import ends: the result, whether the sum closes, and how a failure is said.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk import judging
from airflow_bulk.arguments import UploadArguments
from airflow_bulk.platforms.errors import NotFound, TryLater
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs import failures
from airflow_bulk.runs.failures import DeadlinePassed
from airflow_bulk.runs.reconcile import NotReconciled
from airflow_bulk.runs.recorded_parts import PartState, RecordedPart
from airflow_bulk.runs.skeleton import CANCEL_SECONDS, KILL_SECONDS, RemoteRun
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.gate import Overdue
from airflow_bulk.runs.upload.planning import SourcePlan
from airflow_bulk.runs.upload.result import (
    RESULTS_PUSHED,
    Pairs,
    WrittenResults,
    log_bad_lines,
    reason_not_good,
    result_of,
    say_failed,
    say_given_up,
    sum_in_words,
    with_executions,
)
from airflow_bulk.runs.upload.results import ResultsFile, unprocessed_parts
from airflow_bulk.runs.upload.shown import RESULT_IN_ROW, keep_executions, plan_in_row
from airflow_bulk.runs.upload.verifying import Verification
from airflow_bulk.shown import platform_of

if TYPE_CHECKING:
    from airflow_bulk.documents.error_files import ErrorFileReader
    from airflow_bulk.documents.result_rows import ResultRow
    from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline
    from airflow_bulk.runs.upload.submission import UploadSubmission


log = logging.getLogger(__name__)

#: How often a part is sent again after its execution was cancelled (or failed, where that is allowed).
RESENDS = 3


class UploadRun(RemoteRun[UploadArguments]):
    """One import, or one upload into an import given from outside.

    :param work: the way of the source to the platform, and what this try knows of it.
    :param error_file_reader: reads the platform's error files; None takes what can be proved.
    """

    kind = "upload"

    def __init__(self, work: UploadSubmission, error_file_reader: ErrorFileReader | None = None) -> None:
        super().__init__(work.args, work.record, platform=platform_of(work.hook.conn_type))
        self._error_file_reader = error_file_reader
        self.take_work(work)

    def take_work(self, work: UploadSubmission) -> None:
        """Work on this from now on."""
        self.work = work
        self._results = WrittenResults()
        self._verification = Verification(work)
        self._verified: dict[str, Any] | None = None
        self._pairs: Pairs | None = None
        work.show, work.show_now = self._show, self.shown.tell_now

    @property
    def started(self) -> float:
        """Seconds since 1970 of the first submission; a source that changed may begin it anew."""
        return self.work.started

    def _dry_run(self) -> dict[str, Any] | None:
        if not self.args.dry_run:
            return None
        found, approvable = self.work.dry_run()
        return self._make_result(found, []) | approvable

    # What earlier tries left.

    def _recorded_end(self) -> dict[str, Any] | None:
        try:
            return super()._recorded_end()
        except AirflowFailException:
            # A retry after a bad end: what the try before has pushed is gone.
            if (end := self.record.end()) is not None:
                self._push_results(end.result)
            raise

    def _recorded_result(self, result: dict[str, Any]) -> dict[str, Any]:
        self.work.read_plan()  # its files
        self._push_results(result)
        return with_executions(result, self.record)

    def _describe_former(self, former: dict[str, Any]) -> str:
        warning = self.args.import_again_warning and f" {self.args.import_again_warning}"
        return (
            f"Cleared after a success. The former import is {former.get('import_id')}, and its lines stay on the "
            f"platform.{warning} Importing again"
        )

    def _open(self) -> None:
        self.work.open()

    # Submitting.

    def _submit(self) -> dict[str, Any] | None:
        return None if self._send() else self._end_empty()

    def _send(self) -> bool:
        try:
            return self.work.submit()
        except Overdue:
            self._overdue()

    def _was_submitted(self) -> bool:
        plan = self.work.plan
        unsent = (one for one in self.work.recorded.entries if one.state is not PartState.SENT)
        return plan is not None and plan.complete and not any(one.part.lines for one in unsent)

    def _overdue(self) -> NoReturn:
        """The deadline came while parts were still to be sent; what was in flight is cut."""
        try:
            self.work.reconcile_committed()  # another worker's part may just have been taken: it is ours to cancel
        except NotReconciled as error:
            log.warning("%s", error)
        seen = self._snapshots()
        verdict = judging.judge(seen, dataclasses.replace(self.rules(), expected=len(seen) + 1), time.time())
        assert isinstance(verdict, judging.PastDeadline)  # noqa: S101
        self._late(verdict)

    # Waiting and judging.

    def rules(self) -> judging.WaitingRules:
        """What the waiting obeys: every part that was sent is to be over."""
        return dataclasses.replace(super().rules(), expected=len(self.work.sent()))

    def live_ids(self) -> list[str]:
        """The executions that count, one a part."""
        return [one.executions[-1] for one in self.work.sent()]

    def trigger_scope(self) -> dict[str, Any]:
        """What a trigger has to watch: the whole import, or our executions of one that others feed too."""
        ids = self.live_ids()
        if self.work.existing is not None:
            return {"executions": ids, "expected": len(ids)}
        every = [one for entry in self.work.recorded.entries for one in entry.executions]
        newest = max(every, key=judging.id_order, default=None)
        return {"expected": len(every), "newest": newest}

    def _snapshots(self) -> list[RemoteSnapshot]:
        """Every sent part's execution: one list call."""
        listed = {one.id: one for one in self.work.executions().snapshots()}
        self._pairs = [(entry, self._snapshot(entry, listed)) for entry in self.work.sent()]
        seen = [one for _, one in self._pairs]
        self.work.live.difference_update(one.id for one in seen if one.remote_status.over)
        self.work.organisation_id = next((one.owner for one in seen if one.owner), self.work.organisation_id)
        return seen

    def _snapshot(self, entry: RecordedPart, listed: dict[str, RemoteSnapshot]) -> RemoteSnapshot:
        execution_id = entry.executions[-1]
        if execution_id in listed:
            return listed[execution_id]
        try:
            return self.work.executions().get(execution_id)
        except NotFound:
            raise failures.gone(
                f"execution {execution_id} of {self.work.what} (part {entry.part.index + 1})",
                "Nothing is sent again; a retry cannot help, and a new DAG run imports again.",
            ) from None

    def _why_not_good(self, verdict: Finished | FailedBecause) -> str:
        if self.work.existing is None:
            # Nothing may be there that no part accounts for: an answer lost long ago, come true late.
            self.work.reconcile()
        self._write_results()
        if self.args.verify:
            self._verified = self._verification.run(self._pairs or ())
        reason = reason_not_good(
            f"The {self.work.what}", self._result(), self.args.tolerance, self._pairs or ()
        ) or self._verification.reason(self._pairs or ())
        return reason and self._with_results(reason)

    def _write_results(self) -> None:
        """Tell all bad lines in a file, where one is wanted.

        :raises TryLater: the platform cannot be asked for the moment.
        """
        self._results = ResultsFile(self.work, self._error_file_reader).write(
            self._pairs or (), self._left_rows()
        )

    def _left_rows(self) -> Iterable[ResultRow]:
        """Rows of bad lines that were not in this import."""
        return ()

    def _with_results(self, reason: str) -> str:
        return f"{reason} All bad lines: {self._results.uri}." if self._results.uri else reason

    def _fail_for_good(self, reason: str) -> KeepWaiting:
        """Fail where a retry cannot help; what was not processed is told in the results file first."""
        try:
            self._write_results()
        except TryLater as error:
            return self._wait_out(error)
        self._push_results(self._result())
        raise AirflowFailException(self._with_results(reason))

    def _failed(self, verdict: FailedBecause) -> KeepWaiting | dict[str, Any]:
        failed = self._ended_as(RemoteStatus.FAILED)
        if not self.args.sending.resend_failed_parts:
            return self._fail_for_good(say_failed(failed, verdict.reason, self.work.plan))
        return self._send_again([entry for entry, _ in failed], "FAILED")

    def _canceled(self, verdict: Finished) -> KeepWaiting | dict[str, Any]:
        return self._send_again([entry for entry, _ in self._ended_as(RemoteStatus.CANCELED)], "CANCELED")

    def _ended_as(self, status: RemoteStatus) -> Pairs:
        return [pair for pair in self._pairs or () if pair[1].remote_status is status]

    def _send_again(self, entries: Sequence[RecordedPart], status: str) -> KeepWaiting | dict[str, Any]:
        """Send parts once more, a bounded number of times, and poll again.

        What an earlier try has begun, its end may have cancelled, at the latest while this one waits: that does not count.
        """
        for entry in entries:
            ours = status == "CANCELED" and self.work.is_of_an_earlier_try(entry.executions[-1])
            if entry.given_up >= RESENDS and not ours:
                return self._fail_for_good(say_given_up(entry, status, self.work.plan))
            log.warning(
                "Part %d ended %s (execution %s); it is sent again.",
                entry.part.index + 1,
                status,
                entry.executions[-1],
            )
            entry.given_up += not ours
            entry.state = PartState.CHECKED
            self.work.recorded.save(entry)
        self._send()
        return self._poll()

    def _late(self, verdict: PastDeadline) -> NoReturn:
        left: list[str] = list(verdict.going) + list(verdict.pending)
        if self.args.cancel_on_kill and verdict.pending:
            self.record.hold()
            uncancelled = self.work.cancel(verdict.pending, CANCEL_SECONDS)
            left = [*verdict.going, *(one.id for one in uncancelled)]
        raise DeadlinePassed(
            failures.say_late(
                f"The {self.work.what}",
                self.args.timeout,
                "its submission",
                f"Still running: {judging.name_ids(left)}." if left else "Nothing keeps running.",
                seen=str(verdict.totals),
            )
        )

    # Ends.

    def _end_empty(self) -> dict[str, Any]:
        """A source without a line to send: no import is created."""
        plan, seen = self.work.plan, self.work.seen
        assert plan is not None  # noqa: S101
        self._pairs = []
        self._write_results()
        result = self._make_result(plan, [])
        self._push_results(result)
        if seen is not None and not plan.file_count and seen.left_out:
            planning.nothing_new(self.args, seen.say_nothing_new())
        elif not plan.rejected:
            planning.nothing_to_send(self.args, "The source holds no line.")
        self._make_known(result)
        self.record.write_end(good=True, result=result)
        self._leave()
        return result

    def _end(self, reason: str = "", *, retried: bool = False) -> KeepWaiting | dict[str, Any]:
        final = self._result()
        if not reason:
            self._make_known(final)
        self._push_results(final)
        result = super()._end(reason, retried=retried)
        self._leave()
        return result

    def _push_results(self, result: dict[str, Any]) -> None:
        """Push what a resend has to know: a task that fails or is skipped returns nothing, and its bad lines are to be found."""
        self.work.push_results({name: result[name] for name in RESULTS_PUSHED if name in result})

    def _make_known(self, result: dict[str, Any]) -> None:
        """The lines were accepted: later runs know these files."""
        if self.work.seen is not None:
            self.work.seen.make_known(result)

    def _leave(self) -> None:
        if self.work.seen is not None:
            self.work.seen.leave()

    def _result(self) -> dict[str, Any]:
        assert self.work.plan is not None  # noqa: S101
        seen = None if self._pairs is None else [one for _, one in self._pairs]
        return self._make_result(self.work.plan, seen)

    def _make_result(self, plan: SourcePlan, seen: Sequence[RemoteSnapshot] | None) -> dict[str, Any]:
        result = result_of(
            plan,
            import_id=self.work.import_id,
            executions=self.live_ids(),
            seconds=time.time() - self.work.started,
            console_url=self.work.console_url(),
            seen=seen,
            results=self._results,
            verified=self._verified,
            unprocessed=sum(entry.part.lines for entry, _ in unprocessed_parts(self.work, self._pairs or ())),
        )
        return result if self.work.seen is None else result | self.work.seen.counts()

    def _forget_live(self) -> None:
        self.work.live.clear()

    def _log_end(self, result: dict[str, Any]) -> None:
        log.info("The %s is over. %s", self.work.what, sum_in_words(result))
        log_bad_lines(result, self._pairs or ())

    # What the page shows.

    def _keep_ends(self) -> None:
        keep_executions(self.record, [one for _, one in self._pairs or ()])

    def _row(self, result: dict[str, Any]) -> dict[str, Any]:
        work = self.work
        import_id = work.import_id or result.get("import_id")
        return {
            "noun": work.port.noun,
            "name": work.args.name,
            "id": import_id,
            "marker": work.marker if import_id else None,
            "console_url": work.console_url() or result.get("console_url"),
            "results_uri": self._results.uri or result.get("results_uri"),
            "executions": len(self.live_ids() or result.get("execution_ids", ())),
            **{name: result.get(name) for name in ("lines_accepted", "lines_failed", "seconds")},
            **(plan_in_row(work.plan or work.found) or {name: result.get(name) for name in RESULT_IN_ROW}),
        }

    def sources(self) -> Sequence[str]:
        """The names of the files; a plan keeps the first of them."""
        plan = self.work.plan or self.work.found
        return [name for name, _ in plan.files] if plan else ()

    # Stopping.

    def _stop(self) -> None:
        """Cancel only what this task itself wrote or adopted."""
        self.work.cut()
        unreconciled = [entry.part.index + 1 for entry in self.work.recorded.in_state(PartState.COMMIT)]
        if unreconciled:
            log.warning(
                "Whether the platform took these parts is not known, and so nothing of them was cancelled: %s. "
                "The next try reconciles them.",
                judging.name_ids([f"part {number}" for number in unreconciled]),
            )
        if self.args.cancel_on_kill and self.work.live and self.work.import_id is not None:
            self.work.cancel(sorted(self.work.live), KILL_SECONDS)
