"""A batch whose task a test kills. The URL comes with the run."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator

for deferrable in (False, True):
    with DAG(
        f"centrapay_crash_{'deferred' if deferrable else 'worker'}",
        schedule=None,
        params={"url": Param("", type="string")},
        default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    ):
        CentrapayBatchOperator(
            task_id="load",
            type="farmlands-external-asset",
            url="{{ params.url }}",
            centrapay_conn_id="centrapay_crash",
            poll_interval=0.5,
            deferrable=deferrable,
        )
