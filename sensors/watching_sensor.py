"""How a sensor of this package waits: every mode (poke, reschedule, deferrable) means the same.

All three modes call :meth:`WatchingSensor.poke`. So they cannot differ in what is over, how many failures are
tolerated, what is skipped and when it is too late. A sensor never cancels: another party started what it watches.
"""

from __future__ import annotations

import time
from abc import abstractmethod
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


class WatchingSensor(BaseSensorOperator):
    """Polls, waits in the mode of the sensor, and judges what is over.

    ``timeout`` counts from the first poll of the first try, over pokes, reschedules, deferrals and retries; clearing
    the task starts the count anew. ``soft_fail`` skips the task when the wait timed out, when the remote work failed,
    and when the remote work can never be read (403, 404). An error that may pass (429, 5xx, no connection) fails the
    try, and a retry polls again.
    """

    deferrable: bool
    _watch: Any = None
    _end: Exception | None = None

    @abstractmethod
    def _open(self, context: Context) -> Watch:
        """Read the arguments; raise AirflowFailException for an argument that cannot be used."""

    @abstractmethod
    def _trigger(self, watch: Any, first: float) -> BaseTrigger:
        """Return the trigger that waits in the triggerer.

        :param first: seconds until the trigger's first poll.
        """

    def execute(self, context: Context) -> Any:
        """Wait, and return the totals; see the class."""
        # An argument that cannot be used is no failure of the remote work: soft_fail does not skip it.
        watch = self._watch = self._open(context)
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as end:
            # A cause has only what Airflow made of another exception (never_fail).
            if end is self._end or end.__cause__ is not None:
                raise
        # Airflow's own clock ended the wait between two polls, and its words name nothing.
        late = AirflowSensorTimeout(watch.say_late())
        if self.soft_fail or self.never_fail:
            raise self._skip(late) from late
        raise late

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Poll again after the trigger fired: the platform's answer now decides, not the event."""
        from airflow_bulk.triggers.waiting import tell_event

        tell_event(event)
        return self.execute(context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Poll once.

        :raises AirflowFailException: the remote work failed, or a retry cannot help.
        :raises AirflowSensorTimeout: the deadline has passed.
        :raises AirflowSkipException: the same, under ``soft_fail`` or ``never_fail``.
        :raises PlatformError: the platform could not be asked; a retry asks again.
        """
        from airflow_bulk.platforms.errors import PlatformError

        watch = self._watch = self._watch or self._open(context)
        try:
            return self._poll(watch)
        except (AirflowFailException, AirflowSensorTimeout) as error:
            self._end = error
            if self.soft_fail or self.never_fail:
                raise self._skip(error) from error
            raise
        except PlatformError as error:
            if self.never_fail:
                raise self._skip(error) from error
            raise

    def _poll(self, watch: Watch) -> bool | PokeReturnValue:
        from airflow_bulk import judging
        from airflow_bulk.arguments import ArgumentError
        from airflow_bulk.platforms.errors import LASTING, PlatformError

        verdict: judging.Verdict
        try:
            verdict = watch.poll()
        except (*LASTING, ArgumentError) as error:
            raise AirflowFailException(str(error)) from None
        except PlatformError as error:
            if not self.silent_fail:
                raise
            self.log.error("%s", error)
            verdict = watch.unanswered(error)
        if isinstance(verdict, judging.KeepWaiting):
            watch.progress.tell(verdict.totals, verdict.why, verdict.unknown)
            if self.deferrable:
                self._wait_without_worker(watch, verdict)
            return False
        if isinstance(verdict, judging.PastDeadline):
            raise AirflowSensorTimeout(watch.say_late())
        if problem := watch.why_not_good(verdict):
            raise AirflowFailException(problem)
        return PokeReturnValue(True, watch.result(verdict))

    def _skip(self, error: Exception) -> AirflowSkipException:
        """Skip with the words of the error: Airflow's own skip logs nothing but which switch is set."""
        switch = "soft_fail" if self.soft_fail else "never_fail"
        self._end = skip = AirflowSkipException(f"{error} The task is skipped, since {switch} is set.")
        return skip

    def _wait_without_worker(self, watch: Watch, verdict: KeepWaiting) -> None:
        from airflow_bulk.triggers.waiting import DEFERRAL_SLACK, first_poll

        self.defer(
            trigger=self._trigger(watch, max(first_poll(), verdict.seconds)),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, watch.deadline - time.time())) + DEFERRAL_SLACK,
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume a deferred sensor with the rules of the other modes.

        Airflow's own sensors skip every error of a resumed task under ``soft_fail``. Here :meth:`execute` has
        already decided, and an error of the triggerer is no failure of the remote work.
        """
        try:
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self.log.warning("The triggerer sent no event in time; polling on the worker.")
            return self.execute(context)
        except TaskDeferralError as error:
            if self.never_fail:
                raise self._skip(error) from error
            raise

    def _push(self, context: Context) -> Any:
        def push(key: str, value: Any) -> None:
            if "ti" in context:
                context["ti"].xcom_push(key=key, value=value)

        return push
