"""Wait for a Centrapay batch without a worker. No batch can be cancelled: when the task is stopped, the log says so."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from airflow_bulk.platforms.centrapay import NO_CANCEL, snapshot
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.triggers.waiting import WaitingTrigger


class CentrapayBatchTrigger(WaitingTrigger[RemoteSnapshot]):
    """Fires when a batch is over, or the deadline has passed.

    :param centrapay_conn_id: the connection.
    :param batch_id: the batch.
    :param own: the task created the batch; when the task is stopped, the log says that the batch goes on.
    :param waiting: as for :class:`~airflow_bulk.triggers.waiting.WaitingTrigger`.
    """

    own_arguments = ("centrapay_conn_id", "batch_id", "own")

    def __init__(self, *, centrapay_conn_id: str, batch_id: str, own: bool = False, **waiting: Any) -> None:
        super().__init__(**waiting)
        self.centrapay_conn_id = centrapay_conn_id
        self.batch_id = batch_id
        self.own = own

    @property
    def what(self) -> str:
        """Say in words what is watched."""
        return f"batch {self.batch_id}"

    def _is_ours(self) -> bool:
        return self.own

    async def _stop(self, seconds: float) -> None:
        """Log that the batch goes on: no documented call cancels a batch (centrapay.md section 1)."""
        self.log.warning("Batch %s goes on at Centrapay. %s", self.batch_id, NO_CANCEL)

    def _connection(self) -> str:
        return self.centrapay_conn_id

    def _key(self) -> Hashable:
        return "centrapay batch", self.batch_id

    def hook(self) -> Any:
        """The connection's hook."""
        from airflow_bulk.hooks.centrapay import CentrapayHook

        return CentrapayHook(self.centrapay_conn_id)

    async def _poll(self, hook: Any) -> list[RemoteSnapshot]:
        return [snapshot(await hook.aget_batch(self.batch_id))]

    def _counting(self, found: Sequence[RemoteSnapshot]) -> list[RemoteSnapshot]:
        return list(found)

    def _about(self) -> dict[str, Any]:
        return {"batch_id": self.batch_id}
