"""The emulator behind the default connection, for tests that need no stored world."""

from __future__ import annotations

import pytest

from airflow_bulk.emulator.handle import Emulator


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Executions are over at once."""
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator
