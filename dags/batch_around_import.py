"""A batch of one's own steps aside for the nightly import, and runs once on what came in.

**What runs.** An integration batch scores customers every ten minutes. `ensure_batch` makes sure that its plugin,
version and instance are as declared here. `pause_batch` pauses its cron, `import_profiles` imports a profile of every
customer, `score_once` runs the batch by hand on the fresh profiles, and `resume_batch` resumes its cron.

**Resumed even when the import failed.** Pausing is the setup and resuming the teardown of what lies between.

**Two DAGs, one story.** `batch_around_import` waits on its workers, `batch_around_import_deferred` in the triggerer.

Needs the connection `mediarithmics_default`, with `organisation_id`. The code of the batch is uploaded and its
version released in the console: no operator does that.
"""

from __future__ import annotations

import gzip
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.integration_batch import (
    EnsureIntegrationBatchOperator,
    PauseIntegrationBatchOperator,
    ResumeIntegrationBatchOperator,
    RunIntegrationBatchOperator,
    double_property,
    string_property,
)

PURCHASES = Path(__file__).parent / "data" / "cdnow_purchases.txt.gz"

#: Of the version: who made it and what it is called are mandatory, the rest are its instances' defaults.
PROPERTIES = [
    string_property("provider", "Example", origin="PLUGIN_STATIC"),
    string_property("name", "Customer scores", origin="PLUGIN_STATIC"),
    double_property("half_life_days", 90.0),
]

PARAMS = {
    "folder": Param(
        str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow"), "batch_around_import")),
        type="string",
        minLength=1,
        title="Folder",
        description="Where each run writes its profiles. All workers must reach it.",
    ),
    "half_life_days": Param(
        90.0,
        type="number",
        exclusiveMinimum=0,
        title="Half-life",
        description="Days after which a purchase counts half; set on the instance.",
    ),
}


def profiles(path: Path = PURCHASES) -> list[dict[str, Any]]:
    """Return a USER_PROFILE line of every customer: how much was bought (mediarithmics.md section 6.3)."""
    totals: dict[str, dict[str, Any]] = {}
    with gzip.open(path, "rt", encoding="ascii") as lines:
        next(lines)
        for line in lines:
            customer, _, discs, dollars = line.split()
            one = totals.setdefault(customer, {"purchases": 0, "discs": 0, "dollars": 0.0})
            one["purchases"] += 1
            one["discs"] += int(discs)
            one["dollars"] = round(one["dollars"] + float(dollars), 2)
    return [
        {"operation": "UPSERT", "user_account_id": customer, "user_profile": profile}
        for customer, profile in totals.items()
    ]


@task
def write_profiles(params: dict[str, Any], run_id: str) -> str:
    """Write the run's lines; return the file. It takes its name only when it is complete."""
    folder = Path(params["folder"]).expanduser() / run_id
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished, file = folder / "profiles.unfinished", folder / "profiles.ndjson"
    with unfinished.open("w", encoding="utf-8") as lines:
        for profile in profiles():
            lines.write(json.dumps(profile, separators=(",", ":")) + "\n")
    unfinished.replace(file)
    return str(file)


def make(dag_id: str, *, deferrable: bool) -> DAG:
    """Make the DAG; how it waits is fixed when a DAG file is parsed."""
    with DAG(
        dag_id,
        schedule=None,
        catchup=False,
        params=PARAMS,
        doc_md=__doc__,
        tags=["bulk", "mediarithmics", "example"],
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    ) as dag:
        ensure = EnsureIntegrationBatchOperator(
            task_id="ensure_batch",
            group_id="com.example.batch",
            artifact_id="customer-scores",
            version_id="1.0.0",
            name="Customer scores",
            plugin_properties=PROPERTIES,
            instance_properties=[double_property("half_life_days", "{{ params.half_life_days }}")],
            cron="*/10 * * * *",
            cron_status="ACTIVE",
            ram_size="MEDIUM",
        )
        instance_id = "{{ ti.xcom_pull(task_ids='ensure_batch', key='instance_id') }}"
        pause = PauseIntegrationBatchOperator(task_id="pause_batch", instance_id=instance_id)
        imported = ImportDocumentsOperator(
            task_id="import_profiles",
            document_type="USER_PROFILE",
            name="Customer profiles, {{ dag_run.run_after | ds }}",
            source=write_profiles(),
            poll_interval=2.0,
            deferrable=deferrable,
        )
        score = RunIntegrationBatchOperator(
            task_id="score_once",
            instance_id=instance_id,
            poll_interval=2.0,
            timeout=timedelta(hours=1),
            deferrable=deferrable,
        )
        resume = ResumeIntegrationBatchOperator(task_id="resume_batch", instance_id=instance_id)
        ensure >> pause.as_setup() >> imported >> score >> resume.as_teardown(setups=pause)
    return dag


on_workers = make("batch_around_import", deferrable=False)
deferred = make("batch_around_import_deferred", deferrable=True)
