"""A DAG author's delegated batch over its tries, and what the emulated server made of it."""

from __future__ import annotations

from typing import Any

from one_task import MemoryStore, Task

from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.platforms.extract_load import ServerBatch

GOOD = {"jobs": [{"type": "extract", "object": "Vendor"}, {"type": "load", "object": "vendors"}]}
HANGING = {"jobs": [{"type": "load", "object": "vendors", "required_objects": {"load": ["nowhere"]}}]}
#: A GET that the server refuses for the moment, and that no call repeats by itself.
REFUSED = {"name": "server_error", "status": 501, "method": "GET"}
LIST, ONE = "/batch$", "/batch/"


class DelegatedTask(Task):
    """One task instance of the operator.

    :ivar arguments: of the operator; a test may change them between two tries.
    """

    def __init__(self, store: MemoryStore | None = None, **arguments: Any) -> None:
        super().__init__(self._operator, store)
        self.arguments = {
            "definition": GOOD,
            "poll_interval": 0.1,
            "settle": 0.1,
            "check": False,
            **arguments,
        }

    def _operator(self) -> Any:
        from airflow_bulk.operators.extract_load import ExtractLoadBatchOperator

        return ExtractLoadBatchOperator(task_id="t", extract_load_conn_id="el_server", **self.arguments)


def stored() -> list[ServerBatch]:
    """The batches on the server, oldest first."""
    return ExtractLoadHook("el_server").list_batches()


def ids() -> list[str]:
    """Their ids."""
    return [one.id for one in stored()]


def store_another(definition: dict[str, Any] = GOOD) -> str:
    """Somebody else stores a batch; return its id."""
    return ExtractLoadHook("el_server").create_batch(definition).id


def posts(extract_load: Any) -> int:
    """How many POSTs of a batch came in, those without an answer included."""
    calls = extract_load.emulator.requests()
    return sum(call["method"] == "POST" and call["path"].endswith("/batch") for call in calls)
