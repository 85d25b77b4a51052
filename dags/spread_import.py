"""One import by several tasks at the same time: what 23,570 real customers spent becomes their profiles.

**What runs.** `write_profiles` writes one USER_PROFILE line for each customer. `load` spreads the file over four tasks: `plan`
cuts it on line borders, `check` reads every line, `judge_check` refuses all of it where too many lines are bad, four `send` tasks
import a quarter each, and `judge` adds up. `totals` returns the counts of all four imports together.

**When to use it.** A quarter of this file is sent in less time than a task takes to begin. Spread a source that one worker, with two
processes of its own (`SendingOptions(workers=2)`), cannot send in the time that there is.

Needs the connection `mediarithmics_default`.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.operators.spread_import import SpreadImportTaskGroup

PURCHASES = Path(__file__).parent / "data" / "cdnow_purchases.txt.gz"
#: Fixed when the DAG file is parsed: with 1 the group is one task.
TASKS = 4

PARAMS = {
    "folder": Param(
        str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow"), "spread_import")),
        type="string",
        minLength=1,
        title="Folder",
        description="Where each run writes its lines. All workers must reach it: each of them reads its part.",
    ),
    "max_failures": Param(
        "0.1%",
        type="string",
        title="Bad lines allowed",
        description="A count, or a share of the lines read by all tasks together.",
        section="More",
    ),
}


def profile(customer: str, purchases: int, spent: float) -> dict[str, Any]:
    """One customer as a USER_PROFILE line (mediarithmics.md section 6.3)."""
    return {
        "operation": "UPSERT",
        "compartment_id": "1000",
        "user_account_id": customer,
        "user_profile": {"purchases": purchases, "spent": round(spent, 2)},
    }


def profiles(path: Path = PURCHASES) -> list[dict[str, Any]]:
    """The profiles of all customers."""
    totals: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    with gzip.open(path, "rt", encoding="ascii") as lines:
        next(lines)
        for line in lines:
            customer, _, _, dollars = line.split()
            count, spent = totals[customer]
            totals[customer] = (count + 1, spent + float(dollars))
    return [profile(customer, *total) for customer, total in totals.items()]


@dag(
    schedule=None,
    catchup=False,
    params=PARAMS,
    doc_md=__doc__,
    tags=["bulk", "mediarithmics", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
)
def spread_import() -> None:
    """Import what customers spent, four tasks at a time."""

    @task
    def write_profiles(params: dict[str, Any], run_id: str) -> str:
        """Write the run's lines; return the file. It takes its name only when it is complete."""
        folder = Path(params["folder"]).expanduser() / run_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished, file = folder / "profiles.unfinished", folder / "profiles.ndjson"
        with unfinished.open("w", encoding="utf-8") as lines:
            for one in profiles():
                lines.write(json.dumps(one, separators=(",", ":")) + "\n")
        unfinished.replace(file)
        return str(file)

    load = SpreadImportTaskGroup(
        "load",
        spread=TASKS,
        source=write_profiles(),
        document_type="USER_PROFILE",
        name="What customers spent, {{ dag_run.run_after | ds }}",
        max_failures="{{ params.max_failures }}",
        rejects_path="{{ params.folder }}/{{ run_id }}/rejects",
        sending=SendingOptions(max_part_bytes=500_000),
        poll_interval=2.0,
        deferrable=True,
    )

    @task
    def totals(result: dict[str, Any]) -> dict[str, int]:
        """Return the counts of all imports together."""
        return {name: result[name] for name in ("lines_read", "lines_accepted", "lines_failed", "parts")}

    totals(load.output)


spread_import()
