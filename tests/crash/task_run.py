"""One run of a DAG in a crash test: begun, stopped at a write, killed, cleared, and looked at."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_api import AirflowApiError

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

#: Seconds that anything here may take: four tries, each of which loads OpenLineage, on a busy machine.
PATIENCE = 240.0
TRY_ENDS = ("success", "failed")
#: Two writing requests at once make an API server on SQLite wait for itself until the lock's timeout.
ONE_WRITER = threading.Lock()


class TaskRun:
    """A run whose task ``load`` is what the test is about.

    :param dag_id: one of ``dag_files``.
    :param run_id: tells it from all others.
    :param folder: the run's own folder.
    :ivar task_id: the task that the test is about.
    """

    task_id = "load"

    def __init__(self, stack: AirflowStack, dag_id: str, run_id: str, folder: Path) -> None:
        self.stack, self.api = stack, stack.api
        self.dag_id, self.run_id, self.folder = dag_id, run_id, folder

    def conf(self) -> dict[str, Any]:
        """What the DAG has to know of the platform."""
        return {}

    def begin(self, **params: Any) -> None:
        """Trigger the run."""
        conf = {"folder": str(self.folder), **self.conf(), **params}
        with ONE_WRITER:
            self.api.trigger(self.dag_id, self.run_id, conf)

    # While it runs.

    def wait(self, what: str, look: Any, timeout: float = PATIENCE) -> Any:
        """Ask ``look`` until it answers something true."""
        return self.api.wait_for(what, lambda: look() or None, timeout, pause=0.4)

    def stopped(self) -> int:
        """Wait until the task stands at its ``stop``; return its pid."""
        path = self.folder / "stopped"
        try:
            self.wait("the task to stop", path.exists)
        except AirflowApiError as error:
            states = self.api.states(self.dag_id, self.run_id)
            raise AssertionError(f"{error}: {states}\n{self.log()}") from error
        return int(path.read_text())

    def go(self) -> None:
        """Let the stopped task go on."""
        (self.folder / "go").touch()

    def kill(self, pid: int) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        os.kill(pid, signal.SIGKILL)

    def supervisor(self, pid: int) -> int:
        """The supervisor of a task's process."""
        return psutil.Process(pid).ppid()

    def task(self, **options: Any) -> dict[str, Any]:
        """The task as it stands."""
        return self.api.task(self.dag_id, self.run_id, self.task_id, **options)

    def wait_for(self, *states: str, try_number: int = 0) -> dict[str, Any]:
        """Wait until the task is in one of these states, in this try or a later one."""
        return self.api.wait_for_task(
            self.dag_id, self.run_id, self.task_id, states, try_number=try_number, timeout=PATIENCE
        )

    def going_again(self) -> None:
        """Wait until the task runs or is deferred; clear it if it has used up its tries, or its run is over without it."""

        def look() -> bool:
            state = self.task()["state"]
            if state == "failed" or self.api.run(self.dag_id, self.run_id)["state"] == "failed":
                self.clear()
            return state in ("running", "deferred", "success")

        self.wait("the task to run", look)

    def clear(self) -> None:
        """Clear the task.

        A scheduler may try it again in the very moment: the API refuses the clear then, and a person clears once more.
        """
        for left in range(5, -1, -1):
            try:
                with ONE_WRITER:
                    self.api.clear(self.dag_id, self.run_id, self.task_id)
                return
            except AirflowApiError as error:
                if not left or "Unique constraint violation" not in str(error):
                    raise
            time.sleep(0.5)

    def mark_failed(self) -> None:
        """Mark the task failed."""
        self._mark("failed")

    def mark_success(self) -> None:
        """Mark the task a success."""
        self._mark("success")

    def _mark(self, state: str) -> None:
        with ONE_WRITER:
            self.api.set_task_state(self.dag_id, self.run_id, self.task_id, state)

    def state(self) -> dict[str, Any]:
        """The task's store."""
        return self.api.task_state(self.dag_id, self.run_id, self.task_id)

    def known_success(self) -> None:
        """Wait until the record says that Airflow knows of the success: a callback writes that afterwards."""

        def known() -> bool:
            state = self.state()
            generation = state.get("generation", {"number": 1})["number"]
            return bool(state[f"g{generation}.end"]["known"])

        self.wait("the success to be recorded as known", known)

    def clear_success(self) -> None:
        """Clear the task once its success is known."""
        self.known_success()
        self.clear()

    def log(self) -> str:
        """The logs of all tries."""
        tries = range(1, self.task()["try_number"] + 1)
        return "\n".join(f"--- try {n}\n{self.log_of(n)}" for n in tries)

    def log_of(self, try_number: int) -> str:
        """The log of one try."""
        return self.api.log(self.dag_id, self.run_id, self.task_id, try_number=try_number)

    def is_let_go(self, *, map_index: int = -1) -> bool:
        """Whether a triggerer is done with a trigger that it has lost: it asked (3.3), or was told (3.4), that nobody stopped the task."""
        log = self.api.log(self.dag_id, self.run_id, self.task_id, map_index=map_index)
        return "is stopped: the task is still deferred" in log or "dropping it without on_kill" in log

    def old_trigger_is_over(self) -> bool:
        """Whether the trigger of the first try, whose task was cleared, has asked whether it is to cancel anything."""
        return "is stopped: the task is" in self.log_of(1)

    def never_scheduled(self) -> bool:
        """Whether the run is over with a task that Airflow has not scheduled since it was cleared."""
        return any(ti["state"] is None for ti in self.api.tasks(self.dag_id, self.run_id))

    # A try after the other.

    def go_on(self) -> None:
        """Let the platform do what it does while a test waits; called at every look."""

    def tried(self, expected: str = "success", *, try_number: int = 1) -> dict[str, Any]:
        """Wait until this try and the run are over; return the task's result.

        :param expected: how the try ends: ``success`` or ``failed``.
        """

        def look() -> dict[str, Any] | None:
            self.go_on()
            found = self.task()
            return found if found["state"] in TRY_ENDS and found["try_number"] >= try_number else None

        found = self.wait(f"try {try_number} of {self.dag_id} {self.run_id} to end", look)
        assert (found["state"], found["try_number"]) == (expected, try_number), self.log()
        assert self.api.wait_for_run(self.dag_id, self.run_id) == expected
        return self.api.xcom(self.dag_id, self.run_id, self.task_id) or {}

    def choose(self, name: str, value: str) -> None:
        """Set what this run's task reads from an Airflow variable when it runs: a person changes it before a clear."""
        with ONE_WRITER:
            self.api.set_variable(f"{self.run_id}-{name}", value)


def lives(pid: int) -> bool:
    """Whether a process still does something; one that nobody has reaped yet does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False
