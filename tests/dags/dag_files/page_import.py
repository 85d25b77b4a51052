"""A deferred import of which the page's tests watch every step."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions

with DAG("page_import", schedule=None, catchup=False, params={"source": Param("", type="string")}):
    ImportDocumentsOperator(
        task_id="load",
        document_type="USER_PROFILE",
        name="Customers on the page",
        source="{{ params.source }}",
        mediarithmics_conn_id="page_import",
        max_failures="10%",
        sending=SendingOptions(max_part_bytes=20_000),
        poll_interval=1.0,
        timeout=timedelta(minutes=10),
        deferrable=True,
    )
