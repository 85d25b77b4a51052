"""DAGs whose events, notifications and lineage ``test_told.py`` reads."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AsyncCallback,
    Context,
    DeadlineAlert,
    DeadlineReference,
    Param,
)

from airflow_bulk.notifications.summary import BulkSummaryNotifier
from airflow_bulk.operators.document_import import ImportDocumentsOperator

POST = {"http_conn_id": "ops_webhook"}


def keeps_its_own(context: Context) -> None:
    """What an author's own hook does."""
    context["outlet_events"][Asset("told_workers")].extra.update(lines_read="mine", cycle=7)


late = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(seconds=15),
    callback=AsyncCallback(
        BulkSummaryNotifier,
        {
            **POST,
            "endpoint": "late",
            "task_ids": ["load"],
            "payload": {
                "run": "{{ dag_run.dag_run_id }}",
                "said": "{{ bulk[0].lines_read }} lines of {{ bulk[0].name }}, waiting: {{ bulk[0].phase == 'submitted' }}",
            },
        },
    ),
)

for name, deferrable in (("told_workers", False), ("told_deferred", True)):
    with DAG(
        name,
        schedule=None,
        params={"source": Param("", type="string")},
        deadline=late if deferrable else None,
        on_success_callback=BulkSummaryNotifier(**POST, endpoint="dag"),
        on_failure_callback=BulkSummaryNotifier(**POST, endpoint="dag"),
    ):
        ImportDocumentsOperator(
            task_id="load",
            document_type="USER_PROFILE",
            name="told",
            source="{{ params.source }}",
            max_failures="10%",
            rejects_path="{{ params.source }}.rejects",
            poll_interval=0.5,
            deferrable=deferrable,
            outlets=[Asset(name), AssetAlias(f"{name}_alias")],
            pre_execute=None if deferrable else keeps_its_own,
            on_success_callback=BulkSummaryNotifier(
                **POST,
                endpoint="{{ ti.task_id }}/good",
                message="{{ bulk[0].lines_accepted }} of {{ bulk[0].lines_read }}; {{ macros.bulk.summary(ti) }}",
            ),
            on_failure_callback=BulkSummaryNotifier(**POST, endpoint="{{ ti.task_id }}/bad"),
        )
