"""The emulator behind a connection of each test's own; executions stay PENDING until a test moves them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from airflow.sdk.module_loading import import_string
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.triggers.document_import import DocumentImportTrigger

_numbers = itertools.count()


@pytest.fixture
def emulator(bulk_emulator: Emulator) -> Emulator:
    bulk_emulator.settings(start_delay=100_000, run_seconds=100_000)
    return bulk_emulator


@pytest.fixture
def conn_id(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """A connection to the emulator: a rate budget lives as long as the process."""
    made = f"trigger_{next(_numbers)}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{made.upper()}", emulator.connection_json())
    return made


@pytest.fixture
def fed(emulator: Emulator) -> Iterator[FedImport]:
    """An import with executions."""
    made = FedImport(emulator)
    yield made
    made.close()


@pytest.fixture
def make(conn_id: str, fed: FedImport) -> Callable[..., DocumentImportTrigger]:
    """Makes triggers as they come out of Airflow's database."""

    def made(**arguments: Any) -> DocumentImportTrigger:
        trigger = DocumentImportTrigger(
            **{
                "conn_id": conn_id,
                "datamart_id": fed.emulator.datamart_id,
                "import_id": fed.id,
                "started": time.time(),
                "poll_interval": 0.2,
                **arguments,
            }
        )
        path, values = trigger.serialize()
        again = import_string(path)(**json.loads(json.dumps(values)))
        assert again.serialize() == (path, values)
        return again

    return made


@pytest.fixture
def told() -> Iterator[Callable[[], list[str]]]:
    """What triggers logged so far: they log through Airflow's structured logger."""
    with structlog.testing.capture_logs() as logs:
        yield lambda: [str(one["event"]) % tuple(one.get("positional_args", ())) for one in logs]
