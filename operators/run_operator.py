"""An operator of remote work, :mod:`airflow_bulk.runs.skeleton`: on a worker in a loop, or deferred between two steps.

The same path in both modes (ARCHITECTURE.md section 5.8): do all that can be done now, then wait; a resume, a
retry and a crash in any of them begin at ``execute`` again, and the record says what is left to do.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.judging import KeepWaiting
    from airflow_bulk.runs.skeleton import RemoteRun


class RunOperator(BaseOperator):
    """Reads its arguments, runs, defers, stops."""

    #: Let the task end with its supervisor, so that an orphan does not work on for hours.
    ends_with_supervisor: ClassVar[bool] = True

    deferrable: bool
    _run: Any = None

    def _open(self, context: Context) -> RemoteRun[Any]:
        """Read the arguments and open the record."""
        raise NotImplementedError

    def _trigger(self, run: Any, first: float) -> BaseTrigger:
        """What waits in the triggerer.

        :param first: seconds until its first look.
        """
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin, or go on where an earlier try stopped; see the class for the result."""
        from airflow_bulk.runs.failures import told_to_airflow
        from airflow_bulk.runs.supervision import ends_with_supervisor

        with told_to_airflow(), ends_with_supervisor(self.ends_with_supervisor):
            run = self._run = self._open(context)
            outcome = run.advance()
            while not isinstance(outcome, dict):
                if self.deferrable:
                    self._wait_without_worker(run, outcome)
                time.sleep(outcome.seconds)
                outcome = run.advance()
            return outcome

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger fired: the record says what is left to do, the platform how it ended."""
        if event:
            self.log.info("The trigger says: %s", event)
        return self.execute(context)

    def _wait_without_worker(self, run: RemoteRun[Any], outcome: KeepWaiting) -> None:
        from airflow_bulk.triggers.waiting import DEFERRAL_SLACK, first_look

        rules = run.rules()
        left = timedelta(seconds=max(0.0, (rules.deadline or 0) - time.time()))
        self.defer(
            trigger=self._trigger(run, max(first_look(), min(outcome.seconds, rules.poll_interval))),
            method_name="execute_complete",
            timeout=left + DEFERRAL_SLACK,
        )

    def on_kill(self) -> None:
        """Stop at once and cancel what still can be; what cannot is named in the log."""
        if self._run is not None:
            self._run.kill()

    def _identity(self, context: Context) -> str:
        ti = context["ti"]
        mapped = f".{ti.map_index}" if (ti.map_index or 0) >= 0 and ti.map_index is not None else ""
        return f"{ti.dag_id}.{ti.run_id}.{ti.task_id}{mapped}"

    def _push(self, context: Context) -> Any:
        def push(key: str, value: Any) -> None:
            if value is not None:
                context["ti"].xcom_push(key=key, value=value)

        return push
