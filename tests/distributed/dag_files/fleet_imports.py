"""Imports from an object store, on a fleet: one, mapped over many, and one whose source lies on a single worker's disk."""

from __future__ import annotations

import itertools
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.document_import import ImportDocumentsOperator

PARAMS: dict[str, Any] = {
    "datamart_id": "",
    "source": "",
    "sources": [],
    "bad_lines": "",
    "max_part_bytes": "200000",
    "workers": "1",
}
SENDING = SendingOptions(
    max_part_bytes="{{ params.max_part_bytes }}",
    workers="{{ params.workers }}",
    # This file is read on the worker that runs the task: so it is that worker's own folder.
    spool_dir=tempfile.gettempdir(),
)
SHARED: dict[str, Any] = {
    "document_type": "USER_PROFILE",
    "name": "{{ run_id }}",
    "datamart_id": "{{ params.datamart_id }}",
    "max_failures": "5%",
    "sending": SENDING,
    "poll_interval": 1.0,
    "timeout": timedelta(minutes=30),
    "retries": 2,
    "retry_delay": timedelta(0),
}
LINE = '{"operation":"UPSERT","compartment_id":"4100","user_account_id":"one","user_profile":{}}\n'

for platform, deferrable in itertools.product(("quick", "waiting", "limited"), (False, True)):
    mode = "deferred" if deferrable else "sync"
    connection = {"mediarithmics_conn_id": f"fleet_{platform}", "deferrable": deferrable}
    with DAG(
        f"fleet_{platform}_{mode}", schedule=None, params=PARAMS, max_active_runs=20, tags=["test"]
    ) as dag:
        ImportDocumentsOperator(
            task_id="load",
            source="{{ params.source }}",
            rejects_path="{{ params.bad_lines }}",
            on_seen="skip",
            seen_as=f"fleet_{platform}_{mode}",
            **SHARED,
            **connection,
        )
    globals()[dag.dag_id] = dag

    with DAG(
        f"fleet_{platform}_{mode}_mapped", schedule=None, params=PARAMS, max_active_runs=20, tags=["test"]
    ) as dag:

        @task
        def list_sources(params: dict[str, Any]) -> list[str]:
            """What the import is mapped over."""
            return list(params["sources"])

        ImportDocumentsOperator.partial(task_id="load", **SHARED, **connection).expand(source=list_sources())
    globals()[dag.dag_id] = dag

with DAG("fleet_local_source", schedule=None, params=PARAMS, tags=["test"]):

    @task(queue="worker-1")
    def write() -> str:
        """Write a file where a task writes when it names no folder: on the disk of its worker."""
        Path("sales.ndjson").write_text(LINE)
        return "sales.ndjson"

    for worker in "worker-1", "worker-2":
        ImportDocumentsOperator(
            task_id=f"import_on_{worker.replace('-', '_')}",
            source=write() if worker == "worker-1" else "sales.ndjson",
            queue=worker,
            mediarithmics_conn_id="fleet_quick",
            **{**SHARED, "retries": 0},
        )
