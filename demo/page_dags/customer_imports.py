"""For ``make up``: imports as the page Bulk shows them, one good, one with rejected lines, one that is refused, one that runs.

The files are made up by the first task, a little larger at each run, so that the chart of the last runs has something to show.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, conf, task

from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions

FOLDER = Path(conf.get("core", "dags_folder")).parent / "customer_imports"
LINES = {"good": 4_000, "some_rejected": 3_000, "refused": 500}
RUNNING = {"running": 2_000}
#: Of a file's lines, each of this number breaks a rule; 0: none does.
BAD_ONE_IN = {"some_rejected": 150, "refused": 10}


def line(number: int, bad: bool) -> str:
    """One USER_PROFILE line of a made-up customer (mediarithmics.md section 5.1)."""
    profile = {"operation": "UPSERT", "compartment_id": "4100", "user_account_id": f"customer-{number}"}
    return json.dumps(profile if bad else profile | {"user_profile": {"$last_activity_ts": number}})


@task
def write_customers(names: dict[str, int], params: dict[str, Any], run_id: str) -> dict[str, str]:
    """Write a file for each import; return the files by name."""
    folder = FOLDER / run_id
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {}
    for name, count in names.items():
        every = BAD_ONE_IN.get(name, 0)
        total = count + 400 * params["round"]
        lines = [line(number, bool(every) and number % every == 0) for number in range(1, total + 1)]
        file = folder / f"{name}.ndjson"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files[name] = str(file)
    return files


def import_all(names: dict[str, int]) -> None:
    """The tasks of a DAG: write the files, import each."""
    files = write_customers(names)  # type: ignore[call-arg]  # Airflow gives the others
    for name in names:
        ImportDocumentsOperator(
            task_id=name,
            document_type="USER_PROFILE",
            name=f"Customers, {name.replace('_', ' ')}, {{{{ dag_run.run_after | ds }}}}",
            source=files[name],  # type: ignore[index]
            max_failures="2%",
            rejects_path=str(FOLDER / "rejects") if name in BAD_ONE_IN else None,
            sending=SendingOptions(max_part_bytes=50_000),
            poll_interval=5.0,
            timeout=timedelta(hours=6),
            deferrable=True,
        )


PARAMS = {"round": Param(1, type="integer", title="Round", description="A later round writes more lines.")}
for dag_id, names in {"customer_imports": LINES, "customer_import_running": RUNNING}.items():
    with DAG(
        dag_id,
        schedule=None,
        catchup=False,
        params=PARAMS,
        doc_md=__doc__,
        tags=["bulk", "mediarithmics", "demo"],
    ):
        import_all(names)
