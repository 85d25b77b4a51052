"""What ``make crash`` and ``make chaos`` need: one Airflow, a platform for each run at once, and blows that strike several runs together."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from blown_run import BlownRun, Slot
from task_run import lives
from task_states import TaskStates

if TYPE_CHECKING:
    from file_server import FileServer

    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

T = TypeVar("T")
R = TypeVar("R")

#: These strike one run; each of the others strikes all that are under way.
ALONE = ("child", "supervisor")
STANDS_STILL = "triggerer stands still"
TOGETHER = ("scheduler", "triggerer", STANDS_STILL)
BLOWS = (*ALONE, *TOGETHER)
#: Each of these ends everything, and leaves nothing behind.
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Runs under way at once.
AT_ONCE = 8
#: A triggerer that takes over what another one has, while that one stands still.
SECOND = "triggerer 2"
#: Seconds for an old try to end once a newer one has.
LAST_WORDS = 30.0
SETTINGS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    # A new scheduler begins the tasks of the old one again once that one has been missed for so long.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
}


class Stage:
    """Begins runs, each with a platform of its own, and strikes them.

    :param folder: for the runs' files.
    :param files: serves what Centrapay fetches.
    :param at_once: runs under way at once.
    """

    def __init__(self, stack: AirflowStack, folder: Path, files: FileServer, at_once: int = AT_ONCE) -> None:
        self.stack, self.at_once = stack, at_once
        self._folder, self._files = folder, files
        self._states = TaskStates(stack.api)
        self._numbers = itertools.count(1)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._emulators: list[Emulator] = []
        self._old_sessions: set[int] = set()

    def open(self, dag_ids: list[str]) -> None:
        """Let the scheduler run the DAGs."""
        for dag_id in dag_ids:
            self.stack.api.wait_for_dag(dag_id)
            self.stack.api.unpause(dag_id)

    def close(self) -> None:
        """Stop the platforms."""
        for emulator in self._emulators:
            emulator.stop()

    def _slot(self) -> Slot:
        """A platform that is free, or a new one."""
        from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
        from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
        from airflow_bulk.emulator.handle import Emulator

        with contextlib.suppress(queue.Empty):
            return self._free.get_nowait()
        slot = Slot(
            next(self._numbers), Emulator.start(start_delay=0.0, run_seconds=0.0), self._files, self._states
        )
        self._emulators.append(slot.emulator)
        extract_load = ExtractLoadEmulator(slot.emulator)
        connections = {
            "blown": slot.emulator.connection_json(),
            "blown_centrapay": CentrapayEmulator(slot.emulator).connection_json(account_id=ACCOUNT),
            "blown_server": extract_load.connection_json("server"),
            "blown_destination": extract_load.connection_json("destination", api="activecell"),
        }
        for name, connection in connections.items():
            self.stack.api.add_connection(f"{name}_{slot.number}", connection)
        return slot

    def place(self, mode: str) -> tuple[AirflowStack, str, Slot, Path]:
        """What a run needs that has not begun, a platform that nobody else uses among it; give that back with :meth:`give_back`."""
        folder = self._folder / f"{next(self._numbers)}-{os.getpid()}"
        folder.mkdir()
        return self.stack, mode, self._slot(), folder

    def give_back(self, run: BlownRun, *, clean: bool) -> None:
        """Take the platform back.

        :param clean: False where something of the run may still be under way: the platform is given to nobody then.
        """
        self._states.forget(run.run_id)
        if clean:
            self._free.put(run.slot)
            return
        run.slot.emulator.stop()
        with contextlib.suppress(Exception):
            self.stack.api.set_run_state(run.dag_id, run.run_id, "failed")

    def strike_alone(self, blow: str, run: BlownRun, pid: int) -> None:
        """Kill a task's process, or its supervisor.

        :param blow: one of :data:`ALONE`.
        """
        run.kill(pid if blow == "child" else run.supervisor(pid))
        run.go()

    def strike_together(self, blow: str, runs: dict[BlownRun, int]) -> None:
        """Let one blow to a component fall while all these runs stand, and let them all go on.

        :param blow: one of :data:`TOGETHER`.
        :param runs: each with the pid of its task's process; 0 where it is deferred.
        """
        if blow == STANDS_STILL:
            self._stand_still(runs)
            return
        self._old_sessions.add(self.stack.kill(blow))
        self.stack.start_component(blow)
        for run, pid in runs.items():
            run.go()
            if not pid:
                run.finish_platform()

    def _stand_still(self, runs: dict[BlownRun, int]) -> None:
        """Stop the triggerer until a second one has all its triggers; it goes on while everything there is still to be stopped.

        What is deferred meanwhile is the second one's from the beginning.
        """
        self.stack.start_component(SECOND)
        first = {run: owner for run in runs if (owner := run.triggerer()) is not None}
        self.stack.pause("triggerer")
        for run in runs:
            run.go()
        began = time.monotonic()
        while time.monotonic() < began + LAST_WORDS and any(pid and lives(pid) for pid in runs.values()):
            time.sleep(0.2)
        for run, owner in first.items():
            run.wait("another triggerer to take over", partial(run.is_taken_over, owner))
        self.stack.resume("triggerer")
        for run in first:
            run.wait("the first triggerer to let go", run.is_let_go)

    def sweep(self) -> None:
        """End what a blow has left once all runs are over: a second triggerer, workers of a killed scheduler that wait for ever."""
        if self.stack.runs(SECOND):
            self.stack.kill(SECOND)
        for process in self.stack.own_processes():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) in self._old_sessions:
                    process.kill()


def lane() -> str:
    """What a person adds to ``make`` to play on this Airflow."""
    from airflow_bulk.runs.record_copy import clears_discard

    return " LANE=next" if clears_discard() else ""


def side_by_side(work: Callable[[T], R], things: list[T], at_once: int) -> Iterator[R]:
    """Do all things, a few at a time, and give the results in order; a signal does not wait for those under way."""
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(work, things)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def stage(root: Path, dag_ids: list[str], at_once: int = AT_ONCE) -> Iterator[Stage]:
    """A whole Airflow of its own, on PostgreSQL where that can be had. A signal ends it as a normal end does.

    :param root: of the checkout.
    :param dag_ids: of the DAGs that are run.
    """
    from file_server import FileServer

    from airflow_stack import AirflowStack
    from postgres_server import NoPostgres, airflow_database, postgres

    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _end)
    dags = {"tests-crash": root / "tests" / "crash" / "dag_files"}
    settings: dict[str, Any] = {"PYTHONPATH": str(root / "tests" / "crash"), **SETTINGS}
    with contextlib.ExitStack() as entered:
        folder = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="airflow-bulk-crash-")))
        database = None
        try:
            server = entered.enter_context(postgres(folder / "postgres"))
            database = entered.enter_context(airflow_database(server))
        except NoPostgres as error:
            print(f"No PostgreSQL ({error}): on SQLite, which is slow.", file=sys.stderr)
        stack = entered.enter_context(
            # Beside those under way, new tries of tasks whose old try still lives.
            AirflowStack(
                folder / "airflow", dags, settings, parallelism=2 * at_once, database=database, restarts=1_000
            )
        )
        files = entered.enter_context(FileServer())
        runs = folder / "runs"
        runs.mkdir()
        on = Stage(stack, runs, files, at_once)
        entered.callback(on.close)
        on.open(dag_ids)
        yield on


def _end(number: int, frame: Any) -> None:
    for again in ENDS:
        signal.signal(again, signal.SIG_IGN)  # once is enough: cleaning up takes some seconds
    print("Stopping: Airflow, the platforms and the database are taken away.", file=sys.stderr, flush=True)
    sys.exit(128 + number)
