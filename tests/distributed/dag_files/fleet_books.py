"""A batch of extracts and loads on a fleet: what one worker has read another one applies, over a staging folder in a store."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_bulk.extract_load import load_definition
from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup

WORKERS = ("worker-1", "worker-2")

with DAG(
    "fleet_books",
    schedule=None,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(0)},
    params={"staging": ""},
    tags=["test"],
) as dag:
    ExtractLoadTaskGroup(
        "books",
        definition=load_definition("fleet_books.yaml"),
        source="fleet_source",
        destination="fleet_warehouse",
        staging="{{ params.staging }}/{{ run_id }}",
        deletions="off",
    )

# An apply runs where its snapshot did not, and every second apply on the other worker.
for kind, first in ("snapshot", 0), ("apply", 1):
    names = sorted(name for name in dag.task_dict if f".{kind}_" in name)
    for number, name in enumerate(names):
        dag.task_dict[name].queue = WORKERS[(number + first) % 2]
