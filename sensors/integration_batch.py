"""Wait for a run that the cron of a batch instance started, and not Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.links import IntegrationBatchLink
from airflow_bulk.sensors.watching_sensor import WatchingSensor

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.integration_batch.watch import IntegrationBatchWatch


class IntegrationBatchSensor(WatchingSensor):
    """Wait until the runs that the instance's cron made for this DAG run's window are over, and judge them.

    A run belongs to the window in which it was to start (``expected_start_date``); the beginning of the window is part
    of it, the end is not. All runs in the window must be over. While the window holds no run, the sensor says so and
    waits until its timeout. A cancelled run never ran and does not count (a pause cancels coming runs, and a resume
    does not make up for them).

    The window is the DAG run's data interval if that has length; else it ends at the run's ``run_after`` and is as long
    as ``window``; else it reaches from the previous run's ``run_after`` to this run's. A DAG that runs at the same
    minute as the batch's cron therefore follows the previous run of the batch; give such a DAG a later minute.

    ``timeout``, ``soft_fail`` and the modes mean what they mean for
    :class:`~airflow_bulk.sensors.document_import.DocumentImportSensor`.

    Returns a dictionary with ``instance_id``, ``execution_ids``, ``runs`` (oldest first, each with ``execution_id``,
    ``status``, ``expected_start_date``, ``start_date``, ``tasks``, ``tasks_failed``), ``window`` (two times, ISO 8601,
    UTC) and ``console_url``.

    :param instance_id: the instance.
    :param window: length of the window where the data interval has no length: a timedelta, or seconds.
    :param max_failures: how many failed tasks are tolerated, over all runs: a count, or a share (``"0.1%"``).
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = ("instance_id", "window", "max_failures")
    operator_extra_links = (IntegrationBatchLink(),)
    ui_color = "#dcefcf"

    def __init__(
        self,
        *,
        instance_id: str,
        window: timedelta | float | str | None = None,
        max_failures: int | str = 0,
        mediarithmics_conn_id: str = "mediarithmics_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.instance_id = instance_id
        self.window = window
        self.max_failures = max_failures
        self.mediarithmics_conn_id = mediarithmics_conn_id
        self.deferrable = deferrable

    def _open(self, context: Context) -> IntegrationBatchWatch:
        from airflow_bulk import arguments as read
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
        from airflow_bulk.runs.integration_batch.arguments import instance_id as read_instance_id
        from airflow_bulk.runs.integration_batch.watch import IntegrationBatchWatch
        from airflow_bulk.runs.watching import waiting_since
        from airflow_bulk.window import window

        try:
            instance_id = read_instance_id(self.instance_id)
            length = None
            if self.window not in (None, "", "None"):
                length = timedelta(seconds=read.duration("window", self.window))
            start, end = window(context, length)
            tolerance = read.read_tolerance(self.max_failures)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        return IntegrationBatchWatch(
            instance_id,
            MediarithmicsHook(self.mediarithmics_conn_id),
            (start.timestamp(), end.timestamp()),
            tolerance,
            started=waiting_since(context),
            timeout=self.timeout,
            poll_interval=self.poke_interval,
            push=self._push(context),
        )

    def _trigger(self, watch: IntegrationBatchWatch, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.integration_batch import IntegrationBatchTrigger

        rules = watch.rules
        return IntegrationBatchTrigger(
            conn_id=self.mediarithmics_conn_id,
            instance_id=watch.instance_id,
            since=watch.window[0],
            window=watch.window,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            cancel_on_kill=False,
            first=first,
        )
