"""Scenarios of crash tests, all under way at once, a few at a time: most of their time they wait for a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from story import Story

#: Scenarios under way at once: on a server, and on SQLite, which has one writer at a time.
AT_ONCE, AT_ONCE_ON_SQLITE = 4, 2
#: ``tell(dag_id)`` begins a story: a run that nothing else touches.
Tell = Callable[[str], Story]
Scenario = Callable[[Tell], None]


#: All that were begun in this process, whichever folder they stand in: they share one Airflow.
BEGUN: list[Played] = []


class Played:
    """Scenarios that were begun together.

    :param scenarios: which.
    :param tell: begins a story.
    """

    def __init__(self, pool: ThreadPoolExecutor, scenarios: list[Scenario], tell: Tell) -> None:
        self._futures = {one: pool.submit(one, tell) for one in scenarios}
        BEGUN.append(self)

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


def play(request: pytest.FixtureRequest, tell: Tell, folder: Path) -> Iterator[Played]:
    """Begin all scenarios that were chosen of the tests in a folder; a fixture's whole body."""
    items = [item for item in request.session.items if item.path.parent == folder]
    callspecs = [getattr(item, "callspec", None) for item in items]
    scenarios = [spec.params["scenario"] for spec in callspecs if spec and "scenario" in spec.params]
    stack = request.getfixturevalue("airflow_stack")
    at_once = AT_ONCE_ON_SQLITE if stack.database.startswith("sqlite") else AT_ONCE
    with ThreadPoolExecutor(at_once, thread_name_prefix="scenario") as pool:
        played = Played(pool, scenarios, tell)
        yield played
        played.stop()
