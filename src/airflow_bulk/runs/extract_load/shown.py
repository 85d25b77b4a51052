"""What the page shows of an extract/load group: one row, which the group's first task writes, with the graph of its jobs.

How far each job is follows from Airflow's own states and from what the tasks return.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from airflow_bulk.runs.shown import ShownRun
from airflow_bulk.shown import GROUP_KEY

#: Bytes of the graph; a larger one is told without its jobs, and the page lists the tasks.
LARGEST_GRAPH = 40_000


def group_shown(group_id: str, jobs: Sequence[tuple[str, str, Sequence[int]]]) -> Callable[[Any], None]:
    """Return the callback that tells the page of a group, before the group's first task executes.

    :param jobs: of each task: its logical name, its task id, and the places in this list of those that come before it.
    """
    row: dict[str, Any] = {"kind": "group", "name": group_id, "phase": "begun", "tasks": len(jobs)}
    if len(msgspec.json.encode(jobs)) <= LARGEST_GRAPH:
        row["jobs"] = [[node, task_id, list(before)] for node, task_id, before in jobs]

    def tell(context: Any) -> None:
        ShownRun(context["ti"], GROUP_KEY).tell({**row, "started": time.time()})

    return tell
