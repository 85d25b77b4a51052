"""The states of all tasks that somebody waits for, in one question: a question for each would take an API server's whole time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_api import AirflowApi

#: Seconds between two questions.
PAUSE = 1.0


class TaskStates:
    """The state of each run's one task, as Airflow last told it.

    :param api: of the Airflow.
    """

    def __init__(self, api: AirflowApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._asked = 0.0
        self._runs: set[str] = set()
        self._tasks: dict[str, dict[str, Any]] = {}

    def of(self, run_id: str) -> str | None:
        """The state of a run's task, at most a second old; ``"none"`` where there is no task yet."""
        with self._lock:
            if run_id not in self._runs or time.monotonic() - self._asked > PAUSE:
                self._runs.add(run_id)
                body = {"dag_run_ids": sorted(self._runs), "page_limit": len(self._runs)}
                found = self._api.call("POST", "/dags/~/dagRuns/~/taskInstances/list", json=body)
                self._tasks = {one["dag_run_id"]: one for one in found["task_instances"]}
                self._asked = time.monotonic()
            return self._tasks.get(run_id, {"state": "none"})["state"]

    def expire(self) -> None:
        """Ask anew: something was changed."""
        with self._lock:
            self._asked = 0.0

    def forget(self, run_id: str) -> None:
        """Ask for this one no more."""
        with self._lock:
            self._runs.discard(run_id)
