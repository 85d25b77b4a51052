"""Several runs of a nightly import over one folder, without a scheduler: what Airflow keeps across runs is here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from one_task import AssetState, Task, importing, profile

from airflow_bulk.runs.seen.ledger import files_asset


class Folder:
    """The export's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self._numbers = iter(range(10**6))
        self.lines: dict[str, list[str]] = {}

    def add(self, name: str, count: int = 5) -> list[str]:
        """Write a file of new profiles, or write it anew."""
        self.lines[name] = [profile(next(self._numbers)) for _ in range(count)]
        (self.path / name).write_text("\n".join(self.lines[name]) + "\n")
        return self.lines[name]

    def touch(self, name: str) -> None:
        state = (self.path / name).stat()
        os.utime(self.path / name, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


class Airflow:
    """What all runs share: the state of assets, and the states of task instances.

    :param clears_discard: a clear deletes the task's state.
    """

    def __init__(self, *, clears_discard: bool) -> None:
        self.clears_discard = clears_discard
        self.files = AssetState()
        self.tasks: list[Night] = []

    def days_pass(self, days: float) -> None:
        """What is known of files gets older."""
        for key, rows in self.files.values.items():
            if ".names." in key:
                older = [[name, found - days * 24 * 3600] for name, found in json.loads(rows)]
                self.files.values[key] = json.dumps(older)

    def run_of(self, folder: Folder, **more: Any) -> Night:
        task_id = more.pop("task_id", "t")
        make = importing(
            str(folder.path / "*.ndjson"), **{"on_seen": "skip", "name": "Profiles of {{ run_id }}", **more}
        )
        night = Night(self, make, task_id)
        self.tasks.append(night)
        return night

    def states(
        self,
        dag_id: str,
        task_ids: list[str] | None = None,
        run_ids: list[str] | None = None,
        map_index: int | None = None,
    ) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for one in self.tasks:
            if (task_ids is None or one.task_id in task_ids) and (run_ids is None or one.run_id in run_ids):
                found.setdefault(one.run_id, {})[one.task_id] = one.state
        return found


class Night(Task):
    """The task of one run."""

    def __init__(self, airflow: Airflow, make: Callable[[], Any], task_id: str) -> None:
        super().__init__(make, clears_discard=airflow.clears_discard)
        self.airflow, self.task_id = airflow, task_id
        self.state = "scheduled"
        #: What this task sees of the asset's state, where that is not the state itself.
        self.files: Any = None

    def context(self, **params: Any) -> dict[str, Any]:
        context = super().context(**params)
        context.setdefault("asset_state_store", {})
        context["asset_state_store"][files_asset()] = self.files or self.airflow.files
        ti = context["ti"]
        ti.task = SimpleNamespace(on_success_callback=[], dag=SimpleNamespace(task_ids=[self.task_id]))
        ti.get_task_states = self.airflow.states
        return context

    def run(self, **params: Any) -> Any:
        try:
            return super().run(**params)
        except BaseException:
            self.state = "up_for_retry" if self.try_number <= self.max_tries else "failed"
            raise

    def clear(self) -> None:
        super().clear()
        self.state = "scheduled"
