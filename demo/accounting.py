"""Small books for the DAG ``accounting_refresh``: what the emulated accounting system holds in demos and tests."""

from __future__ import annotations

from typing import Any

from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator

#: Connection id -> the emulated part behind it, and what that part speaks.
CONNECTIONS = {
    "accounting_source": ("source", "quickbooks"),
    "accounting_warehouse": ("destination", "activecell"),
}
_MONEY = {"TotalAmt": 10, "TxnDate": "2013-01-05"}
BOOKS: dict[str, list[dict[str, Any]]] = {
    "Account": [
        {"Id": "1", "Name": "Till", "AccountType": "Bank", "ParentRef": {"value": "2"}},
        {"Id": "2", "Name": "Cash", "AccountType": "Bank"},
        {"Id": "3", "Name": "Sales", "AccountType": "Income"},
    ],
    "Customer": [
        {"Id": "1", "DisplayName": "Ann", "PrimaryEmailAddr": {"Address": "ann@example.org"}, "Balance": 5}
    ],
    "Vendor": [{"Id": "1", "DisplayName": "Bob"}],
    "Item": [{"Id": "1", "Name": "Pen", "UnitPrice": 2, "IncomeAccountRef": {"value": "3"}}],
    "Invoice": [{"Id": "7", "CustomerRef": {"value": "1"}, **_MONEY}],
    "Payment": [{"Id": "7", "CustomerRef": {"value": "1"}, **_MONEY}],
    "Bill": [{"Id": "8", "VendorRef": {"value": "1"}, **_MONEY}],
}


def connections(emulator: Emulator) -> dict[str, str]:
    """Values of ``AIRFLOW_CONN_...`` variables that lead to the emulator, by connection id (they hold the token)."""
    books = ExtractLoadEmulator(emulator)
    return {name: books.connection_json(part, api=api, realm=1) for name, (part, api) in CONNECTIONS.items()}


def fill(emulator: Emulator) -> None:
    """Put the books into the emulated accounting system, changed just now, and a calendar into the warehouse."""
    books = ExtractLoadEmulator(emulator)
    books.create("periods", {"qbd_id": "2013-01", "name": "January 2013"})
    for name, records in BOOKS.items():
        books.put(name, *records)
