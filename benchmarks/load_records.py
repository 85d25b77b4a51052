"""The records of ``benchmarks/load.py``, the destination that counts what it gets, and what each side has to find.

Standard library only: the pandas side runs in an environment that has neither this package nor Airflow. Every record follows from
its number alone, so that a run can be repeated, and no record is kept.
"""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path
from typing import Any

SOURCE, HELD = "source.ndjson", "held.ndjson"
#: Destination field -> source field; the source's ``Id`` is the destination's ``qbd_id``.
FIELDS = {
    "name": "DisplayName",
    "first_name": "GivenName",
    "last_name": "FamilyName",
    "email": "PrimaryEmailAddr.Address",
    "street": "BillAddr.Line1",
    "city": "BillAddr.City",
    "postal_code": "BillAddr.PostalCode",
    "country": "BillAddr.CountrySubDivisionCode",
    "currency": "CurrencyRef.value",
    "balance": "Balance",
    "active": "Active",
    "notes": "Notes",
}
FIRST_NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Zoë", "José", "Ken")
LAST_NAMES = ("Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Müller", "Núñez", "O'Brien")
CITIES = ("Auckland", "Wellington", "Orléans", "Lille", "Nantes", "Toulouse", "Bordeaux", "Nice")
# Signs that a loader gets wrong if it takes JSON for its own format.
NOTES = (
    'Pays by "direct debit" at the end of the month, and wants the invoice on paper. Ask for C:\\orders\\new before the next '
    "delivery;\tthe gate is closed from noon on.\nWas called twice about the open balance, and has promised to pay. "
) * 2
_ALL_BITS = 0xFFFFFFFFFFFFFFFF


def numbers_of(number: int) -> int:
    """64 bits that look random and follow from the number of a record."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & _ALL_BITS
    return (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & _ALL_BITS


def key_of(number: int) -> str:
    """The source's id: 8 hexadecimal digits in no order; no two records have the same."""
    return f"{number * 2654435761 & 0xFFFFFFFF:08X}"


def source_record(number: int) -> dict[str, Any]:
    """One customer as a source gives it: nested, and with parts that no field is made of."""
    bits = numbers_of(number)
    first, last = FIRST_NAMES[bits >> 3 & 7], LAST_NAMES[bits >> 6 & 7]
    record = {
        "Id": key_of(number),
        "SyncToken": str(bits >> 9 & 7),
        "DisplayName": f"{first} {last} {number:07}",
        "GivenName": first,
        "FamilyName": last,
        "PrimaryEmailAddr": {"Address": f"{first}.{number}@example.com"},
        "BillAddr": {
            "Line1": f"{bits >> 12 & 255} Queen Street",
            "City": CITIES[bits >> 20 & 7],
            "PostalCode": f"{bits >> 23 & 8191:05}",
            "CountrySubDivisionCode": "NZ",
        },
        "CurrencyRef": {"value": "NZD"},
        "Balance": (bits >> 36 & 0xFFFFF) / 100,
        "Active": bits >> 56 & 15 > 0,
        "Notes": NOTES[bits >> 40 & 63 :][: 50 + (bits >> 46 & 127)],
        "MetaData": {"LastUpdatedTime": f"2026-11-{1 + number % 28:02}T10:15:{number % 60:02}+00:00"},
    }
    if not bits >> 60:
        del record["PrimaryEmailAddr"]
    return record


def held_record(number: int, *, differs: bool) -> dict[str, Any]:
    """The same customer as the destination holds it; where it differs, one field does."""
    source = source_record(number)
    record: dict[str, Any] = {"id": f"{number:024x}", "qbd_id": source["Id"]}
    for field, path in FIELDS.items():
        value: Any = source
        for step in path.split("."):
            value = None if value is None else value.get(step)
        record[field] = value
    if differs:
        field = ("balance", "notes", "email")[number // 100 % 3]
        record[field] = {"balance": record["balance"] + 1, "notes": "New", "email": "old@example.com"}[field]
    record["created_at"] = f"2025-{1 + number % 12:02}-{1 + number % 28:02}T08:00:00Z"
    record["created_by"] = f"user-{number % 97:03}@example.com"
    record["loyalty_card"] = f"{numbers_of(number):020}"
    return record


def write_inputs(folder: Path, records: int) -> dict[str, int]:
    """Write what the source has and what the destination holds, one record a line; return what every side must find.

    The destination holds nine in ten of the source's records, in another order, and one in ten of these differs. Two in a hundred of
    all that it holds have no counterpart.
    """
    folder.mkdir()
    with (folder / SOURCE).open("w", encoding="utf-8") as file:
        file.writelines(_line(source_record(number)) for number in range(records))
    expected = {"created": 0, "updated": 0, "deleted": 0, "unchanged": 0}
    orphans = round(records * 0.9 * 0.02 / 0.98)
    places = records + orphans
    with (folder / HELD).open("w", encoding="utf-8") as file:
        for place in range(places):
            number = place * 7_368_787 % places  # a prime number: every number comes once
            differs = number // 10 % 10 == 3
            if number >= records:
                expected["deleted"] += 1
            elif number % 10 == 7:
                expected["created"] += 1
                continue
            else:
                expected["updated" if differs else "unchanged"] += 1
            file.write(_line(held_record(number, differs=differs)))
    return expected


class CountingDestination:
    """Counts what is written, and keeps none of it.

    :ivar check: a number that follows from the content of all writes, in whatever order they came.
    :ivar first: when the first write came, as ``time.perf_counter`` tells it; ``None`` before it.
    :ivar last: when the last write was over.
    """

    def __init__(self) -> None:
        self.created = self.updated = self.deleted = self.check = 0
        self.first: float | None = None
        self.last = 0.0

    def create(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        self.created += 1
        return {**self._take(record), "id": f"n{self.created:023}"}

    def update(self, name: str, record_id: object, record: dict[str, Any]) -> dict[str, Any]:
        self.updated += 1
        return {**self._take(record, record_id), "id": record_id}

    def delete(self, name: str, record_id: object) -> None:
        self.deleted += 1
        self._take({}, record_id)

    def _take(self, record: dict[str, Any], record_id: object = None) -> dict[str, Any]:
        if self.first is None:
            self.first = time.perf_counter()
        self.check += zlib.crc32(json.dumps([record_id, record], sort_keys=True).encode())
        self.last = time.perf_counter()
        return record


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
