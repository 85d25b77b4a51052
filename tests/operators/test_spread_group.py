"""The group of tasks in Airflow: its five steps, one after the other, and what goes on with its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from one_task import once, write_profiles
from resends import accounts, fails, held

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.operators.resend_lines import ResendLinesOperator
from airflow_bulk.operators.spread_import import SpreadImportTaskGroup
from inline_dag import pulled, run_again, states

SENDING = SendingOptions(max_part_bytes=10_000, settle=0.2)
MAPPED = ("check", "send")


def spread(source: Path, **more: Any) -> SpreadImportTaskGroup:
    return SpreadImportTaskGroup(
        "load",
        **{
            "spread": 3,
            "document_type": "USER_PROFILE",
            "name": "profiles",
            "source": str(source),
            "sending": SENDING,
            "poll_interval": 0.2,
            **more,
        },
    )


@pytest.mark.parametrize("deferrable", [False, True])
def test_all_steps(run_dag: Any, emulator: Emulator, tmp_path: Path, deferrable: bool) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 600, (3, 300))
    with DAG("spread_all", schedule=None) as dag:
        spread(tmp_path / "p.ndjson", deferrable=deferrable, max_failures="{{ 1 + 1 }}")
    run = run_dag(dag)
    assert states(run) == {
        ("load.plan", -1): "success",
        ("load.judge_check", -1): "success",
        ("load.judge", -1): "success",
        **{(f"load.{step}", index): "success" for step in MAPPED for index in range(3)},
    }
    assert emulator.held() == once(lines)
    result = pulled(run, "load.judge")
    assert (result["lines_read"], result["lines_rejected"], result["lines_accepted"]) == (600, 2, 598)
    # The page shows each import.
    shown = [pulled(run, "load.send", "bulk.mediarithmics", map_index=index) for index in range(3)]
    assert [one["id"] for one in shown] == result["import_ids"]
    # A clear of the whole group after a success imports again.
    run_again(dag, run)
    assert emulator.held() == once(lines) + once(lines)
    assert pulled(run, "load.judge")["lines_accepted"] == 598
    assert len(emulator.imports()) == 6


@pytest.mark.parametrize(
    ("on_empty", "expected"),
    [
        ("fail", {"plan": "failed", "judge_check": "upstream_failed", "judge": "upstream_failed"}),
        ("skip", {"plan": "skipped", "judge_check": "skipped", "judge": "skipped"}),
        ("ok", {"plan": "success", "judge_check": "success", "judge": "success"}),
    ],
)
def test_an_empty_source(
    run_dag: Any, emulator: Emulator, tmp_path: Path, on_empty: str, expected: dict[str, str]
) -> None:
    with DAG("spread_empty", schedule=None) as dag:
        spread(tmp_path / "*.ndjson", on_empty=on_empty)
    run = run_dag(dag)
    found = states(run)
    assert {step: found[f"load.{step}", -1] for step in expected} == expected
    result = pulled(run, "load.judge")
    assert (result and result["lines_read"]) == (0 if on_empty == "ok" else None)
    assert emulator.imports() == []


def test_refused_before_anything_is_sent(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.ndjson", 600, (3, 300))
    with DAG("spread_refused", schedule=None) as dag:
        spread(tmp_path / "p.ndjson", max_failures=1)
    found = states(run_dag(dag))
    assert {found["load.check", index] for index in range(3)} == {"success"}
    assert found["load.judge_check", -1] == "failed"
    assert (found["load.send", -1], found["load.judge", -1]) == ("upstream_failed", "upstream_failed")
    assert emulator.imports() == []


def test_bad_lines_of_each_import_are_sent_again(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.ndjson", 600)
    fails(emulator, every=10, times=6)
    with DAG("spread_resent", schedule=None) as dag:
        load = spread(tmp_path / "p.ndjson", max_failures="100%", rejects_path=str(tmp_path / "bad"))
        assert load.imports is not None
        ResendLinesOperator.partial(
            task_id="resend", rejects_path=str(tmp_path / "bad"), sending=SENDING, poll_interval=0.2
        ).expand(results=load.imports)
    run = run_dag(dag)
    assert pulled(run, "load.judge")["lines_failed"] > 0
    assert {state for (task, _), state in states(run).items() if task == "resend"} == {"success"}
    assert held(emulator) == accounts(600)
