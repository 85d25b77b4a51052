"""The life of one MANUAL run of a batch instance over all tries of its task: what a batch run adds to the skeleton.

How an execution is created once and found again is in ``creation``; here stands how it is looked at and judged, and
when another is started.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_bulk import judging
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.judging import name_ids
from airflow_bulk.platforms.errors import NotFound
from airflow_bulk.platforms.mediarithmics.document_imports import remote_status
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    IntegrationBatchExecution,
    IntegrationBatchSnapshot,
    run_report,
    run_snapshot,
)
from airflow_bulk.platforms.status import RemoteStatus
from airflow_bulk.runs import failures
from airflow_bulk.runs.failures import DeadlinePassed
from airflow_bulk.runs.integration_batch.creation import ExecutionCreation
from airflow_bulk.runs.skeleton import CANCEL_SECONDS, KILL_SECONDS, RemoteRun

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline
    from airflow_bulk.runs.integration_batch.arguments import RunArguments
    from airflow_bulk.runs.record import Record, RecordedEnd

log = logging.getLogger(__name__)

#: How often a run is started again after its execution was cancelled.
RESTARTS = 3
#: Poll intervals between two polls at an execution that is to start later.
INTERVALS_BEFORE_START = 10
STARTS_NOTHING = "A retry starts nothing again; clear the task to run the batch."
#: Share of the seconds of ``on_kill`` for looking for an execution whose id is not known yet.
LOOK_UP_SHARE = 0.4


class IntegrationBatchRun(RemoteRun["RunArguments"]):
    """One run that a task asked for.

    :param args: what was asked for.
    :param hook: the platform.
    :param record: the task's memory.
    :param push: pushes a value to XCom as soon as it is known.
    """

    kind = "batch_run"

    def __init__(
        self,
        args: RunArguments,
        hook: MediarithmicsHook,
        record: Record,
        *,
        push: Callable[[str, Any], None],
    ) -> None:
        super().__init__(args, record, platform="mediarithmics")
        self.hook = hook
        self.execution_id: str | None = None
        self.expected_start = args.expected_start or self.started
        self.created_after = 0.0
        self._push = push
        self._executions = IntegrationBatchExecutions(hook, args.instance_id, cancel_ways=args.cancel_ways)
        self._creation = ExecutionCreation(args, hook, record, self._executions)
        self._intended: dict[str, Any] = {}
        self._seen: IntegrationBatchSnapshot | None = None
        # What on_kill needs, in memory: the store and connections would deadlock there.
        self._live: str | None = None

    def rules(self) -> judging.WaitingRules:
        """What the waiting obeys; the deadline counts from the start that was asked for."""
        begun = max(self.started, self.expected_start)
        return dataclasses.replace(super().rules(), deadline=begun + self.args.timeout)

    def until_start(self) -> float:
        """Seconds until it is to start; 0 afterwards."""
        return max(0.0, self.expected_start - time.time())

    # What earlier tries left.

    def _describe_former(self, former: dict[str, Any]) -> str:
        return f"The former execution is {former.get('execution_id')} ({former.get('status')}). Running the batch again"

    def _is_done_again(self, end: RecordedEnd, cleared: bool) -> bool:
        """An execution that did not succeed is not judged again: a clear runs another, and a retry where it may."""
        ended = remote_status(str(end.result.get("status")))
        if cleared:
            return ended is not RemoteStatus.SUCCEEDED
        return ended is RemoteStatus.FAILED and self.args.run_again_after_failure

    def _open(self) -> None:
        super()._open()
        self.hook.prepare()  # on_kill may read no connection, and cancels what a later try finds before its first call

    # Starting.

    def _submit(self) -> None:
        self._start()

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

    def _end_without_waiting(self) -> KeepWaiting | dict[str, Any]:
        """Cancelled by an earlier try that was stopped before its end: nothing is there that would run."""
        self._snapshots()
        return self._start_again() if self._last.remote_status is RemoteStatus.CANCELED else self._end()

    def _until_next_poll(self, verdict: KeepWaiting) -> KeepWaiting:
        """Until it is to start, a look now and then is enough: somebody may have cancelled it."""
        rarely = min(self.until_start(), INTERVALS_BEFORE_START * self.args.poll_interval)
        return dataclasses.replace(verdict, seconds=max(verdict.seconds, rarely))

    def _snapshots(self) -> list[IntegrationBatchSnapshot]:
        self._seen = self._snapshot()
        return [self._seen]

    @property
    def _last(self) -> IntegrationBatchSnapshot:
        """The execution as last seen."""
        assert self._seen is not None  # noqa: S101
        return self._seen

    @property
    def _thing(self) -> str:
        return f"Execution {self.execution_id} of batch instance {self.args.instance_id}"

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
                raise failures.gone(
                    f"execution {execution_id} of batch instance {self.args.instance_id}", STARTS_NOTHING
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

    def _canceled(self, verdict: Finished) -> KeepWaiting | dict[str, Any]:
        return self._start_again()

    def _start_again(self) -> KeepWaiting | dict[str, Any]:
        """A cancelled execution never ran (an earlier try's ``on_kill``, or somebody): start another, a few times."""
        number = self._number()
        if number > RESTARTS and not self._cleared():
            return self._end(
                f"{self._thing} was cancelled, as {number - 1} before it. Nothing is started again; clear the task to run "
                "the batch."
            )
        log.warning("Execution %s was cancelled before it ran; starting another.", self.execution_id)
        self.record.write("runs", {"number": number + 1})
        self._start()
        return self._go_on()

    def _late(self, verdict: PastDeadline) -> NoReturn:
        """Cancel what still can be, and say what a retry will do."""
        seen = self._last
        if self.args.cancel_on_kill and seen.remote_status is RemoteStatus.PENDING:
            self._cancel(seen.id, CANCEL_SECONDS)
            seen = self._cancelled(seen.id)
        number, then = self._number(), failures.LOOKS_AGAIN
        if seen.remote_status is not RemoteStatus.CANCELED:
            now = (
                f"It ended {seen.status} just now."
                if seen.remote_status.over
                else f"It is {seen.status} and keeps running."
            )
        elif number > RESTARTS:
            now, then = f"It was cancelled, as {number - 1} before it.", STARTS_NOTHING
        else:
            # Written now: a DELETE leaves nothing behind that a later try could see.
            self.record.write("runs", {"number": number + 1})
            now, then = "It was cancelled.", "A retry, or clearing the task, starts another."
        raise DeadlinePassed(failures.say_late(self._thing, self.args.timeout, "its start", now, then=then))

    def _cancelled(self, execution_id: str) -> IntegrationBatchSnapshot:
        """What a cancel has left: it may have run in the meantime, and a DELETE leaves nothing."""
        try:
            seen = self._executions.get(execution_id)
        except NotFound:
            seen = _gone(execution_id)
        self._live = None if seen.remote_status.over else self._live
        return seen

    def _failed(self, verdict: FailedBecause) -> KeepWaiting | dict[str, Any]:
        again = self.args.run_again_after_failure
        return self._end(self._why_not_good(verdict), retried=again)

    def _why_not_good(self, verdict: Finished | FailedBecause) -> str:
        seen, ended = self._last, f"{self._thing} ended {self._last.status}"
        if seen.remote_status is RemoteStatus.FAILED:
            then = (
                "A retry runs the batch again."
                if self.args.run_again_after_failure
                else "A retry does not run the batch again (run_again_after_failure); clearing the task does."
            )
            return f"{ended}{f' ({seen.message})' if seen.message else ''}. {then}"
        if others := self._others(seen.id):
            return (
                f"{ended}, but another with the start that this task asked for appeared after its answer was lost: "
                f"{name_ids(others)}. The batch may have run twice; a retry cannot change that. A longer settle waits "
                "longer for such a one."
            )
        return failures.say_too_many(
            ended, seen.failed or 0, seen.lines or 0, self.args.tolerance, noun="task"
        )

    def _others(self, ours: str) -> list[str]:
        """What this task asked for besides, and must not be there: an answer lost long ago, come true late."""
        if self._intended["posts"] < 2:
            return []
        return [one for one in self._creation.look_for(self._intended) if one != ours]

    def _forget_live(self) -> None:
        self._live = None

    def _log_end(self, result: dict[str, Any]) -> None:
        log.info("%s is over: %s.", self._thing, result["status"])

    def _result(self) -> dict[str, Any]:
        return {
            **run_report(self.args.instance_id, self._last),
            "seconds": round(time.time() - self.started, 3),
            "console_url": self._console_url(self._last.owner),
        }

    def _row(self, result: dict[str, Any]) -> dict[str, Any]:
        tasks, failed = result.get("tasks"), result.get("tasks_failed")
        return {
            "name": f"batch instance {self.args.instance_id}",
            "id": self.execution_id or result.get("execution_id"),
            "status": result.get("status"),
            "lines_read": tasks,
            "lines_accepted": None if tasks is None else tasks - (failed or 0),
            "lines_failed": failed,
            "console_url": result.get("console_url")
            or (self._console_url(None) if self.execution_id else None),
            "seconds": result.get("seconds"),
        }

    def _console_url(self, organisation_id: str | None) -> str | None:
        owner = organisation_id or self.args.organisation_id
        return self.hook.batch_console_url(self.args.instance_id, owner)

    # Stopping.

    def _cancel(self, execution_id: str, seconds: float) -> None:
        if self._executions.cancel_pending([execution_id], seconds):
            log.warning("Not cancelled, since only PENDING executions can be: %s.", execution_id)

    def _stop(self) -> None:
        """Cancel only what this task itself started or found again.

        Interrupted before the platform has answered a POST, it looks once for what that has made.
        """
        if not self.args.cancel_on_kill:
            return
        until = time.monotonic() + KILL_SECONDS
        ours = self._live or self._creation.find_at_once(KILL_SECONDS * LOOK_UP_SHARE)
        if ours is not None:
            self._cancel(ours, until - time.monotonic())


def _gone(execution_id: str) -> IntegrationBatchSnapshot:
    """One that a DELETE took away while it was PENDING (conflict 1): as good as CANCELED."""
    return run_snapshot(IntegrationBatchExecution(id=execution_id, status="CANCELED"))
