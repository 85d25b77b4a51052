"""Crash tests: one Airflow, two platforms, all scenarios of the session under way at once, a few at a time."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from import_story import CANARY, PERSON, ImportStory
from played import Played, Tell, play

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

DATAMARTS = [str(number) for number in range(3300, 3360)]
DAGS = {
    "crash_quick": "crash_quick",
    "crash_orphan": "crash_quick",
    "crash_mapped": "crash_quick",
    "crash_waiting": "crash_waiting",
    "crash_deferred": "crash_waiting",
    "crash_mapped_deferred": "crash_waiting",
}


@pytest.fixture(scope="session")
def platforms(airflow_stack: AirflowStack) -> Iterator[dict[str, Emulator]]:
    """The platforms by connection: what one takes is over at once, what the other takes waits for the test."""
    from airflow_bulk.emulator.handle import Emulator

    token = f"{CANARY}-token-{secrets.token_hex(8)}"
    # A careless platform: its messages quote lines, its results name people.
    shared = {"datamart": DATAMARTS, "token": token, "messages_quote_lines": True}
    with (
        Emulator.start(start_delay=0.0, run_seconds=0.0, **shared) as quick,
        Emulator.start(start_delay=3600.0, run_seconds=3600.0, **shared) as waiting,
    ):
        quick.settings(top_identifiers={PERSON: 3})
        found = {"crash_quick": quick, "crash_waiting": waiting}
        for conn_id, emulator in found.items():
            airflow_stack.api.add_connection(conn_id, emulator.connection_json())
        for dag_id in DAGS:
            airflow_stack.api.wait_for_dag(dag_id)
            airflow_stack.api.unpause(dag_id)
        yield found


@pytest.fixture(scope="session")
def tell(
    airflow_stack: AirflowStack, platforms: dict[str, Emulator], tmp_path_factory: pytest.TempPathFactory
) -> Tell:
    """``tell(dag_id)`` begins a story: a run that nothing else touches."""
    datamarts = itertools.cycle(DATAMARTS)

    def begin(dag_id: str) -> ImportStory:
        folder: Path = tmp_path_factory.mktemp("story")
        return ImportStory(airflow_stack, dag_id, platforms[DAGS[dag_id]], next(datamarts), folder)

    return begin


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, tell: Tell) -> Iterator[Played]:
    """All scenarios that were chosen, under way: ``played(scenario)`` waits for the end of one."""
    yield from play(request, tell, Path(__file__).parent)
