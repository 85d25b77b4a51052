"""The emulator behind the default connection, and nights: DAG runs that share what is known of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nights import Airflow, Folder

from airflow_bulk.emulator.handle import Emulator


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulator, reached by the default connection; executions are over at once."""
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Where the nightly export leaves its files."""
    return Folder(tmp_path)


@pytest.fixture(params=[False, True], ids=["3.3", "3.4"])
def airflow(request: pytest.FixtureRequest, emulator: Emulator) -> Airflow:
    """Runs of one DAG; as from 3.4 on, a clear deletes the task's state."""
    return Airflow(clears_discard=request.param)


@pytest.fixture
def nightly(airflow: Airflow, folder: Folder) -> Callable[..., Any]:
    """``nightly(...)``: another run of the nightly import."""
    return lambda **more: airflow.run_of(folder, **more)
