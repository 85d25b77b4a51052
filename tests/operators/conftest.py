"""The emulator behind the default connection, and a task over its tries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from one_task import Task

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator

if TYPE_CHECKING:
    from killed_world import World


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


@pytest.fixture
def worlds(
    emulator: Emulator,
    batches: IntegrationBatchEmulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[[], World]]:
    """``worlds()``: all platforms as at the start, and a folder of its own."""
    from file_server import FileServer
    from killed_world import World

    from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
    from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator

    centrapay, extract_load = CentrapayEmulator(emulator), ExtractLoadEmulator(emulator)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json(account_id=ACCOUNT))
    monkeypatch.setenv("AIRFLOW_CONN_EL_SERVER", extract_load.connection_json("server"))
    numbers = itertools.count()
    with FileServer() as files:

        def new() -> World:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            world = World(emulator=emulator, batches=batches, centrapay=centrapay, files=files, folder=folder)
            world.reset()
            return world

        yield new
