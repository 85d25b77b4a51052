"""An import of a pattern, several runs of which may be at work at once."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_bulk.operators.document_import import ImportDocumentsOperator

with DAG(
    "known_files",
    schedule=None,
    catchup=False,
    max_active_runs=5,
    params={"source": Param("", type="string")},
):
    ImportDocumentsOperator(
        task_id="load",
        document_type="USER_PROFILE",
        name="Known files of {{ run_id }}",
        source="{{ params.source }}",
        mediarithmics_conn_id="known_files",
        on_seen="skip",
        poll_interval=0.5,
    )
