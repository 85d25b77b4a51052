"""What a sensor sees of a batch instance: the runs that its own cron made for a window, judged as everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_bulk import judging
from airflow_bulk.arguments import ArgumentError
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.judging import Tolerance, name_ids
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    CRON,
    PAUSED,
    IntegrationBatchInstance,
    IntegrationBatchSnapshot,
    cron_runs,
    iso,
    run_report,
)
from airflow_bulk.platforms.status import RemoteStatus
from airflow_bulk.runs import failures
from airflow_bulk.runs.watching import Watch

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook


class IntegrationBatchWatch(Watch):
    """One sensor's view of one instance and one window.

    :param instance_id: the instance.
    :param hook: the platform.
    :param window: seconds since 1970, from and until (not included).
    :param tolerance: failed tasks that are good enough.
    :param push: pushes a key and a value to XCom.
    :param times: ``started``, ``timeout`` and ``poll_interval`` of :class:`~airflow_bulk.runs.watching.Watch`.
    """

    def __init__(
        self,
        instance_id: str,
        hook: MediarithmicsHook,
        window: tuple[float, float],
        tolerance: Tolerance,
        *,
        push: Callable[[str, Any], None],
        **times: float,
    ) -> None:
        super().__init__(**times)
        self.instance_id = instance_id
        self.hook = hook
        self.window = window
        self.tolerance = tolerance
        self._push = push
        self._counting: list[IntegrationBatchSnapshot] = []
        self._instance: IntegrationBatchInstance | None = None
        self._url: str | None = None

    @property
    def thing(self) -> str:
        """What is waited for, in words."""
        return f"The wait for batch instance {self.instance_id}"

    def poll(self) -> judging.Verdict:
        """Ask the platform once and judge what it shows.

        :raises NotFound: there is no such instance.
        :raises ArgumentError: nothing is there, and this instance will never make a run.
        """
        found = IntegrationBatchExecutions(self.hook, self.instance_id, self.window[0]).snapshots()
        self._counting = cron_runs(found, *self.window)
        self._tell_link(found)
        verdict = self._judge(self._counting)
        if isinstance(verdict, judging.KeepWaiting) and not self._counting:
            return dataclasses.replace(verdict, why=self._nothing_there(found))
        return verdict

    def _nothing_there(self, found: list[IntegrationBatchSnapshot]) -> str:
        if self._instance is None:
            self._instance = self.hook.get_batch_instance(self.instance_id)
        instance = self._instance
        if instance.archived or not instance.cron:
            why = "is archived" if instance.archived else "has no cron"
            raise ArgumentError(
                "instance_id", f"names batch instance {instance.id}, which {why}, so no run will come"
            )
        start, end = self.window
        cancelled = [
            one.id
            for one in found
            if one.execution_type == CRON
            and one.remote_status is RemoteStatus.CANCELED
            and one.expected_start is not None
            and start <= one.expected_start < end
        ]
        told = f"no run of batch instance {instance.id}'s cron {self._window_told()} is there"
        if cancelled:
            told += f", but for cancelled ones, which never ran ({name_ids(cancelled)})"
        return told + (f"; the instance is {PAUSED}" if instance.cron_status == PAUSED else "")

    def _window_told(self) -> str:
        return f"from {iso(self.window[0])} until {iso(self.window[1])}"

    def why_not_good(self, verdict: judging.Finished | judging.FailedBecause) -> str:
        """Say why runs that are over are not good; empty when they are."""
        it = f"Batch instance {self.instance_id}"
        if isinstance(verdict, judging.FailedBecause):
            return f"{it}: {verdict.reason}. A retry cannot help: it finds the same. Look at the run in the console."
        ids = name_ids([one.id for one in self._counting if one.failed])
        return failures.say_too_many(
            it,
            verdict.totals.failed,
            sum(one.lines or 0 for one in self._counting),
            self.tolerance,
            noun="task",
            more=f"Executions with failed tasks: {ids}.",
        )

    def _describe(self, last: judging.PastDeadline) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(last.totals.executions.items()))
        return states or "no run"

    def _goes_on(self, last: judging.PastDeadline) -> str:
        going = name_ids([*last.going, *last.pending])
        what = (
            f"Not over: {going}."
            if going
            else f"No run of its cron {self._window_told()} was there: check the instance's cron in the console."
        )
        return f"{what} Nothing was cancelled, since its own cron started it."

    def result(self, verdict: judging.Verdict) -> dict[str, Any]:
        """Make the sensor's result, with exactly the documented names."""
        runs = sorted(self._counting, key=lambda one: (one.expected_start or 0.0, judging.id_order(one.id)))
        return {
            "instance_id": self.instance_id,
            "execution_ids": [one.id for one in runs],
            "runs": [run_report(self.instance_id, one) for one in runs],
            "window": [iso(self.window[0]), iso(self.window[1])],
            "console_url": self._url,
        }

    def _tell_link(self, found: list[IntegrationBatchSnapshot]) -> None:
        if self._url is None:
            owner = next((one.owner for one in found if one.owner), None)
            self._url = self.hook.batch_console_url(self.instance_id, owner)
            if self._url is not None:
                self._push("console_url", self._url)
