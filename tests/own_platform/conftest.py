"""The little Depot behind the default connection, and a task over its tries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from one_task import Task

from depot_server import Depot


@pytest.fixture
def depot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Depot]:
    """A Depot of this test's own; its jobs are done at once."""
    with Depot.start() as started:
        monkeypatch.setenv("AIRFLOW_CONN_DEPOT_DEFAULT", started.connection_json())
        yield started


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A source of 500 good lines."""
    path = tmp_path / "records.ndjson"
    path.write_text("\n".join(record(number) for number in range(500)) + "\n")
    return path


@pytest.fixture
def loading(records: Path) -> Callable[..., Task]:
    """``loading(**arguments)``: a task of the operator; parts of some hundred lines."""
    from airflow_bulk.arguments import SendingOptions
    from depot.operators import LoadIntoDepotOperator

    def make(sending: dict[str, Any] | None = None, **arguments: Any) -> Task:
        options = SendingOptions(**{"max_part_bytes": 5_000, "settle": 0.2, **(sending or {})})
        given = {"source": str(records), "name": "records", "poll_interval": 0.2, "timeout": 60, **arguments}
        return Task(lambda: LoadIntoDepotOperator(task_id="t", sending=options, **given))

    return make


def record(number: int) -> str:
    """A good line; lengths differ, so that parts have different numbers of lines."""
    return json.dumps({"sku": f"sku-{number}", "note": "x" * (number // 20)}, separators=(",", ":"))
