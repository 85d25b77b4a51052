"""The emulator behind the default connection, and a task over its tries."""

from __future__ import annotations

import pytest
from one_task import Task

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulator, reached by the default connection; executions are over at once."""
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator


@pytest.fixture
def task() -> type[Task]:
    return Task


@pytest.fixture
def batches(emulator: Emulator) -> IntegrationBatchEmulator:
    """The emulator's integration batches."""
    return IntegrationBatchEmulator(emulator)


@pytest.fixture
def instance(batches: IntegrationBatchEmulator) -> str:
    """The id of an instance."""
    return batches.add()
