"""Wait for a delegated batch's ``finished_at`` without a worker."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.extract_load import ServerBatch
from airflow_bulk.triggers.poller import shared_hooks


class ExtractLoadBatchTrigger(BaseTrigger):
    """Fires when a batch is finished, gone, or the deadline has passed.

    :param extract_load_conn_id: the connection.
    :param batch_id: the batch.
    :param poll_interval: seconds between two looks.
    :param deadline: seconds since 1970 after which waiting ends; a hanging batch never finishes by itself.
    :param first: seconds until the first look.
    """

    def __init__(
        self,
        *,
        extract_load_conn_id: str,
        batch_id: str,
        poll_interval: float = 30.0,
        deadline: float | None = None,
        first: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.extract_load_conn_id = extract_load_conn_id
        self.batch_id = batch_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.first = first

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments; no secret is among them."""
        names = ("extract_load_conn_id", "batch_id", "poll_interval", "deadline", "first")
        path = "airflow_bulk.triggers.extract_load.ExtractLoadBatchTrigger"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; a restart of the triggerer begins here again and loses nothing."""
        yield TriggerEvent({"batch_id": self.batch_id, **await self._end()})

    async def _end(self) -> dict[str, Any]:
        watching = shared_hooks().watch(
            self.extract_load_conn_id, self.batch_id, self.hook, self._look, self.first, self._interval
        )
        try:
            async with aclosing(watching) as looks:
                async for batch in looks:
                    if batch.finished:
                        return {"state": "finished", "failure": batch.failure}
                    if self.deadline is not None and time.time() >= self.deadline:
                        return {"state": "deadline"}
        except PlatformError as error:
            # The task meets the same error when it looks itself, and says what a retry will do.
            return {"state": "error", "message": str(error)}
        raise AssertionError("looks have no end of their own")  # pragma: no cover

    def hook(self) -> Any:
        """The connection's hook."""
        from airflow_bulk.hooks.extract_load import ExtractLoadHook

        return ExtractLoadHook(self.extract_load_conn_id)

    async def _look(self, hook: Any) -> ServerBatch:
        batch: ServerBatch = await hook.aget_batch(self.batch_id)
        return batch

    def _interval(self, batch: ServerBatch) -> float:
        if self.deadline is None:
            return self.poll_interval
        return max(0.0, min(self.poll_interval, self.deadline - time.time()))
