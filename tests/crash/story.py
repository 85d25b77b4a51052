"""One run of a crash test: what it sends, how it is stopped and killed, and what the platform holds in the end.

The scenarios speak of an import and of executions that are ``PENDING``, ``SUCCEEDED`` or ``CANCELED``, whichever the
platform; a subclass of :class:`Story` says what these are there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from task_run import TaskRun

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

PART_STATES = ("checked", "intent", "commit", "sent")


class Story(TaskRun, ABC):
    """A run whose import nobody else sees: nothing that other runs do is seen here, and no fault here strikes them.

    :param dag_id: one of ``dag_files``.
    :param run_id: tells it from all others.
    :param folder: the run's own folder.
    """

    def __init__(self, stack: AirflowStack, dag_id: str, run_id: str, folder: Path) -> None:
        super().__init__(stack, dag_id, run_id, folder)
        self.lines: list[str] = []

    # What differs by platform.

    @abstractmethod
    def good_line(self, number: int, size: int) -> str:
        """A line that the platform takes.

        :param number: no other line of the run has it; lengths differ with it, so that parts of about equal size have
            different line counts.
        :param size: bytes that it has at least; 0 for a short one.
        """

    @abstractmethod
    def bad_line(self) -> str:
        """A line that the platform refuses."""

    @abstractmethod
    def fault(self, name: str, what: str = "upload", *, times: int | None = 1, **params: Any) -> None:
        """Ask for a fault of this run's uploads (``upload``) or of its import's creation (``creation``).

        :param name: ``slow`` (``answer_delay``, ``bytes_per_second``) or ``late`` (``seconds``).
        """

    @abstractmethod
    def imports(self) -> list[dict[str, Any]]:
        """This run's imports, oldest first, each with its ``id``."""

    @abstractmethod
    def executions(self) -> list[dict[str, Any]]:
        """All executions of this run's imports, oldest first, each with ``id`` and ``status``."""

    @abstractmethod
    def calls(self) -> list[dict[str, Any]]:
        """All calls about this run's imports, oldest first.

        Each has ``status``, ``body_bytes``, ``done``, ``faults`` and ``cut`` (``"client"`` where that went away).
        """

    @abstractmethod
    def uploads(self) -> list[dict[str, Any]]:
        """The uploads among the calls, whole or cut."""

    @abstractmethod
    def creations(self) -> list[dict[str, Any]]:
        """Those among the calls that create an import."""

    @abstractmethod
    def looks(self) -> list[dict[str, Any]]:
        """Those that list this run's executions."""

    @abstractmethod
    def finish_pending(self) -> None:
        """Let the platform run what is PENDING, to its end."""

    @abstractmethod
    def held(self, import_id: str | None = None) -> Counter[str]:
        """The lines that the platform holds of this run, and how often each.

        :param import_id: those of this import alone.
        """

    # Before the run.

    def write(self, count: int = 600, *, size: int = 0, name: str = "lines.ndjson") -> None:
        """Write the source: so many good lines."""
        first = len(self.lines) + 1
        lines = [self.good_line(number, size) for number in range(first, first + count)]
        (self.folder / name).write_text("\n".join(lines) + "\n")
        self.lines += lines

    # While it runs.

    def deferred(self) -> None:
        """Wait until the task is deferred and its trigger has looked at the platform.

        Nobody hears of a stop before the triggerer has the trigger, and a triggerer's first look at a connection
        takes seconds.
        """
        self.wait_for("deferred")
        before = len(self.looks())
        self.wait("the trigger to look", lambda: len(self.looks()) > before)

    def parts(self) -> list[str]:
        """The recorded state of each part, in the present generation."""
        state = self.state()
        generation = state.get("generation", {"number": 1})["number"]
        rows = state.get(f"g{generation}.parts.0", [])
        return [next(cell for cell in row if cell in PART_STATES) for row in rows]

    # The platform's side.

    def statuses(self) -> Counter[str]:
        """How many executions are in which status."""
        return Counter(one["status"] for one in self.executions())

    def finish_executions(self) -> None:
        """Let the platform run what is PENDING, to its end; only once the task has nothing more to send."""
        if self.statuses()["PENDING"] and set(self.parts()) == {"sent"}:
            self.finish_pending()

    # The end.

    def ends(self, expected: str = "success") -> dict[str, Any]:
        """Wait for the run's end, running on the platform what it waits for; return the task's result."""

        def look() -> str | None:
            self.finish_executions()
            state = self.api.run(self.dag_id, self.run_id)["state"]
            if state == "failed" and expected == "success" and self.never_scheduled() and not again:
                # Airflow's own race: the run's end, computed before a clear, is written after it.
                again.append(True)
                self.clear()
                return None
            return state if state in ("success", "failed") else None

        again: list[bool] = []
        state = self.wait(f"run {self.run_id} of {self.dag_id} to end", look)
        assert state == expected, f"{self.api.states(self.dag_id, self.run_id)}\n{self.log()}"
        return self.api.xcom(self.dag_id, self.run_id, "load") or {}

    def each_line_once(self, times: int = 1) -> None:
        """Every line is held exactly once, and nothing is left to run."""
        held, wanted = self.held(), Counter(dict.fromkeys(self.lines, times))
        assert held == wanted, (
            f"{(wanted - held).total()} lines are missing, {(held - wanted).total()} too many; "
            f"executions {self.statuses()}\n{self.log()}"
        )
        assert set(self.statuses()) <= {"SUCCEEDED", "CANCELED"}

    def cuts(self) -> list[str | None]:
        """Who cut each upload, once all are over: a platform that reads slowly learns of a cut behind what it still holds."""
        self.wait("all uploads to be over", lambda: all(one["done"] for one in self.uploads()))
        return [one["cut"] for one in self.uploads()]

    def ends_well(self) -> dict[str, Any]:
        """The run succeeds, the sum closes, each line is held once."""
        result = self.ends()
        self.each_line_once()
        assert result["lines_read"] == result["lines_accepted"] == len(self.lines)
        assert len(self.imports()) == 1
        assert result["import_id"] == self.imports()[0]["id"]
        assert len(result["execution_ids"]) == result["parts"] == self.statuses()["SUCCEEDED"]
        return result
