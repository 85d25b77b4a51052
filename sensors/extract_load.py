"""Wait for a batch that runs on the extract/load server, whoever started it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.sensors.watching_sensor import WatchingSensor

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.extract_load.watch import ExtractLoadBatchWatch


class ExtractLoadBatchSensor(WatchingSensor):
    """Wait for a batch's ``finished_at``: poke, reschedule or deferrable.

    The documented server stores ``finished_at`` and nothing else: **success and failure look the same**
    (extract_load.md section 4). Where the server has the optional ``status`` and ``errors``, they are judged. A batch
    whose required objects can never be there hangs for ever (extract_load.md section 6.7): ``timeout`` is what ends the
    wait. Check a definition before it is sent with ``airflow bulk batch compile``.

    ``timeout``, ``soft_fail`` and the modes mean what they mean for
    :class:`~airflow_bulk.sensors.document_import.DocumentImportSensor`.

    Returns a dictionary with ``batch_id``, ``finished_at``, ``status``, ``errors`` and ``error_kinds``, as for
    :class:`~airflow_bulk.operators.extract_load_batch.ExtractLoadBatchOperator`.

    :param batch_id: the batch.
    :param extract_load_conn_id: connection of type ``extract_load``.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = ("batch_id",)
    ui_color = "#e6dff2"

    def __init__(
        self,
        *,
        batch_id: str,
        extract_load_conn_id: str = "extract_load_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.extract_load_conn_id = extract_load_conn_id
        self.deferrable = deferrable

    def _open(self, context: Context) -> ExtractLoadBatchWatch:
        from airflow_bulk.hooks.extract_load import ExtractLoadHook
        from airflow_bulk.platforms.extract_load import checked_id
        from airflow_bulk.runs.extract_load.watch import ExtractLoadBatchWatch
        from airflow_bulk.runs.watching import waiting_since

        try:
            batch_id = checked_id(self.batch_id)
        except ValueError as error:
            raise AirflowFailException(f"batch_id cannot be used: {error}.") from None
        return ExtractLoadBatchWatch(
            batch_id,
            ExtractLoadHook(self.extract_load_conn_id),
            started=waiting_since(context),
            timeout=self.timeout,
            poll_interval=self.poke_interval,
        )

    def _trigger(self, watch: ExtractLoadBatchWatch, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger

        rules = watch.rules
        return ExtractLoadBatchTrigger(
            extract_load_conn_id=self.extract_load_conn_id,
            batch_id=watch.batch_id,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            first=first,
        )
