"""A run that is blown at: what every kind of run shares.

Each run has a platform of its own, so everything there is this run's.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import httpx
from task_run import PATIENCE, TaskRun, lives

from airflow_api import AirflowApiError
from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator

if TYPE_CHECKING:
    from file_server import FileServer
    from task_states import TaskStates

    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

#: What runs on a platform is over once so many of its seconds have passed; what is deferred waits for that.
LONG = 3600.0
#: How often a person clears a task that has used up its tries.
CLEARS = 3
#: Seconds after which it is asked whether a run has ended without its task.
UNSCHEDULED = 20.0


class Slot(NamedTuple):
    """A platform that one run has for itself, behind connections that bear its number.

    :param number: of the connections.
    :param emulator: the platform.
    :param files: serves what Centrapay fetches.
    :param states: of all tasks that somebody waits for.
    """

    number: int
    emulator: Emulator
    files: FileServer
    states: TaskStates


class Left(NamedTuple):
    """What is wrong on the platform: lines of an import, records of an apply, assets of Centrapay, or whole runs."""

    lost: int
    doubled: int
    leaked: int


class BlownRun(TaskRun):
    """A run of one kind, in a slot of its own.

    :param mode: ``sync`` or ``deferred``; what runs on the platform is over at once, or once the task is deferred.
    """

    kind: ClassVar[str]
    modes: ClassVar[tuple[str, ...]] = ("sync", "deferred")

    def __init__(self, stack: AirflowStack, mode: str, slot: Slot, folder: Path) -> None:
        TaskRun.__init__(self, stack, f"blown_{self.kind}_{mode}", f"{self.kind}-{folder.name}", folder)
        self._take(mode, slot)

    def _take(self, mode: str, slot: Slot) -> None:
        self.mode, self.slot, self.emulator = mode, slot, slot.emulator
        self.acts: list[str] = []
        self._seen = time.monotonic()
        self.emulator.reset()
        waits = mode == "deferred"
        self.emulator.settings(start_delay=LONG if waits else 0.0, run_seconds=0.0)
        CentrapayEmulator(self.emulator).settings(step_seconds=LONG if waits else 0.0)

    def wait(self, what: str, look: Any, timeout: float = 2 * PATIENCE) -> Any:
        """Ask ``look`` until it answers something true; if it does not, say how the task stands."""
        try:
            return super().wait(what, look, timeout)
        except AirflowApiError as error:
            states = self.api.states(self.dag_id, self.run_id)
            raise AssertionError(f"{error}; {states}; {self.last_error()}") from error

    def conf(self) -> dict[str, Any]:
        return {"slot": str(self.slot.number), **self.needs()}

    @abstractmethod
    def needs(self) -> dict[str, Any]:
        """Make on the platform what the run needs; return what the DAG has to know of it."""

    @abstractmethod
    def left(self) -> Left:
        """What is wrong on the platform, now that all is over."""

    @abstractmethod
    def finish_platform(self) -> None:
        """Let the platform run to its end what it has taken."""

    def decide(self) -> None:
        """What a person does with a task that failed."""
        self.acts.append("cleared")
        self.clear()

    def clear(self) -> None:
        super().clear()
        # A success from before the clear is none.
        self.slot.states.expire()

    def state_now(self) -> str | None:
        """The task's state, at most a second old."""
        return self.slot.states.of(self.run_id)

    def over(self) -> bool:
        """Whether the task is over; what it waits for ends once it is deferred, and a person decides what has failed."""
        state = self.state_now()
        if state is not None:
            self._seen = time.monotonic()
        if state == "deferred":
            self.finish_platform()
        elif state == "failed" or (state is None and self._ended_without_it()):
            if len(self.acts) >= CLEARS:
                raise AssertionError(f"failed for good after {', '.join(self.acts)}: {self.last_error()}")
            self.decide()
            self.slot.states.expire()
        return state == "success"

    def writes_no_more(self) -> bool:
        """Whether the task is over and its process has ended: the success callback writes after the success."""
        return self.over() and not lives(self.task()["pid"] or 0)

    def _ended_without_it(self) -> bool:
        """Airflow's own race: the run's end, computed before a clear, is written after it."""
        if time.monotonic() - self._seen < UNSCHEDULED:
            return False
        self._seen = time.monotonic()
        return self.api.run(self.dag_id, self.run_id)["state"] in ("success", "failed")

    def canceled(self) -> int:
        """How much was cancelled on the platform, where it can be."""
        return 0

    def triggerer(self) -> int | None:
        """The triggerer that waits for this run now."""
        job = self.task()["triggerer_job"]
        return job and int(job["id"])

    def is_taken_over(self, first: int) -> bool:
        """Whether another triggerer than the first one waits for this run."""
        return self.triggerer() not in (None, first)

    def successes(self) -> int:
        """How many of the task's tries ended as a success for Airflow."""
        tries = self.api.tries(self.dag_id, self.run_id, "load")
        return sum(one["state"] == "success" for one in tries)

    def last_error(self) -> str:
        """The last line of the last try's log that tells an error."""
        lines = [line for line in self.log().splitlines() if "rror" in line or "xception" in line]
        return lines[-1][:300] if lines else ""

    def _call(self, method: str, path: str, scheme: str = "", **options: Any) -> Any:
        answer = httpx.request(
            method,
            self.emulator.url + path,
            headers={"Authorization": f"{scheme}{self.emulator.token}"},
            trust_env=False,
            **options,
        )
        answer.raise_for_status()
        return answer.json()


def in_short(error: Exception) -> str:
    """An error in a line: how it begins, and how it ends, where a component's log tells why."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) < 600 else f'{text[:150]} [...] {text[-400:]}'}"


def clock_offset(emulator: Emulator) -> float:
    """Seconds by which a platform's clock is ahead of ours, since a test moved it."""
    return round(emulator.clock.now() / 1000 - time.time())
