"""Store purchases into mediarithmics: 69,659 real purchases become user activities and are imported.

**What runs.** `write_activities` turns each purchase into one USER_ACTIVITY line. One of the two import tasks
then checks every line, sends them in parts, waits for the platform and closes the sum:
lines read = rejected + accepted + failed. `totals` returns that result.

**Two import tasks for one import.** Whether a task defers is fixed when the DAG file is parsed, so the form
cannot turn it on inside one task. A branch takes the task that was asked for, and the graph shows which.

**Clearing.** Clear a failed or stopped import task and it goes on where it was. Clear one that succeeded
and it imports again; each line carries a `$unique_key` made from its row, the same each time.

Needs the connection `mediarithmics_default`.
"""

from __future__ import annotations

import gzip
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions

PURCHASES = Path(__file__).parent / "data" / "cdnow_purchases.txt.gz"
IMPORT_TASKS = {False: "import_on_a_worker", True: "import_deferred"}

# Airflow folds a section away: what most people set stands outside.
PARAMS = {
    "datamart": Param(
        None,
        type=["null", "string"],
        pattern=r"^\d+$",
        title="Datamart",
        description="Id of the datamart to import into. Empty: the connection's own.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Only check",
        description="Read and check every line, tell what would be sent, send nothing.",
    ),
    "deferrable": Param(
        True,
        type="boolean",
        title="Wait in the triggerer",
        description="On: the import waits without a worker slot. Off: the task stays on its worker.",
    ),
    "folder": Param(
        str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow"), "store_purchases")),
        type="string",
        minLength=1,
        title="Folder",
        description="Where each run writes its lines. All workers must reach it: a retry reads them again.",
        section="More",
    ),
    "part_bytes": Param(
        4_000_000,
        type="integer",
        minimum=1_000,
        maximum=100_000_000,
        title="Part size",
        description="Bytes of one upload at most. Each upload is one execution on the platform.",
        section="More",
    ),
}


def purchases(path: Path = PURCHASES) -> Iterator[tuple[int, str, datetime, int, float]]:
    """Yield ``(row, customer, day, number of CDs, dollars)``; rows count from 1 below the header.

    :raises ValueError: naming the row, when it does not have four values of these kinds.
    """
    with gzip.open(path, "rt", encoding="ascii") as lines:
        next(lines)
        for row, line in enumerate(lines, 1):
            try:
                customer, day, discs, dollars = line.split()
                at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
                yield row, customer, at, int(discs), float(dollars)
            except ValueError:
                raise ValueError(f"{path.name}, row {row}: not customer, yyyymmdd, number, dollars") from None


def unique_key(row: int, at: datetime) -> str:
    """A version 1 uuid that is the same each time: the purchase's time, and its row in the place of the machine.

    The file holds purchases that are equal in every column, and all count: a purchase is its row.
    """
    # 100 ns intervals since the uuid epoch, 15 October 1582 (RFC 9562, section 5.1).
    ticks = (at - datetime(1582, 10, 15, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    # The multicast bit says that this is no network card's address.
    node = row | 1 << 40
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF | 0x1000, 0x80, 0, node)
    return str(uuid.UUID(fields=fields))


def activity(row: int, customer: str, at: datetime, discs: int, dollars: float) -> dict[str, Any]:
    """One purchase as one TOUCH activity with one event (mediarithmics.md section 6.1)."""
    at_ms = int(at.timestamp() * 1000)
    return {
        "$user_account_id": customer,
        "$type": "TOUCH",
        "$session_status": "NO_SESSION",
        "$ts": at_ms,
        "$unique_key": unique_key(row, at),
        "$events": [
            {
                "$event_name": "store_purchase",
                "$ts": at_ms,
                "$properties": {"discs": discs, "amount": dollars, "currency": "USD"},
            }
        ],
    }


@dag(
    schedule=None,
    catchup=False,
    params=PARAMS,
    doc_md=__doc__,
    tags=["bulk", "mediarithmics", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
)
def store_purchases() -> None:
    """Import store purchases as user activities."""

    @task
    def write_activities(params: dict[str, Any], run_id: str) -> str:
        """Write the run's lines; return the file. It takes its name only when it is complete."""
        folder = Path(params["folder"]).expanduser() / run_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished, file = folder / "activities.unfinished", folder / "activities.ndjson"
        with unfinished.open("w", encoding="utf-8") as lines:
            for purchase in purchases():
                lines.write(json.dumps(activity(*purchase), separators=(",", ":")) + "\n")
        unfinished.replace(file)
        return str(file)

    @task.branch
    def choose_where_to_wait(params: dict[str, Any]) -> str:
        """Take the import task that the form asks for."""
        return IMPORT_TASKS[bool(params["deferrable"])]

    file = write_activities()
    choice = choose_where_to_wait()
    imports = [
        ImportDocumentsOperator(
            task_id=task_id,
            document_type="USER_ACTIVITY",
            name="Store purchases, {{ dag_run.run_after | ds }}",
            source=file,
            datamart_id="{{ params.datamart or '' }}",
            dry_run="{{ params.dry_run }}",
            sending=SendingOptions(max_part_bytes="{{ params.part_bytes }}"),
            poll_interval=2.0,
            deferrable=deferrable,
        )
        for deferrable, task_id in IMPORT_TASKS.items()
    ]

    @task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    def totals(results: list[dict[str, Any] | None]) -> dict[str, Any]:
        """Return the result of the import task that ran."""
        return next(result for result in results if result is not None)

    file >> choice >> imports
    totals([one.output for one in imports])


store_purchases()
