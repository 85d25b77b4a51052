"""Wait for a batch of the extract/load server without a worker. No call that stops one is documented."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from airflow_bulk.platforms.extract_load import NO_STOP, snapshot
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.triggers.waiting import WaitingTrigger


class ExtractLoadBatchTrigger(WaitingTrigger[RemoteSnapshot]):
    """Fires when a batch is finished, or the deadline has passed; a batch that hangs never finishes by itself.

    :param extract_load_conn_id: the connection.
    :param batch_id: the batch.
    :param own: the task stored it, so that stopping the task has to say that it goes on.
    :param waiting: as for :class:`~airflow_bulk.triggers.waiting.WaitingTrigger`.
    """

    own_arguments = ("extract_load_conn_id", "batch_id", "own")

    def __init__(
        self, *, extract_load_conn_id: str, batch_id: str, own: bool = False, **waiting: Any
    ) -> None:
        super().__init__(**waiting)
        self.extract_load_conn_id = extract_load_conn_id
        self.batch_id = batch_id
        self.own = own

    @property
    def what(self) -> str:
        """What is watched, in words."""
        return f"batch {self.batch_id}"

    def _is_ours(self) -> bool:
        return self.own

    async def _stop(self, seconds: float) -> None:
        """Say what goes on (extract_load.md section 4)."""
        self.log.warning("Batch %s goes on at the server. %s", self.batch_id, NO_STOP)

    def _connection(self) -> str:
        return self.extract_load_conn_id

    def _key(self) -> Hashable:
        return "extract_load batch", self.batch_id

    def hook(self) -> Any:
        """The connection's hook."""
        from airflow_bulk.hooks.extract_load import ExtractLoadHook

        return ExtractLoadHook(self.extract_load_conn_id)

    async def _poll(self, hook: Any) -> list[RemoteSnapshot]:
        return [snapshot(await hook.aget_batch(self.batch_id))]

    def _counting(self, found: Sequence[RemoteSnapshot]) -> list[RemoteSnapshot]:
        return list(found)

    def _about(self) -> dict[str, Any]:
        return {"batch_id": self.batch_id}
