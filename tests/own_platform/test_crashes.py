"""The kill scenarios of tests/crash on a platform that the package does not know: each line once, there as well."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from played import Played, Tell, play
from test_blows import BLOW_AFTER_BLOW
from test_ends import ENDS
from test_kills import KILLS, between_commit_and_last_block, between_last_block_and_record
from test_people import deferred_task_marked_failed, running_task_marked_failed

from depot_server import Depot
from depot_story import DepotStory

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

#: By the DAG of the same scenario in tests/crash.
DAGS = {
    "crash_quick": "depot_quick",
    "crash_orphan": "depot_orphan",
    "crash_waiting": "depot_waiting",
    "crash_deferred": "depot_deferred",
}
SCENARIOS = [
    *KILLS,
    *ENDS,
    running_task_marked_failed,
    deferred_task_marked_failed,
    *BLOW_AFTER_BLOW.values(),
]
#: The others tell the same of ours: they are slow.
SHORT = (between_commit_and_last_block, between_last_block_and_record, deferred_task_marked_failed)


@pytest.fixture(scope="module")
def depots(airflow_stack: AirflowStack) -> Iterator[dict[str, Depot]]:
    """The Depots by DAG: one is done with a job at once, the jobs of the other wait for the test."""
    with Depot.start() as quick, Depot.start(hold=True) as waiting:
        for conn_id, depot in (("depot_quick", quick), ("depot_waiting", waiting)):
            airflow_stack.api.add_connection(conn_id, depot.connection_json())
        for dag_id in DAGS.values():
            airflow_stack.api.wait_for_dag(dag_id)
            airflow_stack.api.unpause(dag_id)
        yield {
            "depot_quick": quick,
            "depot_orphan": quick,
            "depot_waiting": waiting,
            "depot_deferred": waiting,
        }


@pytest.fixture(scope="module")
def tell(
    airflow_stack: AirflowStack, depots: dict[str, Depot], tmp_path_factory: pytest.TempPathFactory
) -> Tell:
    """``tell(dag_id)`` begins a story: a run that nothing else touches."""
    numbers = itertools.count(1)

    def begin(dag_id: str) -> DepotStory:
        depot_dag = DAGS[dag_id]
        folder: Path = tmp_path_factory.mktemp("depot")
        return DepotStory(airflow_stack, depot_dag, depots[depot_dag], f"depot-{next(numbers)}", folder)

    return begin


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, tell: Tell) -> Iterator[Played]:
    """All scenarios that were chosen, under way: ``played(scenario)`` waits for the end of one."""
    yield from play(request, tell, Path(__file__).parent)


def name_of(scenario: Any) -> str:
    if isinstance(scenario, functools.partial):
        return "{dag_id}, seed {seed}".format(**scenario.keywords)
    return str(scenario.__name__)


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, marks=() if one in SHORT else pytest.mark.slow, id=name_of(one)) for one in SCENARIOS],
)
def test_each_line_once_after(scenario: Any, played: Played) -> None:
    played(scenario)
