"""A run of a crash test that loads into the Depot."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from story import Story

if TYPE_CHECKING:
    from airflow_stack import AirflowStack
    from depot_server import Depot

STATUSES = {"queued": "PENDING", "working": "RUNNING", "done": "SUCCEEDED", "cancelled": "CANCELED"}


class DepotStory(Story):
    """A run whose loads bear its own name.

    :param depot: the platform of this DAG's connection.
    """

    def __init__(self, stack: AirflowStack, dag_id: str, depot: Depot, run_id: str, folder: Path) -> None:
        super().__init__(stack, dag_id, run_id, folder)
        self.depot = depot
        self._name = f"{run_id} ["  # the marker follows

    def good_line(self, number: int, size: int) -> str:
        return json.dumps(
            {"sku": f"sku-{number}", "note": "x" * (size or 60 + number // 4)}, separators=(",", ":")
        )

    def bad_line(self) -> str:
        return '{"note":"no sku"}'

    def fault(self, name: str, what: str = "upload", *, times: int | None = 1, **params: Any) -> None:
        call = {"upload": "upload", "creation": "create"}[what]
        self.depot.fault(name, call, name=self._name, times=times, **params)

    def imports(self) -> list[dict[str, Any]]:
        return self.depot.loads(self._name)

    def executions(self) -> list[dict[str, Any]]:
        return [{"id": job["id"], "status": STATUSES[job["state"]]} for job in self.depot.jobs(self._name)]

    def calls(self) -> list[dict[str, Any]]:
        return self.depot.requests(self._name)

    def _calls(self, pattern: str) -> list[dict[str, Any]]:
        return [one for one in self.calls() if re.fullmatch(pattern, one["call"])]

    def uploads(self) -> list[dict[str, Any]]:
        return self._calls(r"POST /loads/\d+/jobs")

    def creations(self) -> list[dict[str, Any]]:
        return self._calls("POST /loads")

    def looks(self) -> list[dict[str, Any]]:
        return self._calls(r"GET /loads/\d+/jobs")

    def finish_pending(self) -> None:
        self.depot.finish(self._name)

    def held(self, import_id: str | None = None) -> Counter[str]:
        return self.depot.held(self._name, import_id or "")
