"""DAGs that follow a batch's own cron, and one that runs it: for ``tests/dags/test_batches.py``."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator
from airflow_bulk.sensors.integration_batch import IntegrationBatchSensor
from airflow_bulk.triggers.integration_batch import IntegrationBatchEventTrigger

INSTANCE = os.environ.get("WATCHED_BATCH", "0")

scores = Asset(
    "customer_scores",
    watchers=[
        AssetWatcher(
            name="batch_runs", trigger=IntegrationBatchEventTrigger(instance_id=INSTANCE, poll_interval=1.0)
        )
    ],
)

with DAG("batch_watched", schedule=[scores]) as watched:

    @task
    def tell(triggering_asset_events: Any) -> list[str]:
        """Return the executions that started this run."""
        return [
            event.extra["payload"]["execution_id"]
            for events in triggering_asset_events.values()
            for event in events
        ]

    tell()

with DAG("batch_followed", schedule=None, params={"instance": INSTANCE, "seconds": 3600}) as followed:
    for name, how in {
        "poking": {"mode": "poke"},
        "rescheduling": {"mode": "reschedule"},
        "deferring": {"deferrable": True},
    }.items():
        IntegrationBatchSensor(
            task_id=name,
            instance_id="{{ params.instance }}",
            window="{{ params.seconds }}",
            poke_interval=1.0,
            timeout=240,
            retries=3,
            retry_delay=timedelta(seconds=1),
            **how,
        )

with DAG("batch_run", schedule=None, params={"instance": INSTANCE, "at": ""}) as run:
    for name, deferrable in {"on_a_worker": False, "deferred": True}.items():
        RunIntegrationBatchOperator(
            task_id=name,
            instance_id="{{ params.instance }}",
            expected_start_date="{{ params.at }}",
            poll_interval=1.0,
            settle=1.0,
            deferrable=deferrable,
            retries=2,
            retry_delay=timedelta(seconds=1),
        )
