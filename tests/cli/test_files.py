"""``airflow bulk files`` over a database in which nobody has left word; a ledger: tests/dags/test_known_files.py."""

from __future__ import annotations

from typing import Any


def test_without_any_ledger(airflow_db: None, bulk: Any) -> None:
    assert bulk("files", "list", "--as", "nobody has this name").out.startswith(
        "No import has left word of a file."
    )
    assert bulk("files", "list", "--as", "nobody has this name", "--json").document == {
        "ok": True,
        "ledgers": [],
    }
    said = bulk("files", "forget", "nowhere.ndjson", "--yes", "--json")
    assert (said.code, said.document["ok"]) == (2, False)
    assert (
        said.sentence
        == "Not known: nowhere.ndjson. Nothing was forgotten. To see the names: airflow bulk files list."
    )
