"""DAGs for ``make crash`` and ``make chaos``: an import whose writes are counted, and may stop it."""

from __future__ import annotations

import counted_writes
import stopping
from airflow.sdk import DAG

from airflow_bulk.operators.document_import import ImportDocumentsOperator


class CountedImport(counted_writes.Counting, ImportDocumentsOperator):
    """An import of files of any kind."""


PARAMS = {**stopping.PARAMS, "datamart_id": "", "source": "lines.ndjson", "stop": "before 0"}

for mode in "sync", "deferred":
    with DAG(f"blown_{mode}", schedule=None, params=PARAMS, max_active_runs=50, tags=["test"]) as dag:
        CountedImport(
            task_id="load",
            document_type="USER_PROFILE",
            name="{{ run_id }}",
            source="{{ params.folder }}/{{ params.source }}",
            datamart_id="{{ params.datamart_id }}",
            mediarithmics_conn_id=f"blown_{mode}",
            deferrable=mode == "deferred",
            poll_interval=1.0,
            **stopping.ARGUMENTS,
        )
    globals()[dag.dag_id] = dag
