"""The life of one import over all tries of its task: plan, create, settle, send, look, judge, end.

``advance`` does all that can be done now and is the only entrance: a first try, a retry, a resume after
deferral and a crash in any of them take the same path, and the record says what is left to do
(design section 5.8).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk import judging
from airflow_bulk.judging import KeepWaiting, WaitingProgress
from airflow_bulk.platforms.errors import NotFound, TryLater
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.failures import DeadlinePassed, TaskStopped
from airflow_bulk.runs.reconcile import NotReconciled
from airflow_bulk.runs.record import PartState, RecordedPart
from airflow_bulk.runs.upload import plan as planning
from airflow_bulk.runs.upload import result as ending
from airflow_bulk.runs.upload.gate import Overdue
from airflow_bulk.runs.upload.plan import SourcePlan
from airflow_bulk.runs.upload.submission import CANCEL_SECONDS, UploadSubmission

log = logging.getLogger(__name__)

#: How often a part is sent again after its execution was cancelled (or failed, where that is allowed).
RESENDS = 3
#: Seconds of the 5 that Airflow leaves between SIGTERM and SIGKILL (crash facts, item 4).
KILL_SECONDS = 3.5


class UploadRun:
    """One import, or one upload into an import given from outside.

    :param work: the way of the source to the platform, and what this try knows of it.
    """

    def __init__(self, work: UploadSubmission) -> None:
        self.work = work
        self.args = work.args
        self._waiting = WaitingProgress(log)
        self._submitted = False

    # The way through.

    def advance(self) -> KeepWaiting | dict[str, Any]:
        """Do everything that can be done now; return the result, or when to look again."""
        work = self.work
        if self.args.dry_run:
            return self._result(work.dry_run(), [])
        if not self._submitted:
            recorded = ending.recorded_end(work.record, self.args)
            if recorded is not None:
                return recorded
            work.open()
            if not self._submit():
                return self._end_empty()
            self._submitted = True
        return self._look() if self.args.wait_for_completion else self._end(None)

    def _submit(self) -> bool:
        try:
            return self.work.submit()
        except Overdue:
            raise self._overdue() from None

    # Waiting and judging.

    def rules(self) -> judging.WaitingRules:
        """What the waiting obeys."""
        return judging.WaitingRules(
            started=self.work.started,
            deadline=self.work.started + self.args.timeout,
            poll_interval=self.args.poll_interval,
            expected=len(self.work.sent()),
        )

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

    def _pairs(self) -> list[tuple[RecordedPart, RemoteSnapshot]]:
        """Every sent part with its execution as the platform shows it now: one list call."""
        listed = {one.id: one for one in self.work.executions().look()}
        pairs = [(entry, self._snapshot(entry, listed)) for entry in self.work.sent()]
        self.work.live.difference_update(one.id for _, one in pairs if one.remote_status.over)
        self.work.organisation_id = next(
            (one.owner for _, one in pairs if one.owner), self.work.organisation_id
        )
        return pairs

    def _look(self) -> KeepWaiting | dict[str, Any]:
        try:
            pairs = self._pairs()
        except TryLater as error:
            # An outage of the platform passes; only our own deadline ends the waiting.
            if time.time() >= self.work.started + self.args.timeout:
                raise
            log.warning("%s Waiting on.", error)
            pause = max(judging.next_look(self.rules(), time.time()), error.retry_after or 0.0)
            return KeepWaiting(pause, judging.Totals(), "the platform cannot be asked")
        seen = [one for _, one in pairs]
        verdict = judging.judge(seen, self.rules(), time.time())
        if isinstance(verdict, KeepWaiting):
            self._waiting.tell(verdict.totals, verdict.why, verdict.unknown)
            return verdict
        if isinstance(verdict, judging.PastDeadline):
            raise self._late(verdict)
        if isinstance(verdict, judging.FailedBecause):
            failed = [pair for pair in pairs if pair[1].remote_status is RemoteStatus.FAILED]
            if not self.args.sending.resend_failed_parts:
                raise AirflowFailException(ending.say_failed(failed, verdict.reason, self.work.plan))
            return self._send_again([entry for entry, _ in failed], "FAILED")
        if verdict.canceled:
            return self._send_again(
                [e for e, one in pairs if one.remote_status is RemoteStatus.CANCELED], "CANCELED"
            )
        if self.work.existing is None:
            # Nothing may be there that no part accounts for: an answer lost long ago, come true late.
            self.work.reconcile()
        return self._end(pairs)

    def _snapshot(self, entry: RecordedPart, listed: dict[str, RemoteSnapshot]) -> RemoteSnapshot:
        execution_id = entry.executions[-1]
        if execution_id in listed:
            return listed[execution_id]
        try:
            return self.work.executions().get(execution_id)
        except NotFound:
            raise NotFound(
                f"find execution {execution_id} of {self.work.what} (part {entry.part.index + 1})",
                "the platform does not know it any more",
                retry="Nothing is sent again; a retry cannot help.",
                status=404,
            ) from None

    def _send_again(self, entries: Sequence[RecordedPart], status: str) -> KeepWaiting | dict[str, Any]:
        """Send parts once more, a bounded number of times, and look again."""
        for entry in entries:
            if entry.given_up >= RESENDS:
                raise AirflowFailException(ending.say_given_up(entry, status, self.work.plan))
            log.warning(
                "Part %d ended %s (execution %s); it is sent again.",
                entry.part.index + 1,
                status,
                entry.executions[-1],
            )
            entry.given_up += 1
            entry.state = PartState.CHECKED
            self.work.recorded.save(entry)
        self._submit()
        return self._look()

    def _overdue(self) -> DeadlinePassed:
        """The deadline came while parts were still to be sent; what was in flight is cut."""
        try:
            self.work.reconcile_committed()  # another worker's part may just have been taken: it is ours to cancel
        except NotReconciled as error:
            log.warning("%s", error)
        seen = [one for _, one in self._pairs()]
        verdict = judging.judge(seen, dataclasses.replace(self.rules(), expected=len(seen) + 1), time.time())
        assert isinstance(verdict, judging.PastDeadline)  # noqa: S101
        return self._late(verdict)

    def _late(self, verdict: judging.PastDeadline) -> DeadlinePassed:
        left: list[str] = list(verdict.going) + list(verdict.pending)
        if self.args.cancel_on_kill and verdict.pending:
            self.work.record.hold()
            uncancelled = self.work.cancel(verdict.pending, CANCEL_SECONDS)
            left = [*verdict.going, *(one.id for one in uncancelled)]
        return DeadlinePassed(ending.say_late(self.work.what, self.args.timeout, verdict, left))

    # Ends.

    def _end(self, pairs: ending.Pairs | None) -> dict[str, Any]:
        """Record the end, good or not; None where nobody waited."""
        assert self.work.plan is not None  # noqa: S101
        result = self._result(self.work.plan, None if pairs is None else [one for _, one in pairs])
        reason = "" if pairs is None else ending.why_not_good(result, self.args.tolerance, pairs)
        self.work.record.write_end(good=not reason, result=result, reason=reason)
        self.work.live.clear()
        if reason:
            raise AirflowFailException(f"{reason} The {self.work.what}: {ending.totals(result)}")
        if pairs is not None:
            log.info("The %s is over. %s", self.work.what, ending.totals(result))
            ending.tell_bad_lines(result, pairs)
        return result

    def _end_empty(self) -> dict[str, Any]:
        """A source without a line to send: no import is created."""
        plan = self.work.plan
        assert plan is not None  # noqa: S101
        if not plan.rejected:
            planning.nothing_to_send(self.args, "The source holds no line.")
        result = self._result(plan, [])
        self.work.record.write_end(good=True, result=result)
        return result

    def _result(self, plan: SourcePlan, seen: Sequence[RemoteSnapshot] | None) -> dict[str, Any]:
        return ending.make_result(
            plan,
            import_id=self.work.import_id,
            executions=self.live_ids(),
            seconds=time.time() - self.work.started,
            console_url=self.work.console_url(),
            seen=seen,
        )

    # Stopping.

    def kill(self) -> None:
        """Stop everything at once: for ``on_kill``, in the main thread, within Airflow's 5 seconds.

        Touches neither the task's state nor connections, whose locks the interrupted code may hold, and
        cancels only what this task itself wrote or adopted.

        :raises TaskStopped: always; it makes ``execute`` end.
        """
        self.work.cut()
        unreconciled = [entry.part.index + 1 for entry in self.work.recorded.in_state(PartState.COMMIT)]
        if unreconciled:
            log.warning(
                "Whether the platform took these parts is not known, and so nothing of them was cancelled: %s. "
                "The next try settles them.",
                judging.name_ids([f"part {number}" for number in unreconciled]),
            )
        if self.args.cancel_on_kill and self.work.live and self.work.import_id is not None:
            try:
                self.work.cancel(sorted(self.work.live), KILL_SECONDS)
            except Exception as error:  # noqa: BLE001  (whatever it is, the task has to end now)
                log.warning("Could not cancel everything in time: %s.", type(error).__name__)
        raise TaskStopped("The task was stopped.")
