"""The life of one MANUAL run of a batch instance over all tries of its task: start, re-attach, look, judge, end.

``advance`` does all that can be done now and is the only entrance, as for an import (ARCHITECTURE.md section 5.8);
how an execution is created once and found again is in ``batch_creation``.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk import judging
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.judging import KeepWaiting, WaitingProgress, name_ids, share_of
from airflow_bulk.platforms.errors import NotFound, TryLater
from airflow_bulk.platforms.mediarithmics.document_imports import remote_status
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    IntegrationBatchExecution,
    IntegrationBatchSnapshot,
    run_report,
    run_snapshot,
)
from airflow_bulk.platforms.status import RemoteStatus
from airflow_bulk.runs.failures import DeadlinePassed, TaskStopped
from airflow_bulk.runs.integration_batch.creation import ExecutionCreation
from airflow_bulk.runs.record import EndMeaning, Record, RecordedEnd

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.runs.integration_batch.arguments import RunArguments

log = logging.getLogger(__name__)

#: How often a run is started again after its execution was cancelled.
STARTS_AGAIN = 3
#: Poll intervals between two looks at an execution that is to start later.
RARELY = 10
#: Seconds of the 5 that Airflow leaves between SIGTERM and SIGKILL (airflow.md section 3.1).
KILL_SECONDS = 3.5
#: Share of them for looking for an execution whose id is not known yet.
LOOKING = 0.4
#: Seconds for cancelling where nothing hurries.
CANCEL_SECONDS = 30.0


class IntegrationBatchRun:
    """One run that a task asked for.

    :param args: what was asked for.
    :param hook: the platform.
    :param record: the task's memory.
    :param push: pushes a value to XCom as soon as it is known.
    """

    def __init__(
        self,
        args: RunArguments,
        hook: MediarithmicsHook,
        record: Record,
        *,
        push: Callable[[str, Any], None],
    ) -> None:
        self.args = args
        self.hook = hook
        self.record = record
        self.execution_id: str | None = None
        self.started = time.time()
        self.expected_start = args.expected_start or self.started
        self.created_after = 0.0
        self._push = push
        self._waiting = WaitingProgress(log)
        self._submitted = False
        self._executions = IntegrationBatchExecutions(hook, args.instance_id, cancel_ways=args.cancel_ways)
        self._creation = ExecutionCreation(args, hook, record, self._executions)
        self._intended: dict[str, Any] = {}
        # What on_kill needs, in memory: the store and connections would deadlock there.
        self._live: str | None = None

    def advance(self) -> KeepWaiting | dict[str, Any]:
        """Do everything that can be done now; return the result, or when to look again."""
        if not self._submitted:
            result = self._recorded_end()
            if result is not None:
                return result
            self.started, _ = self.record.started()
            self.hook.prepare()  # on_kill may read no connection, and cancels what a later try finds before its first call
            self._start()
            self._submitted = True
        return self._look()

    def rules(self) -> judging.WaitingRules:
        """What the waiting obeys; the deadline counts from the start that was asked for."""
        begun = max(self.started, self.expected_start)
        return judging.WaitingRules(
            started=self.started,
            deadline=begun + self.args.timeout,
            poll_interval=self.args.poll_interval,
        )

    def until_start(self) -> float:
        """Seconds until it is to start; 0 afterwards."""
        return max(0.0, self.expected_start - time.time())

    # Starting.

    def _recorded_end(self) -> dict[str, Any] | None:
        """What a recorded end means for this try (ARCHITECTURE.md section 5.5)."""
        meaning, end = self.record.recorded_end(
            keep=self.args.on_clear == "keep", works_again=self._works_again
        )
        if end is None or meaning is EndMeaning.JUDGE_AGAIN:
            return None
        if meaning is EndMeaning.STANDS:
            return end.result
        log.warning(
            "Running the batch again, as generation %d. The former execution is %s (%s).",
            self.record.generation + 1,
            end.result.get("execution_id"),
            end.result.get("status"),
        )
        self.record.next_generation()
        return None

    def _works_again(self, end: RecordedEnd, cleared: bool) -> bool:
        """An execution that did not succeed is not judged again: a clear runs another, and a retry where it may."""
        stood = remote_status(str(end.result.get("status")))
        if cleared:
            return stood is not RemoteStatus.SUCCEEDED
        return stood is RemoteStatus.FAILED and self.args.run_again_after_failure

    def _number(self) -> int:
        """Which of the run's executions is the present one, from 1: one that was cancelled is followed by another."""
        return int((self.record.read("runs") or {}).get("number", 1))

    def _start(self) -> None:
        """Create the execution, or find the one that an earlier try created."""
        self.execution_id, intent = self._creation.run(self._number())
        self._intended = intent
        self.expected_start = intent["starts"][-1] / 1000
        # By the platform's own clock, which may differ from ours.
        self.created_after = float(intent["created_after"])
        self._live, self._creation.asked = self.execution_id, None
        self._push("instance_id", self.args.instance_id)
        self._push("execution_id", self.execution_id)
        self._push("console_url", self._console_url(None))

    # Waiting and judging.

    def _look(self) -> KeepWaiting | dict[str, Any]:
        try:
            seen = self._snapshot()
        except TryLater as error:
            return self._wait_out(error)
        if not self.args.wait_for_completion:
            # Cancelled by an earlier try that was stopped before its end: nothing is there that would run.
            return (
                self._start_again(seen)
                if seen.remote_status is RemoteStatus.CANCELED
                else self._end(seen, "")
            )
        verdict = judging.judge([seen], self.rules(), time.time())
        if isinstance(verdict, KeepWaiting):
            self._waiting.tell(verdict.totals, verdict.why, verdict.unknown)
            # Until it is to start, a look now and then is enough: somebody may have cancelled it.
            rarely = min(self.until_start(), RARELY * self.args.poll_interval)
            return dataclasses.replace(verdict, seconds=max(verdict.seconds, rarely))
        if isinstance(verdict, judging.PastDeadline):
            raise self._late(seen)
        if isinstance(verdict, judging.FailedBecause):
            raise self._failed(seen)
        if verdict.canceled:
            return self._start_again(seen)
        return self._end(seen, self._another_ran(seen) or self._too_many_failures(seen))

    def _wait_out(self, error: TryLater) -> KeepWaiting:
        """An outage of the platform passes; only our own deadline ends the waiting."""
        rules = self.rules()
        if not self.args.wait_for_completion or time.time() >= (rules.deadline or 0.0):
            raise error
        log.warning("%s Waiting on.", error)
        pause = max(judging.next_look(rules, time.time()), error.retry_after or 0.0)
        return KeepWaiting(pause, judging.Totals(), "the platform cannot be asked")

    def _snapshot(self) -> IntegrationBatchSnapshot:
        """The execution as the platform shows it; one that is gone counts as cancelled once a person has cleared the task.

        A DELETE is one of the ways to cancel (mediarithmics.md conflict 1), and what it took away cannot be told
        from what somebody deleted after it had run: only a person can say that the batch is to run again.
        """
        execution_id = str(self.execution_id)
        try:
            seen = self._executions.get(execution_id)
        except NotFound:
            if not self._cleared():
                raise NotFound(
                    f"find execution {execution_id} of batch instance {self.args.instance_id}",
                    "the platform does not know it any more",
                    retry="A retry starts nothing again; clear the task to run the batch.",
                    status=404,
                ) from None
            seen = _gone(execution_id)
        if seen.remote_status.over:
            self._live = None
        elif self._cleared():
            # It is there: should it be gone later, the clear before this look does not ask for another.
            self._intended["max_tries"] = self.record.max_tries
            self.record.write(f"execution.{self._number()}", self._intended)
        return seen

    def _cleared(self) -> bool:
        """Whether a person has cleared the task since the execution was last known to be there."""
        return bool(self._intended["max_tries"] != self.record.max_tries)

    def _start_again(self, seen: IntegrationBatchSnapshot) -> KeepWaiting | dict[str, Any]:
        """A cancelled execution never ran (an earlier try's ``on_kill``, or somebody): start another, a few times."""
        number = self._number()
        if number > STARTS_AGAIN and not self._cleared():
            reason = (
                f"Execution {seen.id} of batch instance {self.args.instance_id} was cancelled, as {number - 1} before it."
                " Nothing is started again; clear the task to run the batch."
            )
            self._end(seen, reason)
        log.warning("Execution %s was cancelled before it ran; starting another.", seen.id)
        self.record.write("runs", {"number": number + 1})
        self._start()
        return self._look()

    def _late(self, seen: IntegrationBatchSnapshot) -> DeadlinePassed:
        """Cancel what still can be, and say what a retry will do."""
        if self.args.cancel_on_kill and seen.remote_status is RemoteStatus.PENDING:
            self._cancel(seen.id, CANCEL_SECONDS)
            seen = self._cancelled(seen.id)
        number = self._number()
        if seen.remote_status is not RemoteStatus.CANCELED:
            now = (
                f"It ended {seen.status} just now."
                if seen.remote_status.over
                else f"It is {seen.status} and keeps running."
            )
            next_try = "The record is kept: a retry looks once more, and clearing the task goes on with a new deadline."
        elif number > STARTS_AGAIN:
            now = f"It was cancelled, as {number - 1} before it."
            next_try = "A retry starts nothing again; clear the task to run the batch."
        else:
            # Written now: a DELETE leaves nothing behind that a later try could see.
            self.record.write("runs", {"number": number + 1})
            now, next_try = "It was cancelled.", "A retry, or clearing the task, starts another."
        return DeadlinePassed(
            f"Execution {seen.id} of batch instance {self.args.instance_id} was not over {self.args.timeout:g} s after "
            f"its start. {now} {next_try}"
        )

    def _cancelled(self, execution_id: str) -> IntegrationBatchSnapshot:
        """What a cancel has left: it may have run in the meantime, and a DELETE leaves nothing."""
        try:
            seen = self._executions.get(execution_id)
        except NotFound:
            seen = _gone(execution_id)
        self._live = None if seen.remote_status.over else self._live
        return seen

    def _failed(self, seen: IntegrationBatchSnapshot) -> Exception:
        again = self.args.run_again_after_failure
        said = f" ({seen.message})" if seen.message else ""
        reason = (
            f"Execution {seen.id} of batch instance {self.args.instance_id} ended {seen.status}{said}. "
            + (
                "A retry runs the batch again."
                if again
                else "A retry does not run the batch again (run_again_after_failure); clearing the task does."
            )
        )
        self.record.write_end(good=False, result=self._result(seen), reason=reason)
        return AirflowException(reason) if again else AirflowFailException(reason)

    def _another_ran(self, seen: IntegrationBatchSnapshot) -> str:
        """Nothing may be there that this task asked for besides: an answer lost long ago, come true late."""
        if self._intended["posts"] < 2:
            return ""
        others = [one for one in self._creation.look_for(self._intended) if one != seen.id]
        if not others:
            return ""
        return (
            f"Execution {seen.id} of batch instance {self.args.instance_id} ended {seen.status}, but another with the "
            f"start that this task asked for appeared after its answer was lost: {name_ids(others)}. The batch may have "
            "run twice; a retry cannot change that. A longer settle waits longer for such a one."
        )

    def _too_many_failures(self, seen: IntegrationBatchSnapshot) -> str:
        failed, total = seen.failed or 0, seen.lines or 0
        if self.args.tolerance.allows(failed, total):
            return ""
        return (
            f"Execution {seen.id} of batch instance {self.args.instance_id} ended {seen.status}, and {failed} of its "
            f"{total} tasks failed ({share_of(failed, total)}), more than max_failures={self.args.tolerance}. "
            "A retry cannot change that."
        )

    def _end(self, seen: IntegrationBatchSnapshot, reason: str) -> dict[str, Any]:
        """Record the end, good or not."""
        result = self._result(seen)
        self.record.write_end(good=not reason, result=result, reason=reason)
        self._live = None
        if reason:
            raise AirflowFailException(reason)
        if self.args.wait_for_completion:
            log.info(
                "Execution %s of batch instance %s is over: %s.", seen.id, self.args.instance_id, seen.status
            )
        return result

    def _result(self, seen: IntegrationBatchSnapshot) -> dict[str, Any]:
        return {
            **run_report(self.args.instance_id, seen),
            "seconds": round(time.time() - self.started, 3),
            "console_url": self._console_url(seen.owner),
        }

    def _console_url(self, organisation_id: str | None) -> str | None:
        owner = organisation_id or self.args.organisation_id
        return self.hook.batch_console_url(self.args.instance_id, owner)

    # Stopping.

    def _cancel(self, execution_id: str, seconds: float) -> None:
        if self._executions.cancel_pending([execution_id], seconds):
            log.warning("Not cancelled, since only PENDING executions can be: %s.", execution_id)

    def kill(self) -> None:
        """Cancel what can be: for ``on_kill``, in the main thread, within Airflow's 5 seconds.

        Touches neither the task's state nor connections, whose locks the interrupted code may hold, and cancels only
        what this task itself started or found again. Interrupted before the platform has answered a POST, it looks
        once for what that has made.

        :raises TaskStopped: always; it makes ``execute`` end.
        """
        if self.args.cancel_on_kill:
            until = time.monotonic() + KILL_SECONDS
            try:
                ours = self._live or self._creation.find_at_once(KILL_SECONDS * LOOKING)
                if ours is not None:
                    self._cancel(ours, until - time.monotonic())
            except Exception as error:  # noqa: BLE001  (whatever it is, the task has to end now)
                log.warning("Could not cancel in time: %s.", type(error).__name__)
        raise TaskStopped("The task was stopped.")


def _gone(execution_id: str) -> IntegrationBatchSnapshot:
    """One that a DELETE took away while it was PENDING (conflict 1): as good as CANCELED."""
    return run_snapshot(IntegrationBatchExecution(id=execution_id, status="CANCELED"))
