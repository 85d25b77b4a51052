"""Errors decide the retry: a retry policy for tasks that work with this package's platforms.

``docs/retries.md`` lists every error and what becomes of the task. DAG files import this module, so it loads nothing
but ``airflow.sdk``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryAction, RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bulk.platforms.errors import TryLater

#: What every retry would meet again. By name, since a worker that meets one of them need not load the others; a
#: subclass is decided like its base.
FAILS_AT_ONCE = frozenset(
    f"airflow_bulk.{name}"
    for name in (
        "arguments.ArgumentError",
        "documents.source.parts.SourceChanged",
        "documents.source.parts.SourceUnusable",
        "extract_load.applying.OutsideScope",
        "extract_load.deletions.TooManyDeletions",
        "extract_load.endpoints.UnfilterableBound",
        "extract_load.problems.BatchDefinitionError",
        "extract_load.transforming.MappingFailed",
        "hooks.platform_hook.ConnectionFieldError",
        "hooks.sql_reading.QueryRefused",
        "platforms.errors.Forbidden",
        "platforms.errors.NotFound",
        "platforms.errors.Refused",
        "platforms.errors.WrongAnswer",
        "platforms.errors.WrongPort",
        "platforms.mediarithmics.cron.CronError",
        "platforms.mediarithmics.plugin_properties.PropertyError",
        "runs.extract_load.staging.StagedFileGone",
        "runs.reconcile.StaysUnclear",
        "runs.record.ClearUnclear",
    )
)
#: Airflow's own cap of a retry's delay, by default; a ``Retry-After`` beyond it is more likely a mistake.
LONGEST_DELAY = timedelta(days=1)
#: Only Airflow 3.4 and newer can wait without using a retry (airflow.md section 9.2).
_RESCHEDULE: Any = getattr(RetryAction, "RESCHEDULE", None)


class BulkRetryPolicy(RetryPolicy):
    """Fail at once where a retry cannot help, wait where the platform is away, and leave the rest to Airflow.

    ``retry_policy=BulkRetryPolicy()`` on a task, or in ``default_args``. The task's ``retries`` stay the limit: on
    Airflow 3.3 each wait uses one, from 3.4 on a wait uses none until ``wait_at_most`` has passed. A task with
    ``retries=0`` never runs again.

    :param least_wait: the least time until the next try where the platform cannot be reached or is busy. The
        platform's ``Retry-After`` and the task's ``retry_delay`` make it longer, never shorter.
    :param wait_at_most: how long one try may wait without using a retry. Airflow 3.3 has no such wait.
    :raises ValueError: one of them is not above zero.
    """

    def __init__(
        self, *, least_wait: timedelta = timedelta(minutes=1), wait_at_most: timedelta = timedelta(hours=6)
    ) -> None:
        for name, value in (("least_wait", least_wait), ("wait_at_most", wait_at_most)):
            if value <= timedelta(0):
                raise ValueError(f"{name} must be above zero, and is {value}.")
        self.least_wait = least_wait
        self.wait_at_most = wait_at_most

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide from what left ``execute``; the reason names the kind of the error and never its text.

        :param exception: what left ``execute``.
        :param try_number: the try that failed, from 1.
        :param max_tries: the last try that Airflow would retry; a clear raises it (airflow.md section 2.1).
        :param context: tells the task's ``retries`` and ``retry_delay``.
        """
        from airflow_bulk.platforms.errors import TryLater
        from airflow_bulk.runs.failures import TryFailed

        error = exception.error if isinstance(exception, TryFailed) else exception
        if fails_at_once(type(error)):
            return RetryDecision.fail(f"{type(error).__name__}: a retry would meet the same.")
        if isinstance(error, TryLater) and error.passing:
            task = None if context is None else context["ti"].task
            retries = max_tries if task is None else task.retries
            return self._wait(error, try_number, retries or 0, task)
        return RetryDecision.default()

    def _wait(self, error: TryLater, try_number: int, retries: int, task: Any) -> RetryDecision:
        """Come back later, without using a retry where Airflow can."""
        asked = min(error.retry_after or 0.0, LONGEST_DELAY.total_seconds())
        needed = max(timedelta(seconds=asked), self.least_wait)
        told = f"{type(error).__name__}{f' ({error.status})' if error.status else ''}"
        reason = f"{told}: the platform asks to wait {asked:.0f} s." if asked else f"{told}: it may pass."
        if _RESCHEDULE is None or not retries:
            # None is Airflow's own delay, which knows about exponential backoff.
            delay = None if task is not None and _grown_delay(task, try_number) >= needed else needed
            return RetryDecision.retry(delay, reason)
        delay = needed if task is None else max(needed, task.retry_delay)
        bounds: dict[str, Any] = {"reschedule_timeout": self.wait_at_most + _waits_between_pokes(task)}
        return RetryDecision(action=_RESCHEDULE, retry_delay=delay, reason=reason, **bounds)

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON takes it."""
        return {
            "__type": type(self).__name__,
            "least_wait": self.least_wait.total_seconds(),
            "wait_at_most": self.wait_at_most.total_seconds(),
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BulkRetryPolicy:
        """Make the policy again from what :meth:`serialize` returned."""
        return cls(
            least_wait=timedelta(seconds=data["least_wait"]),
            wait_at_most=timedelta(seconds=data["wait_at_most"]),
        )


def fails_at_once(kind: type[BaseException]) -> bool:
    """Tell whether every retry would meet an error of this kind again."""
    return any(f"{base.__module__}.{base.__qualname__}" in FAILS_AT_ONCE for base in kind.__mro__)


def _grown_delay(task: Any, try_number: int) -> timedelta:
    """What Airflow waits by itself after a try, at least: it adds a random share to a growing delay."""
    delay: timedelta = task.retry_delay
    factor = task.retry_exponential_backoff or 1.0
    longest: timedelta = min(task.max_retry_delay or LONGEST_DELAY, LONGEST_DELAY)
    if factor == 1.0:
        return delay
    try:
        return min(delay * factor ** (try_number - 1), longest)
    except OverflowError:
        return longest


def _waits_between_pokes(task: Any) -> timedelta:
    """How long a sensor in reschedule mode has every right to wait: Airflow's bound counts its pokes, too."""
    return timedelta(seconds=task.timeout) if getattr(task, "reschedule", False) else timedelta(0)
