"""One run of a crash test: what it sends, how it is stopped and killed, and what the platform holds in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import string
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_api import AirflowApiError

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

#: Seconds that anything here may take.
PATIENCE = 150.0
PART_STATES = ("checked", "intent", "commit", "sent")
#: Two writing requests at once make an API server on SQLite wait for itself until the lock's timeout.
ONE_WRITER = threading.Lock()
#: Begins every secret and every person's name here, so that one that got out is found. Letters alone: digits
#: are left out of messages anyway.
CANARY = "canary" + "".join(random.choices(string.ascii_lowercase, k=8))
PERSON = f"{CANARY}-person"


def profile(number: int, size: int = 0) -> str:
    """A good USER_PROFILE line; lengths differ, so that parts of about equal size have different line counts."""
    line = {
        "operation": "UPSERT",
        "compartment_id": "4100",
        "user_account_id": f"{PERSON}-{number}",
        "user_profile": {"note": "x" * (size or number // 4)},
    }
    return json.dumps(line, separators=(",", ":"))


class Story:
    """A run on a datamart of its own: nothing that other runs do is seen here, and no fault here strikes them.

    :param dag_id: one of ``dag_files``.
    :param emulator: the platform of this DAG's connection.
    :param folder: the run's own folder.
    """

    def __init__(
        self, stack: AirflowStack, dag_id: str, emulator: Emulator, datamart: str, folder: Path
    ) -> None:
        self.stack, self.api, self.emulator = stack, stack.api, emulator
        self.dag_id, self.datamart, self.folder = dag_id, datamart, folder
        self.run_id = ""
        self.lines: list[str] = []

    # Before the run.

    def write(self, count: int = 600, *, size: int = 0, name: str = "lines.ndjson") -> None:
        """Write the source: so many good lines."""
        first = len(self.lines) + 1
        lines = [profile(number, size) for number in range(first, first + count)]
        (self.folder / name).write_text("\n".join(lines) + "\n")
        self.lines += lines

    def fault(self, name: str, what: str = "executions", **params: Any) -> None:
        """Ask for a fault of this run's uploads (``executions``) or of its imports' creation."""
        path = f"/datamarts/{self.datamart}/document_imports"
        path += r"$" if what == "document_imports" else r"/\d+/executions$"
        self.emulator.fault(name, path=path, method="POST", **{"times": 1, **params})

    def begin(self, **params: Any) -> None:
        """Trigger the run."""
        conf = {"folder": str(self.folder), "datamart_id": self.datamart, **params}
        with ONE_WRITER:
            self.run_id = self.api.trigger(self.dag_id, f"story-{self.datamart}", conf)

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
        return self.api.task(self.dag_id, self.run_id, "load", **options)

    def wait_for(self, *states: str, try_number: int = 0) -> dict[str, Any]:
        """Wait until the task is in one of these states, in this try or a later one."""
        return self.api.wait_for_task(
            self.dag_id, self.run_id, "load", states, try_number=try_number, timeout=PATIENCE
        )

    def deferred(self) -> None:
        """Wait until the task is deferred and its trigger has looked at the platform.

        Nobody hears of a stop before the triggerer has the trigger, and a triggerer's first look at a connection
        takes seconds.
        """
        self.wait_for("deferred")
        before = len(self.looks())
        self.wait("the trigger to look", lambda: len(self.looks()) > before)

    def looks(self) -> list[dict[str, Any]]:
        """The calls that list this run's executions."""
        path = f"/datamarts/{self.datamart}/document_imports/"
        return [
            one
            for one in self.emulator.requests()
            if one["method"] == "GET" and path in one["path"] and one["path"].endswith("/executions")
        ]

    def going_again(self) -> None:
        """Wait until the task runs or is deferred; clear it if it has used up its tries, or its run is over without it."""

        def look() -> bool:
            state = self.task()["state"]
            if state == "failed" or self.api.run(self.dag_id, self.run_id)["state"] == "failed":
                self.clear()
            return state in ("running", "deferred", "success")

        self.wait("the task to run", look)

    def clear(self) -> None:
        """Clear the task."""
        with ONE_WRITER:
            self.api.clear(self.dag_id, self.run_id, "load")

    def mark_failed(self) -> None:
        """Mark the task failed."""
        with ONE_WRITER:
            self.api.set_task_state(self.dag_id, self.run_id, "load", "failed")

    def state(self) -> dict[str, Any]:
        """The task's store."""
        return self.api.task_state(self.dag_id, self.run_id, "load")

    def parts(self) -> list[str]:
        """The recorded state of each part, in the present generation."""
        state = self.state()
        generation = state.get("generation", {"number": 1})["number"]
        rows = state.get(f"g{generation}.parts.0", [])
        return [next(cell for cell in row if cell in PART_STATES) for row in rows]

    def log(self) -> str:
        """The logs of all tries."""
        tries = range(1, self.task()["try_number"] + 1)
        logs = [f"--- try {n}\n{self.api.log(self.dag_id, self.run_id, 'load', try_number=n)}" for n in tries]
        return "\n".join(logs)

    def give_up(self) -> None:
        """Leave nothing that runs: others need its slot."""
        self.go()
        if self.run_id:
            with ONE_WRITER, contextlib.suppress(AirflowApiError):
                self.api.set_run_state(self.dag_id, self.run_id, "failed")

    # The platform's side.

    def imports(self) -> list[dict[str, Any]]:
        """This run's imports, oldest first."""
        return [one for one in self.emulator.imports() if str(one["datamart_id"]) == self.datamart]

    def executions(self) -> list[dict[str, Any]]:
        """All executions of this run's imports, oldest first."""
        return [one for each in self.imports() for one in self.emulator.executions(each["id"])]

    def statuses(self) -> Counter[str]:
        """How many executions are in which status."""
        return Counter(one["status"] for one in self.executions())

    def uploads(self) -> list[dict[str, Any]]:
        """The uploads that reached the platform, whole or cut, oldest first."""
        path = f"/datamarts/{self.datamart}/document_imports/"
        return [
            one
            for one in self.emulator.requests()
            if one["method"] == "POST" and path in one["path"] and one["path"].endswith("/executions")
        ]

    def creations(self) -> list[dict[str, Any]]:
        """The calls that create an import."""
        path = f"/datamarts/{self.datamart}/document_imports"
        return [
            one for one in self.emulator.requests() if one["method"] == "POST" and one["path"].endswith(path)
        ]

    def finish_executions(self) -> None:
        """Let the platform run what is PENDING, to its end; only once the task has nothing more to send."""
        if self.statuses()["PENDING"] and set(self.parts()) == {"sent"}:
            for one in self.executions():
                if one["status"] == "PENDING":
                    self.emulator.change_execution(one["id"], start=True, end=True)

    def held(self) -> Counter[str]:
        """The lines that the platform holds of this run, and how often each."""
        held: Counter[str] = Counter()
        for one in self.imports():
            held += self.emulator.held(one["id"])
        return held

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
        state = self.wait(f"run {self.run_id} of {self.dag_id} on datamart {self.datamart} to end", look)
        assert state == expected, f"{self.api.states(self.dag_id, self.run_id)}\n{self.log()}"
        return self.api.xcom(self.dag_id, self.run_id, "load") or {}

    def never_scheduled(self) -> bool:
        """Whether the run is over with a task that Airflow has not scheduled since it was cleared."""
        return any(ti["state"] is None for ti in self.api.tasks(self.dag_id, self.run_id))

    def search(self, text: str) -> list[str]:
        """Where a text stands in what Airflow and the platform have written: files, the database's cells, calls."""
        wanted = text.encode()
        files = [path for path in self.stack.home.rglob("*") if path.is_file()]
        logs = [self.emulator.state / "server.log"]
        found = [str(path) for path in files + logs if wanted in path.read_bytes()]
        with contextlib.closing(
            sqlite3.connect(f"file:{self.stack.home}/airflow.db?mode=ro", uri=True)
        ) as db:
            # A long value may be cut in pieces over the file's pages, so every cell is looked at as well.
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                rows = db.execute(f'SELECT * FROM "{table}"')
                found += [f"table {table}" for row in rows if any(text in str(cell) for cell in row)]
        return found + [f"call {one}" for one in self.emulator.requests() if text in json.dumps(one)]

    def each_line_once(self, times: int = 1) -> None:
        """Every line is held exactly once, and nothing is left to run."""
        held, wanted = self.held(), Counter(dict.fromkeys(self.lines, times))
        assert held == wanted, (
            f"{(wanted - held).total()} lines are missing, {(held - wanted).total()} too many; "
            f"executions {self.statuses()}\n{self.log()}"
        )
        assert set(self.statuses()) <= {"SUCCEEDED", "CANCELED"}

    def ends_well(self) -> dict[str, Any]:
        """The run succeeds, the sum closes, each line is held once."""
        result = self.ends()
        self.each_line_once()
        assert result["lines_read"] == result["lines_accepted"] == len(self.lines)
        assert len(self.imports()) == 1
        assert result["import_id"] == self.imports()[0]["id"]
        assert len(result["execution_ids"]) == result["parts"] == self.statuses()["SUCCEEDED"]
        return result
