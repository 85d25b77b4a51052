"""How a sensor of this package waits: poke, reschedule or deferrable, all with one meaning.

All three modes go through :meth:`WatchingSensor.poke`, so they cannot differ in what is over, what is good enough,
what is skipped and when it is too late. Nothing is ever cancelled here: somebody else started it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferralTimeout,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.judging import KeepWaiting
    from airflow_bulk.runs.watching import Watch

#: The deferral's own timeout comes this much later than our deadline: it would skip our last look and our message.
DEFERRAL_SLACK = timedelta(minutes=30)


class WatchingSensor(BaseSensorOperator):
    """Looks, waits in the mode that was asked for, judges.

    ``timeout`` counts from the first look of the first try: over pokes, reschedules, deferrals and retries; clearing
    the task starts it anew. ``soft_fail`` skips a wait that timed out, and what failed or cannot be read for good
    (403, 404); trouble that passes (429, 5xx, no connection) fails the try, and a retry looks again.
    """

    deferrable: bool
    _watch: Any = None

    def _open(self, context: Context) -> Watch:
        """Read the arguments; raises AirflowFailException for those that cannot be used."""
        raise NotImplementedError

    def _trigger(self, watch: Any, first: float) -> BaseTrigger:
        """What waits in the triggerer.

        :param first: seconds until its first look.
        """
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait, and return the totals; see the class."""
        # Arguments that cannot be used are no failed work: soft_fail does not skip them.
        self._watch = self._open(context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Look again after the trigger fired: what the platform says now decides."""
        if event:
            self.log.info("The trigger says: %s", event)
        return self.execute(context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once.

        :raises AirflowFailException: it failed, or a retry cannot help.
        :raises AirflowSensorTimeout: it is too late.
        :raises PlatformError: the platform could not be asked; a retry asks again.
        """
        from airflow_bulk import judging
        from airflow_bulk.arguments import ArgumentError
        from airflow_bulk.platforms.errors import LASTING, PlatformError

        watch = self._watch = self._watch or self._open(context)
        try:
            verdict = watch.look()
        except (*LASTING, ArgumentError) as error:
            raise AirflowFailException(str(error)) from None
        except PlatformError as error:
            # What silent_fail does in the other modes would keep the worker here.
            if not (self.silent_fail and self.deferrable and time.time() < watch.deadline):
                raise
            self.log.error("%s", error)
            verdict = watch.wait_on()
        if isinstance(verdict, judging.KeepWaiting):
            watch.progress.tell(verdict.totals, verdict.why, verdict.unknown)
            if self.deferrable:
                self._wait_without_worker(watch, verdict)
            return False
        if isinstance(verdict, judging.PastDeadline):
            raise AirflowSensorTimeout(watch.say_late(verdict, self.timeout))
        if problem := watch.why_not_good(verdict):
            raise AirflowFailException(problem)
        return PokeReturnValue(True, watch.result(verdict))

    def _wait_without_worker(self, watch: Watch, verdict: KeepWaiting) -> None:
        from airflow_bulk.triggers.executions import first_look

        self.defer(
            trigger=self._trigger(watch, max(first_look(), verdict.seconds)),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, watch.deadline - time.time())) + DEFERRAL_SLACK,
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as the other modes go on.

        Airflow's own sensors skip every error of a resumed task under ``soft_fail``. Here :meth:`execute` has
        already decided, and trouble in the triggerer is not the work's failure.
        """
        try:
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self.log.warning("The triggerer did not tell in time; looking here.")
            return self.execute(context)
        except TaskDeferralError as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise

    def _push(self, context: Context) -> Any:
        def push(key: str, value: Any) -> None:
            if "ti" in context:
                context["ti"].xcom_push(key=key, value=value)

        return push
