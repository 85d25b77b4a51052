"""What XCom values mean on the page, and where the pieces of its pictures stand: any JSON, any graph."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.judging import KeepWaiting, Totals
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.plugin.details import ShownJob
from airflow_bulk.plugin.drawing import BOX_WIDTH, draw_chart, draw_graph
from airflow_bulk.plugin.rows import read_row
from airflow_bulk.plugin.words import FILTERS
from airflow_bulk.shown import SHOWN_ONE_BY_ONE, Pace, waiting_state
from recorded_work import BEGAN, import_row

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
KEYS = st.sampled_from(
    [*import_row(), "executions", "parts_sent", "accepted", "failed", "at", "why", "rate", "left"]
)
VALUES = st.dictionaries(KEYS, ANY_JSON, max_size=12) | ANY_JSON
STATES = st.sampled_from(["running", "deferred", "success", "failed", "skipped", None])


def task(state: str | None) -> dict[str, Any]:
    return {
        "dag_id": "d",
        "run_id": "r",
        "task_id": "t",
        "map_index": -1,
        "state": state,
        "try_number": 1,
        "start_date": BEGAN,
        "end_date": None,
    }


@given(VALUES, VALUES, STATES)
def test_any_value_becomes_a_row(row: Any, now: Any, state: str | None) -> None:
    shown = read_row(task(state), row, now, BEGAN.timestamp() + 60)
    for name in ("number", "seconds", "bytes"):
        for value in (shown.seconds, shown.left, shown.rate, shown.bytes, shown.sum.read, shown.sum.left):
            assert isinstance(FILTERS[name](value), str)
    assert shown.console_url == "" or shown.console_url.startswith(("http://", "https://"))
    assert shown.done is None or shown.done >= 0
    assert draw_chart([shown, shown]).bars


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30))
def test_each_job_stands_to_the_right_of_those_before_it(before: list[list[int]]) -> None:
    jobs = [
        ShownJob(f"job {place}", f"t{place}", [one for one in wanted if one < place], "success", {})
        for place, wanted in enumerate(before)
    ]
    graph = draw_graph(jobs)
    for job, box in zip(jobs, graph.boxes, strict=True):
        assert all(graph.boxes[one].x + BOX_WIDTH < box.x for one in job.before)
    assert len({(box.x, box.y) for box in graph.boxes}) == len(jobs)


def test_an_older_state_is_not_shown() -> None:
    """The worker has gone a step further since the triggerer last wrote."""
    row = import_row(phase="submitted", lines_accepted=None, at=BEGAN.timestamp() + 100)
    now = {"phase": "waiting", "executions": {"running": 3}, "accepted": 7, "at": BEGAN.timestamp() + 90}
    shown = read_row(task("running"), row, now, BEGAN.timestamp() + 101)
    assert (shown.executions, shown.sum.accepted, shown.phase) == ({}, None, "submitted")
    later = read_row(task("running"), row, now | {"at": BEGAN.timestamp() + 110}, BEGAN.timestamp())
    assert (later.executions, later.sum.accepted, later.phase) == ({"running": 3}, 7, "waiting")


def test_the_pace() -> None:
    """On change, not before the pause has passed, and with many that wait the pause is longer."""
    pace = Pace(every=0.0)
    assert pace.is_due({"a": 1})
    assert not pace.is_due({"a": 1})
    assert pace.is_due({"a": 2}, waiting=0)
    assert not pace.is_due({"a": 3}, waiting=10_000)
    slow = Pace(every=60.0)
    assert slow.is_due({"a": 1})
    assert not slow.is_due({"a": 2})


def test_many_executions_are_only_counted() -> None:
    seen = [
        RemoteSnapshot(id=str(number), remote_status=RemoteStatus.PENDING, status="PENDING")
        for number in range(SHOWN_ONE_BY_ONE + 1)
    ]
    verdict = KeepWaiting(1.0, Totals(executions={"pending": len(seen)}), "waiting")
    assert "each" not in waiting_state(seen, verdict)
    assert len(waiting_state(seen[1:], verdict)["each"]) == SHOWN_ONE_BY_ONE
