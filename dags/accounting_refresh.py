"""Accounting refresh: a batch of 14 jobs keeps a warehouse in step with an accounting system.

**What runs.** Each extract of `batches/accounting.yaml` is one task, each load two: `snapshot` reads what the
warehouse holds, `apply` creates and updates what differs. Records travel as files under the staging folder, only
their names through XCom. `watermark` comes last: the next run reads what was changed since this one.

**Deletions are off.** Each apply reports how many records it would delete.

**Clearing.** In the latest run clear any task: an apply reads the warehouse again first and creates nothing twice. In an
older run clear the extract with its downstream: an apply alone would write what was read then over newer records.

**Retries.** A record that the warehouse is still storing when its apply dies, and stores only after the retry has looked
(`retry_delay` and 3 seconds), is created again.

**One run at a time** (`max_active_runs=1`): of two at once, the one that applies last would win.

**A load added later** sees what changes from now on. For the older records delete the extract's key in the state of the
asset `extract_load:accounting_refresh.accounting`.

Needs the connections `accounting_source` and `accounting_warehouse` of type `extract_load`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from airflow_bulk.extract_load import LoadMapping, load_definition
from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup


def transaction(record: dict[str, Any], kind: str) -> dict[str, Any]:
    """Make one warehouse transaction of an invoice, a bill or a payment; their ids count apart by kind."""
    return {
        "qbd_id": record["Id"],
        "kind": kind,
        "amount": record["TotalAmt"],
        "date": record["TxnDate"],
        "customer_id": record.get("CustomerRef", {}).get("value"),
        "vendor_id": record.get("VendorRef", {}).get("value"),
    }


with DAG(
    "accounting_refresh",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={
        "staging": Param(
            str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "accounting_refresh"),
            type="string",
            minLength=1,
            title="Staging",
            description="Folder for the records between tasks. All workers must reach it.",
        )
    },
    tags=["bulk", "extract/load", "example"],
    doc_md=__doc__,
) as dag:
    ExtractLoadTaskGroup(
        "accounting",
        definition=load_definition("batches/accounting.yaml"),
        source="accounting_source",
        destination="accounting_warehouse",
        mappings={
            "financial_transactions": LoadMapping(
                match_on=["qbd_id", "kind"],
                fields=transaction,
                references={"customer_id": "customers", "vendor_id": "vendors"},
            )
        },
        staging="{{ params.staging }}/{{ run_id }}",
        updated_since="watermark",
        deletions="off",
    )
