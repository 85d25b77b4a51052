"""One try of an apply in a process of its own, forked as Airflow's supervisor forks a task's process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.operators.extract_load import ApplyOperator

TREE = LoadMapping(fields={"name": "Name", "parent_id": "Parent"}, references={"parent_id": "accounts"})


def run_try(number: int, connection: str, folder: str, extract: Any, snapshot: Any, at_once: int) -> None:
    """Execute the operator as its try *number*; what it returns is in ``result.json``."""
    os.environ["AIRFLOW_CONN_OWN"] = connection
    with DAG("d", schedule=None, max_active_runs=1):
        operator = ApplyOperator(
            task_id="apply",
            destination="own",
            object_name="accounts",
            mapping=TREE,
            staging=folder,
            extracts=[extract],
            snapshot=snapshot,
            deletions="all",
            settle=1.0,
            writes_at_once=at_once,
        )
    ids = {"dag_id": "d", "run_id": "r", "task_id": "apply", "map_index": -1}
    ti = SimpleNamespace(
        **ids,
        try_number=number,
        get_dr_count=lambda **_: 1,
        get_task_states=lambda **_: {"r": {"apply": "running"}},
    )
    store = SimpleNamespace(set=lambda key, value: None)
    run = SimpleNamespace(run_type="manual")
    result = operator.execute({"ti": ti, "dag_run": run, "task_state_store": store})  # type: ignore[arg-type]
    (Path(folder) / "result.json").write_text(json.dumps(result))
