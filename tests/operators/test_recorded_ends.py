"""The rule for a recorded end: it stands, is judged again, or all is done again (ARCHITECTURE.md section 5.5)."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import ME, MemoryStore

from airflow_bulk.runs.record import ClearUnclear, EndMeaning, Record

ROOT = Path(__file__).parents[2]

#: How the end is, what has happened since, what the operator allows -> what it means.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], Any]] = {
    "a retry after a success": ({"good": True}, {}, {}, EndMeaning.STANDS),
    "a clear of a success": ({"good": True}, {"max_tries": 5}, {}, EndMeaning.BEGIN_AGAIN),
    "a clear of a success that is kept": (
        {"good": True},
        {"max_tries": 5},
        {"keep": True},
        EndMeaning.STANDS,
    ),
    "a success that Airflow knows of": ({"good": True, "known": True}, {}, {}, EndMeaning.BEGIN_AGAIN),
    "one that it does not": ({"good": True, "known": False}, {"max_tries": 5}, {}, EndMeaning.STANDS),
    "a retry after a bad end": ({"good": False}, {}, {}, AirflowFailException),
    "a clear of a bad end": ({"good": False}, {"max_tries": 5}, {}, EndMeaning.JUDGE_AGAIN),
    "a clear of a kept bad end": ({"good": False}, {"max_tries": 5}, {"keep": True}, EndMeaning.JUDGE_AGAIN),
    "a clear of a failed work": (
        {"good": False},
        {"max_tries": 5},
        {"is_done_again": lambda end, cleared: cleared},
        EndMeaning.BEGIN_AGAIN,
    ),
    "a retry of a failed work": (
        {"good": False},
        {},
        {"is_done_again": lambda end, cleared: cleared},
        AirflowFailException,
    ),
    "a retry that works again": (
        {"good": False},
        {},
        {"is_done_again": lambda end, cleared: True},
        EndMeaning.BEGIN_AGAIN,
    ),
    "something else was cleared": ({"good": False}, {"clear_number": 1}, {}, ClearUnclear),
}


def record(store: MemoryStore, **now: Any) -> Record:
    return Record(store, **{"max_tries": 2, "clear_number": 0, "try_number": 1, "identity": ME, **now})


@pytest.mark.parametrize(("end", "since", "allowed", "meaning"), CASES.values(), ids=CASES)
def test_a_recorded_end(
    end: dict[str, Any], since: dict[str, Any], allowed: dict[str, Any], meaning: Any
) -> None:
    store = MemoryStore()
    first = record(store)
    assert first.recorded_end(**allowed) == (EndMeaning.NO_END, None)
    first.write("end", {"result": {"id": "7"}, "reason": "bad.", "max_tries": 2, "try_number": 1, **end})
    later = record(store, **since)
    if isinstance(meaning, EndMeaning):
        found, told = later.recorded_end(**allowed)
        assert found is meaning and told is not None and told.result == {"id": "7"}
    else:
        with pytest.raises(meaning, match=r"bad\. \(Recorded by try 1\.\)|Clear this task once more"):
            later.recorded_end(**allowed)
    assert later.generation == 1  # whoever begins again says so first


def test_a_success_that_airflow_has_not_heard_of_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    record(store).write("end", {"good": True, "known": False, "result": {}, "try_number": 3})
    record(store, max_tries=9).recorded_end()
    assert "Try 3 had already ended well: its result stands. Airflow had not heard of it" in caplog.text


def test_the_rule_stands_in_one_place() -> None:
    """Whether an end was good, known to Airflow or cleared is asked in the record alone."""
    asked = {
        path.name
        for room in ("operators", "sensors", "src/airflow_bulk/runs")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("good", "known", "clear_number")
    }
    assert asked == {"record.py"}
