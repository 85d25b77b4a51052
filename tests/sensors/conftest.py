"""The emulator behind the default connection; executions stay PENDING until a test moves them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.settings(start_delay=100_000, run_seconds=100_000)
    return bulk_emulator


@pytest.fixture
def fed(emulator: Emulator) -> Iterator[FedImport]:
    """An import that another party feeds."""
    made = FedImport(emulator)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _early_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger may look half a second after the deferral: there is no worker here that has to report first."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")
