"""XCom of the version before: what the page, the notifier and later tasks read of tasks that have ended or still wait."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from stored import Sample, samples

from airflow_bulk.notifications.reading import summaries_of, text_of
from airflow_bulk.plugin.rows import KINDS, read_row
from airflow_bulk.shown import NOW_KEY, ROW_KEYS

COUNTS = {
    "read": "lines_read",
    "rejected": "lines_rejected",
    "accepted": "lines_accepted",
    "failed": "lines_failed",
}
SHOWN = [one for one in samples() if set(one.plain["shown"]) & set(ROW_KEYS.values())]
TASK = {
    "dag_id": "d",
    "run_id": "run",
    "task_id": "t",
    "map_index": -1,
    "try_number": 1,
    "start_date": None,
    "end_date": None,
}


def row_of(plain: dict[str, Any]) -> dict[str, Any]:
    """The row that the task has told the page."""
    (row,) = (plain["shown"][key] for key in ROW_KEYS.values() if key in plain["shown"])
    return dict(row)


@pytest.mark.parametrize("sample", SHOWN, ids=lambda one: one.id)
def test_the_page_reads_the_row(sample: Sample) -> None:
    plain = sample.plain
    row, state = row_of(plain), "success" if sample.moment == "ended" else "running"
    shown = read_row(TASK | {"state": state}, row, plain["shown"].get(NOW_KEY), plain["world"]["at"])
    assert (shown.name, shown.kind) == (row["name"], KINDS[row["kind"]])
    assert shown.phase in (row["phase"], plain["shown"].get(NOW_KEY, {}).get("phase"))
    told = plain.get("result") or {}
    for name, key in COUNTS.items():
        if told.get(key) is not None:
            assert getattr(shown.sum, name) == told[key]


@pytest.mark.parametrize("sample", SHOWN, ids=lambda one: one.id)
def test_the_notifier_reads_the_row(sample: Sample) -> None:
    plain = sample.plain
    ti = SimpleNamespace(
        dag_id="d",
        run_id="run",
        task_id="t",
        map_index=-1,
        xcom_pull=lambda task_ids, key, map_indexes: plain["shown"].get(key),
    )
    row = row_of(plain)
    (summary,) = summaries_of({"ti": ti})
    told = {key: row[key] for key in COUNTS.values() if key in row}
    assert {key: summary[key] for key in told} == told
    assert summary["id"] == row["id"]
    assert str(row["name"] or row["kind"]) in text_of({"ti": ti}, [summary])


def test_samples_hold_no_token() -> None:
    """What older versions have left is checked as what this one leaves: a sample is published with the package's source."""
    for one in samples():
        assert "token" not in json.dumps(one.plain["world"]["tables"].get("meta", [])).lower(), one.id
        assert "password" not in one.text.lower(), one.id
