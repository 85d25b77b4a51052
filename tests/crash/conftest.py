"""Crash tests: one Airflow, two platforms, all scenarios of the session under way at once, a few at a time."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from story import CANARY, PERSON, Story

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

#: Scenarios under way at once.
AT_ONCE = 4
DATAMARTS = [str(number) for number in range(3300, 3360)]
DAGS = {
    "crash_quick": "crash_quick",
    "crash_orphan": "crash_quick",
    "crash_mapped": "crash_quick",
    "crash_waiting": "crash_waiting",
    "crash_deferred": "crash_waiting",
}
Scenario = Callable[[Callable[[str], Story]], None]


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
) -> Callable[[str], Story]:
    """``tell(dag_id)`` begins a story: a run that nothing else touches."""
    datamarts = itertools.cycle(DATAMARTS)

    def begin(dag_id: str) -> Story:
        folder: Path = tmp_path_factory.mktemp("story")
        return Story(airflow_stack, dag_id, platforms[DAGS[dag_id]], next(datamarts), folder)

    return begin


class Played:
    """Scenarios that were begun together.

    :param scenarios: which.
    :param push: begins a story.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, scenarios: list[Scenario], tell: Callable[[str], Story]
    ) -> None:
        self._futures = {one: pool.submit(one, tell) for one in scenarios}

    def __call__(self, scenario: Scenario) -> None:
        """Wait for a scenario's end; raise what it raised."""
        self._futures[scenario].result()

    def wait_for_all(self) -> None:
        """Wait until all have ended, well or not."""
        wait(self._futures.values())

    def stop(self) -> None:
        """Begin no more."""
        for future in self._futures.values():
            future.cancel()


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, tell: Callable[[str], Story]) -> Iterator[Played]:
    """All scenarios that were chosen, under way: ``played(scenario)`` waits for the end of one."""
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    scenarios = [spec.params["scenario"] for spec in callspecs if spec and "scenario" in spec.params]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario") as pool:
        played = Played(pool, scenarios, tell)
        yield played
        played.stop()
