"""An import whose end others learn of: a webhook, a DAG that its asset starts, and people where it is late.

**What runs.** `told_import` imports files of USER_PROFILE lines. Its task posts a summary to the webhook of the connection
`ops_webhook` when it ends, well or not, and so does the DAG when a run has not ended after an hour. When it ends well, the
asset of the datamart's profiles starts `after_told_import`, which reads the counts out of the event.

Needs the connections `mediarithmics_default` and `ops_webhook` (type HTTP). The variable of the environment
`BULK_EXAMPLE_DATAMART` is the datamart: an asset's URI is fixed when a DAG file is parsed.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]
    DAG,
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
    Param,
    task,
)

from airflow_bulk.assets.mediarithmics import create_asset
from airflow_bulk.notifications.summary import BulkSummaryNotifier
from airflow_bulk.operators.document_import import ImportDocumentsOperator

DATAMART = os.environ.get("BULK_EXAMPLE_DATAMART", "1500")
PROFILES = create_asset(datamart_id=DATAMART, document_type="USER_PROFILE")
FOLDER = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "told_import"

late = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(hours=1),
    callback=AsyncCallback(
        BulkSummaryNotifier, {"http_conn_id": "ops_webhook", "task_ids": ["load_profiles"]}
    ),
)
tell = BulkSummaryNotifier(http_conn_id="ops_webhook")

with DAG(
    "told_import",
    schedule=None,
    catchup=False,
    deadline=late,
    params={
        "source": Param(
            str(FOLDER / "*.ndjson"),
            type="string",
            minLength=1,
            title="Source",
            description="Files of USER_PROFILE lines. All workers must reach them.",
        )
    },
    tags=["bulk", "mediarithmics", "example"],
    doc_md=__doc__,
) as dag:
    ImportDocumentsOperator(
        task_id="load_profiles",
        document_type="USER_PROFILE",
        name="Profiles, {{ dag_run.run_after | ds }}",
        source="{{ params.source }}",
        datamart_id=DATAMART,
        max_failures="1%",
        rejects_path="{{ (params.source | string).rpartition('/')[0] }}/rejects",
        poll_interval=2.0,
        deferrable=True,
        outlets=[PROFILES],
        on_success_callback=tell,
        on_failure_callback=tell,
    )

with DAG(
    "after_told_import",
    schedule=[PROFILES],
    catchup=False,
    tags=["bulk", "example"],
    doc_md=__doc__,
):

    @task
    def use_counts(triggering_asset_events: Any = None) -> dict[str, Any]:
        """Return what the newest event tells; a real DAG would go on with it."""
        return dict(triggering_asset_events[PROFILES][-1].extra)

    use_counts()
