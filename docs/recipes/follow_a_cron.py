"""Wait for a batch that runs by its own cron, or be started by it."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_bulk.sensors.integration_batch import IntegrationBatchSensor
from airflow_bulk.triggers.integration_batch import (
    IntegrationBatchEventTrigger,
)

INSTANCE = "8801"


@task
def report(triggering_asset_events: Any = None) -> None:
    """Use the scores."""


# The batch runs at 03:00 UTC.
# This run begins at 03:30 and looks at the day before 03:30.
with DAG(
    "scores_by_clock",
    schedule="30 3 * * *",
    catchup=False,
) as by_clock:
    (
        IntegrationBatchSensor(
            task_id="scores_are_there",
            instance_id=INSTANCE,
            window=timedelta(days=1),
            timeout=timedelta(hours=4),
            deferrable=True,
        )
        >> report()
    )


scores = Asset(
    "customer_scores",
    watchers=[
        AssetWatcher(
            name="batch_runs",
            trigger=IntegrationBatchEventTrigger(
                instance_id=INSTANCE,
                statuses=["SUCCEEDED"],
            ),
        )
    ],
)

with DAG("scores_by_event", schedule=[scores], catchup=False) as by_event:
    report()
