"""Fixtures for users' own DAG tests. Loading this imports the standard library and pytest, nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator


@pytest.fixture(scope="session")
def bulk_emulator_process() -> Iterator[Emulator]:
    """One emulator process for the whole session; tests take :func:`bulk_emulator`."""
    from airflow_bulk.emulator.handle import Emulator

    with Emulator.start() as emulator:
        yield emulator


@pytest.fixture
def bulk_emulator(bulk_emulator_process: Emulator) -> Emulator:
    """Give a running emulator that holds nothing (:class:`airflow_bulk.emulator.handle.Emulator`).

    Point a connection at it with ``connection_json``, ask it with ``held`` what it imported.
    """
    if not bulk_emulator_process.alive:
        bulk_emulator_process.restart()
    bulk_emulator_process.reset()
    return bulk_emulator_process
