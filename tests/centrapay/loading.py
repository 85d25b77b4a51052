"""A DAG author's batch operator over Farmlands accounts, and what the emulated Centrapay made of it."""

from __future__ import annotations

import json
from typing import Any

from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator


def account(number: int, **more: Any) -> str:
    """A good farmlands-external-asset record."""
    record = {
        "externalId": f"acc-{number}",
        "accountNumber": f"{number:09}",
        "availableBalance": str(number),
        "contacts": [{"externalId": f"con-{number}", "cards": [{"barcode": f"{310_000_000 + number}"}]}],
    }
    return json.dumps(record | more)


def bad_account(number: int) -> str:
    """One whose barcode has eight digits."""
    return account(number, contacts=[{"externalId": "c", "cards": [{"barcode": "31000000"}]}])


def accounts(count: int, bad: tuple[int, ...] = ()) -> str:
    """A file of records; those whose 1-based number is in ``bad`` break a rule."""
    lines = [bad_account(n) if n in bad else account(n) for n in range(1, count + 1)]
    return "\n".join(lines) + "\n"


def loading(**more: Any) -> Any:
    """Makes the operator anew at each try."""
    from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator

    given = {"task_id": "t", "type": "farmlands-external-asset", "poll_interval": 0.05, **more}
    return lambda: CentrapayBatchOperator(**given)


def posts(centrapay: CentrapayEmulator) -> int:
    """How many POSTs came in, those without an answer included."""
    return sum(call["method"] == "POST" for call in centrapay.emulator.requests())


def loads(centrapay: CentrapayEmulator) -> set[int]:
    """How often assets were loaded."""
    return {asset["loads"] for asset in centrapay.assets()}
