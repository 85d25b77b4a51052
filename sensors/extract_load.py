"""Wait for a batch that runs on the extract/load server, whoever started it.

The faithful server stores ``finished_at`` and nothing else: **success and failure look the same**
(extract_load.md section 4). Where the server has the optional ``status`` and ``errors``, they are judged.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout

from airflow_bulk.platforms.errors import Forbidden, NotFound, Refused
from airflow_bulk.platforms.extract_load import ServerBatch, failed_end, finished_end

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Airflow's own limit of a deferral comes later than ours: it would skip our message.
_SLACK = 60.0


class ExtractLoadBatchSensor(BaseSensorOperator):
    """Wait for a batch's ``finished_at``: poke, reschedule or deferrable.

    A batch whose required objects can never be there hangs for ever (extract_load.md section 6.7): ``timeout`` is what
    ends the wait. Check a definition before it is sent with ``airflow bulk batch compile``.

    :param batch_id: the batch.
    :param extract_load_conn_id: connection of type ``extract_load``.
    :param deferrable: wait in the triggerer.
    """

    template_fields = ("batch_id",)

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

    def execute(self, context: Context) -> Any:
        """Look once; then wait in the way that was asked for."""
        if not self.deferrable:
            return super().execute(context)
        if self.poke(context):  # over already: a deferral would be for nothing
            return None
        from airflow_bulk.triggers.document_import import first_look
        from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger

        deadline = time.time() + self.timeout
        trigger = ExtractLoadBatchTrigger(
            extract_load_conn_id=self.extract_load_conn_id,
            batch_id=self.batch_id,
            poll_interval=self.poke_interval,
            deadline=deadline,
            first=max(first_look(), self.poke_interval),
        )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + _SLACK),
        )
        return None  # never reached: a deferral raises

    def poke(self, context: Context) -> bool:
        """Tell whether the batch is finished.

        :raises AirflowFailException: the server tells that it failed.
        """
        from airflow_bulk.hooks.extract_load import ExtractLoadHook

        try:
            batch: ServerBatch = ExtractLoadHook(self.extract_load_conn_id).get_batch(self.batch_id)
        except (Forbidden, NotFound, Refused, ValueError) as error:
            raise AirflowFailException(str(error)) from None
        if batch.finished:
            self._judge(batch.failure)
        return batch.finished

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """End as the trigger saw it."""
        if event["state"] == "deadline":
            raise AirflowSensorTimeout(
                f"Batch {self.batch_id} has no finished_at after {self.timeout:.0f} s. A batch whose required objects are"
                " never there hangs for ever; the server does not tell. A retry waits again."
            )
        if event["state"] == "error":
            raise AirflowException(event["message"])
        self._judge(event["failure"])

    def _judge(self, failure: str | None) -> None:
        if failure:
            raise AirflowFailException(failed_end(self.batch_id, failure))
        self.log.info(finished_end(self.batch_id))
