"""Wait for a Centrapay batch that another party created. EXPERIMENTAL, as Centrapay's batches are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.sensors.watching_sensor import WatchingSensor

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.centrapay_batch.watch import CentrapayBatchWatch


class CentrapayBatchSensor(WatchingSensor):
    """Wait until a batch is over, and judge it; the batch may have been created by anybody.

    The status ``complete`` is not success: ``max_failures`` decides over the records in error. The status ``error``
    fails the sensor: nothing was processed. A batch that does not exist and a batch that may not be read look alike;
    both fail the sensor at once.

    ``timeout``, ``soft_fail`` and the modes mean what they mean for
    :class:`~airflow_bulk.sensors.document_import.DocumentImportSensor`.

    Returns a dictionary with ``batch_id``, ``status``, ``type``, ``count``, ``lines_accepted`` and ``lines_failed``.

    :param batch_id: the batch.
    :param max_failures: how many records in error are tolerated: a count, or a share of those counted (``"0.5%"``).
    :param centrapay_conn_id: connection of type ``centrapay``.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = ("batch_id", "max_failures")
    ui_color = "#d7ecd9"

    def __init__(
        self,
        *,
        batch_id: str,
        max_failures: int | str = 0,
        centrapay_conn_id: str = "centrapay_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.max_failures = max_failures
        self.centrapay_conn_id = centrapay_conn_id
        self.deferrable = deferrable

    def _open(self, context: Context) -> CentrapayBatchWatch:
        from airflow_bulk import arguments as read
        from airflow_bulk.hooks.centrapay import CentrapayHook
        from airflow_bulk.runs.centrapay_batch.watch import CentrapayBatchWatch
        from airflow_bulk.runs.watching import waiting_since

        try:
            batch_id = read.optional_text("batch_id", self.batch_id)
            if batch_id is None:
                raise read.ArgumentError("batch_id", "must be the id of a batch, and is empty")
            tolerance = read.read_tolerance(self.max_failures)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        return CentrapayBatchWatch(
            batch_id,
            CentrapayHook(self.centrapay_conn_id),
            tolerance,
            started=waiting_since(context),
            timeout=self.timeout,
            poll_interval=self.poke_interval,
        )

    def _trigger(self, watch: CentrapayBatchWatch, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.centrapay_batch import CentrapayBatchTrigger

        rules = watch.rules
        return CentrapayBatchTrigger(
            centrapay_conn_id=self.centrapay_conn_id,
            batch_id=watch.batch_id,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            first=first,
        )
