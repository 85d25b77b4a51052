"""What ``make crash`` and ``make chaos`` need: one Airflow, two platforms, and stories that are blown in the middle."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from import_story import ImportStory

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

DATAMARTS = [str(number) for number in range(5000, 6000)]
BLOWS = ("child", "supervisor", "scheduler", "triggerer", "triggerer stands still")


class Stage:
    """Begins stories, each on a datamart of its own.

    :param folder: for the stories' files.
    """

    def __init__(self, stack: AirflowStack, platforms: dict[str, Emulator], folder: Path) -> None:
        self.stack, self.platforms, self.folder = stack, platforms, folder
        self._datamarts = iter(DATAMARTS)

    def story(self, mode: str) -> ImportStory:
        """A run that has not begun.

        :param mode: ``sync`` or ``deferred``.
        """
        datamart = next(self._datamarts)
        folder = self.folder / datamart
        folder.mkdir()
        return ImportStory(self.stack, f"blown_{mode}", self.platforms[mode], datamart, folder)

    def strike(self, blow: str, story: ImportStory, pid: int) -> None:
        """Let a blow fall on a task that stands at a write, and let what is left of it go on.

        :param blow: one of :data:`BLOWS`.
        """
        if blow == "child":
            story.kill(pid)
        elif blow == "supervisor":
            story.kill(story.supervisor(pid))
        elif blow == "triggerer stands still":
            self.stack.pause("triggerer")
            story.go()
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(pid).wait(timeout=10)
            self.stack.resume("triggerer")
        else:
            self.stack.restart(blow)
        story.go()


def left(story: ImportStory) -> tuple[int, int, int]:
    """How many lines are lost and doubled, and how many executions were left to run."""
    held, wanted = story.held(), Counter(story.lines)
    statuses = story.statuses()
    leaked = sum(count for status, count in statuses.items() if status not in ("SUCCEEDED", "CANCELED"))
    return (wanted - held).total(), (held - wanted).total(), leaked


def end(story: ImportStory, clears: int = 3) -> dict[str, Any]:
    """Wait for the end; where the task has used up its tries, a person clears it, a few times."""
    for _ in range(clears):
        story.wait("the end", lambda: _over(story))
        if story.api.run(story.dag_id, story.run_id)["state"] == "success":
            break
        story.clear()
    return story.ends()


def _over(story: ImportStory) -> bool:
    story.finish_executions()
    return story.api.run(story.dag_id, story.run_id)["state"] in ("success", "failed")


@contextlib.contextmanager
def emulated(stack: AirflowStack) -> Iterator[dict[str, Emulator]]:
    """Two platforms: what one takes is over at once, what the other takes waits until the task is deferred."""
    from airflow_bulk.emulator.handle import Emulator

    shared: dict[str, Any] = {"datamart": DATAMARTS}
    with (
        Emulator.start(start_delay=0.0, run_seconds=0.0, **shared) as quick,
        Emulator.start(start_delay=3600.0, run_seconds=3600.0, **shared) as waiting,
    ):
        found = {"sync": quick, "deferred": waiting}
        for mode, emulator in found.items():
            stack.api.add_connection(f"blown_{mode}", emulator.connection_json())
            stack.api.wait_for_dag(f"blown_{mode}")
            stack.api.unpause(f"blown_{mode}")
        yield found


@contextlib.contextmanager
def stage(root: Path) -> Iterator[Stage]:
    """A whole Airflow of its own, on PostgreSQL where that can be had.

    :param root: of the checkout.
    """
    from airflow_stack import AirflowStack
    from postgres_server import LOCAL, NoPostgres, airflow_database

    settings = {
        "PYTHONPATH": str(root / "tests" / "crash"),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    }
    dags = {"tests-crash": root / "tests" / "crash" / "dag_files"}
    with contextlib.ExitStack() as entered:
        folder = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="airflow-bulk-crash-")))
        database = None
        with contextlib.suppress(NoPostgres):
            database = entered.enter_context(airflow_database(LOCAL))
        stack = entered.enter_context(
            AirflowStack(folder / "airflow", dags, settings, parallelism=6, database=database)
        )
        stories = folder / "stories"
        stories.mkdir()
        yield Stage(stack, entered.enter_context(emulated(stack)), stories)
