"""Accounts into Centrapay: what real customers spent becomes the balance of an account each, loaded as one batch.

**What runs.** `write_accounts` writes one farmlands-external-asset record for each customer into an object store.
`load_accounts` checks every record, has the store sign a URL, creates the batch and waits in the triggerer.
`check_assets` reads some of the assets back by the customers' ids and compares their balances.

**Where the errors are.** What Centrapay refuses is in one file below the run's own `errors` folder, and `check_assets`
leaves those customers out; positions of records that break a rule before are in a second file beside it.

**The store must be reachable for Centrapay.** Its servers fetch the file; nothing is sent to them.

EXPERIMENTAL, as Centrapay's batches are. Needs the connections `centrapay_default` and the one named in the folder.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator

PURCHASES = Path(__file__).parent / "data" / "cdnow_purchases.txt.gz"
#: How many assets are read back: each is one of the 200 calls a minute.
SAMPLE = 20

# Airflow folds a section away: what most people set stands outside.
PARAMS = {
    "folder": Param(
        "s3://aws_partner@partner/farmlands",
        type="string",
        minLength=1,
        title="Folder",
        description="In an object store that Centrapay can reach: scheme://connection@bucket/folder.",
    ),
    "customers": Param(
        1000,
        type="integer",
        minimum=1,
        title="Customers",
        description="How many of the 23,570 customers become accounts.",
    ),
    "account_id": Param(
        None,
        type=["null", "string"],
        title="Account",
        description="Centrapay account that owns the batch. Empty: the connection's own.",
    ),
    "test": Param(
        False,
        type="boolean",
        title="Test account",
        description="On: the account is a test account. It must be what the account is.",
    ),
    "max_failures": Param(
        "0.5%",
        type="string",
        title="Failures allowed",
        description="A count, or a share of the records.",
        section="More",
    ),
}


def balances(customers: int, path: Path = PURCHASES) -> dict[str, int]:
    """What each of the first customers spent, in cents."""
    spent: Counter[str] = Counter()
    with gzip.open(path, "rt", encoding="ascii") as lines:
        next(lines)
        for line in lines:
            customer, _, _, dollars = line.split()
            if customer not in spent and len(spent) == customers:
                break
            spent[customer] += int(Decimal(dollars) * 100)
    return dict(spent)


def external_id(customer: str) -> str:
    """A customer's id, by which Centrapay knows its asset."""
    return f"cdnow-{customer}"


def record(customer: str, cents: int) -> dict[str, Any]:
    """One customer as a farmlands-external-asset record: contacts are left out, so those that are there stay."""
    return {
        "externalId": external_id(customer),
        "accountNumber": customer,
        "availableBalance": str(cents),
    }


def refused_customers(errors_uri: str | None) -> set[str]:
    """The external ids in a batch's errors file; there is none without an error."""
    if errors_uri is None:
        return set()
    with ObjectStoragePath(errors_uri).open("rb") as rows:
        return {json.loads(row)["columns"]["external_id"] for row in rows}


@dag(
    schedule=None,
    catchup=False,
    params=PARAMS,
    doc_md=__doc__,
    tags=["bulk", "centrapay", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
)
def farmlands_accounts() -> None:
    """Load what customers spent as the balances of their accounts."""

    @task
    def write_accounts(params: dict[str, Any], run_id: str) -> str:
        """Write the run's records; return the file. An object takes its name only when it is complete."""
        file = ObjectStoragePath(params["folder"]) / run_id / "accounts.jsonl"
        spent = balances(int(params["customers"]))
        with file.open("wb") as lines:
            for customer, cents in spent.items():
                lines.write(json.dumps(record(customer, cents), separators=(",", ":")).encode() + b"\n")
        return str(file)

    file = write_accounts()
    loaded = CentrapayBatchOperator(
        task_id="load_accounts",
        type="farmlands-external-asset",
        file=file,
        account_id="{{ params.account_id or '' }}",
        test="{{ params.test }}",
        url_expires_in=timedelta(hours=6),
        max_failures="{{ params.max_failures }}",
        errors_path="{{ params.folder }}/{{ run_id }}/errors/",
        poll_interval=2.0,
        deferrable=True,
    )

    @task
    def check_assets(batch: dict[str, Any], params: dict[str, Any]) -> dict[str, int]:
        """Read some assets back by external id; fail when a balance is not what was loaded. Refused ones are left out."""
        from airflow_bulk.hooks.centrapay import CentrapayHook
        from airflow_bulk.platforms.centrapay import FARMLANDS_ASSETS

        hook = CentrapayHook()
        refused = refused_customers(batch["errors_uri"])
        spent = {
            name: cents
            for name, cents in balances(int(params["customers"])).items()
            if external_id(name) not in refused
        }
        sample = list(spent.items())[:: max(1, len(spent) // SAMPLE)][:SAMPLE]
        for number, (customer, cents) in enumerate(sample, 1):
            name = external_id(customer)
            asset = hook.get_asset_by_external_id(FARMLANDS_ASSETS[bool(params["test"])], name)
            if int(asset.available_balance or 0) != cents:
                # A customer's id is personal data: the number says which of the sample it is.
                raise ValueError(
                    f"Asset {number} of the {len(sample)} compared has another balance than was loaded."
                )
        return {"records": batch["count"], "refused": len(refused), "compared": len(sample)}

    check_assets(loaded.output)


farmlands_accounts()
