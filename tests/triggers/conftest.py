"""The emulator behind a connection of each test's own; executions stay PENDING until a test moves them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator

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
