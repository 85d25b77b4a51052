"""Customer profiles: a PostgreSQL table becomes mediarithmics user profiles.

**What runs.** `fill_table` makes the table `bulk_example_customers` of 69,659 real purchases, if it is not there: one
row a customer. Then a batch of two jobs: `extract_customers` reads the rows that were changed since the last run,
`apply_profiles` makes one USER_PROFILE line of each and imports them, everything accounted for and exactly once.

**Try it.** Run it twice: the second run reads the last minutes' changes again, not everything. Change a row and its
`changed_at`, run again.

Needs the connections `shop_postgres` (PostgreSQL; the role may create a table) and `mediarithmics_default`.
"""

from __future__ import annotations

import gzip
import os
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseHook, Param, task

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.hooks.extract_load_sql import SqlObject, SqlSource
from airflow_bulk.operators.extract_load import DocumentImportDestination, ExtractLoadTaskGroup

PURCHASES = Path(__file__).parent / "data" / "cdnow_purchases.txt.gz"
TABLE = "bulk_example_customers"
COLUMNS = "customer text PRIMARY KEY, purchases int, spent numeric(10, 2), last_purchase date, changed_at timestamptz"
COUNT = f"SELECT count(*) FROM {TABLE}"  # noqa: S608 - a constant
BATCH = {
    "jobs": [
        {"type": "extract", "object": "customers"},
        {"type": "load", "object": "profiles", "required_objects": {"extract": ["customers"]}},
    ]
}


def customers() -> list[tuple[Any, ...]]:
    """Return ``(customer, purchases, dollars spent, last day)`` of each customer."""
    totals: dict[str, tuple[int, float, str]] = defaultdict(lambda: (0, 0.0, ""))
    with gzip.open(PURCHASES, "rt", encoding="ascii") as lines:
        next(lines)
        for line in lines:
            customer, day, _, dollars = line.split()
            count, spent, last = totals[customer]
            totals[customer] = (count + 1, spent + float(dollars), max(last, day))
    return [(customer, count, round(spent, 2), last) for customer, (count, spent, last) in totals.items()]


@task
def fill_table() -> int:
    """Make the table if it is not there; return how many rows it has."""
    hook = BaseHook.get_connection("shop_postgres").get_hook()
    hook.run(f"CREATE TABLE IF NOT EXISTS {TABLE} ({COLUMNS})")
    if hook.get_first(COUNT)[0] == 0:
        now = datetime.now(UTC)
        rows = [(*customer, now) for customer in customers()]
        columns = ["customer", "purchases", "spent", "last_purchase", "changed_at"]
        hook.insert_rows(TABLE, rows, columns, commit_every=5000, executemany=True)
    return int(hook.get_first(COUNT)[0])


def profile(row: dict[str, Any]) -> dict[str, Any]:
    """Make the USER_PROFILE line of one customer (mediarithmics.md section 6.3)."""
    return {
        "operation": "UPSERT",
        "compartment_id": "1000",
        "user_account_id": row["customer"],
        "update_strategy": "PARTIAL_UPDATE",
        "user_profile": {
            "purchases": row["purchases"],
            "spent": float(row["spent"]),
            "last_purchase": row["last_purchase"],
        },
    }


with DAG(
    "customer_profiles",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={
        "staging": Param(
            str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "customer_profiles"),
            type="string",
            minLength=1,
            title="Staging",
            description="Folder for the rows and lines. All workers must reach it.",
        )
    },
    tags=["bulk", "mediarithmics", "extract/load", "example"],
    doc_md=__doc__,
) as dag:
    fill_table() >> ExtractLoadTaskGroup(
        "shop",
        definition=BATCH,
        source=SqlSource("shop_postgres", {"customers": SqlObject(table=TABLE, updated_field="changed_at")}),
        destination=DocumentImportDestination(
            {
                "profiles": {
                    "document_type": "USER_PROFILE",
                    "name": "Shop customers, {{ dag_run.run_after | ds }}",
                }
            }
        ),
        mappings={"profiles": LoadMapping(feeds="customers", fields=profile)},
        staging="{{ params.staging }}/{{ run_id }}",
        updated_since="watermark",
    )
