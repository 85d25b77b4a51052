"""The watermark moves by what was applied in this run: not by old results, not by what was skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, Asset, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup, WatermarkOperator
from inline_dag import pulled, run_again, states

JUNE, JULY = (datetime(2013, month, 1, tzinfo=UTC) for month in (6, 7))
ACCOUNTS = [
    {"type": "extract", "object": "Account"},
    {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
]
VENDORS = [
    {"type": "extract", "object": "Vendor"},
    {"type": "load", "object": "vendors", "required_objects": {"extract": ["Vendor"]}},
]


def record(number, changed=JUNE):
    times = {"CreateTime": JUNE.isoformat(), "LastUpdatedTime": changed.isoformat()}
    return {"Id": str(number), "Name": f"n{number}", "MetaData": times}


@pytest.fixture
def watermarked(extract_load, tmp_path):
    """Build a DAG whose group keeps a watermark; ``before`` puts a task before it."""

    def build(dag_id, jobs, before=None, **arguments):
        arguments = {"updated_since": "watermark", "overlap": timedelta(0), **arguments}
        with DAG(dag_id, schedule=None, max_active_runs=1) as dag:
            group = ExtractLoadTaskGroup(
                "books",
                definition={"jobs": jobs},
                source="el_quickbooks",
                destination="el_destination",
                staging=f"{tmp_path}/{{{{ run_id }}}}",
                **arguments,
            )
            if before is not None:
                before(group)
        return dag

    return build


def state_of(run, name):
    return states(run)[(f"books.{name}", -1)]


def test_the_old_result_of_a_cleared_apply_moves_nothing(extract_load, watermarked, run_dag):
    dag = watermarked("el_stale_result", ACCOUNTS)
    extract_load.put("Account", record(1))
    run = run_dag(dag)
    assert pulled(run, "books.watermark") == {"extract:Account": JUNE.isoformat()}

    extract_load.put("Account", record(2, JULY))
    extract_load.fail(side="destination", object="accounts", verb="GET", status=400, times=99)
    run = run_again(dag, run)
    assert pulled(run, "books.extract_Account")["latest_change"] == JULY.isoformat()
    assert (state_of(run, "apply_accounts"), state_of(run, "watermark")) == ("upstream_failed", "failed")
    assert pulled(run, "books.apply_accounts")["created"] == 1  # that of the first time

    extract_load.forget_failures()
    run = run_dag(dag)
    assert pulled(run, "books.extract_Account")["updated_since"] == JUNE.isoformat()
    assert len(extract_load.destination("accounts")) == 2


def test_a_group_that_a_branch_skips_is_skipped_whole(extract_load, watermarked, run_dag):
    def branch(group):
        @task.branch
        def choose():
            return []

        choose() >> group

    run = run_dag(watermarked("el_skipped_group", ACCOUNTS, branch))
    assert run.state == "success"
    assert {state_of(run, name) for name in ("extract_Account", "apply_accounts", "watermark")} == {"skipped"}


def test_what_was_skipped_does_not_move_and_the_rest_does(extract_load, watermarked, run_dag):
    def short_circuit(group):
        @task.short_circuit(ignore_downstream_trigger_rules=False)
        def wanted():
            return False

        wanted() >> group.tasks_by_node["apply:vendors"]

    extract_load.put("Account", record(1))
    extract_load.put("Vendor", record(2))
    run = run_dag(watermarked("el_skipped_apply", [*ACCOUNTS, *VENDORS], short_circuit))
    assert run.state == "success"
    assert state_of(run, "apply_vendors") == "skipped"
    assert pulled(run, "books.watermark") == {"extract:Account": JUNE.isoformat()}


def test_a_failed_apply_that_needs_no_watermark_fails_the_run_too(extract_load, watermarked, run_dag):
    vendors = [{**VENDORS[0], "updated_since": None}, VENDORS[1]]
    extract_load.put("Vendor", record(1))
    extract_load.fail(side="destination", object="vendors", verb="POST", status=400)
    run = run_dag(watermarked("el_failed_beside", [*ACCOUNTS, *vendors]))
    assert (state_of(run, "apply_vendors"), run.state) == ("failed", "failed")


def backfill(**found):
    ti = SimpleNamespace(dag_id="d", run_id="r", get_task_states=lambda **asked: {"r": found})
    return {"dag_run": SimpleNamespace(run_type="backfill"), "ti": ti}  # no state of an asset to move


def test_a_backfill_moves_no_watermark_and_fails_all_the_same():
    operator = WatermarkOperator(task_id="w", asset=Asset("el_backfill"), extracts={"e": ["a"]})
    assert operator.execute(backfill(e="success", a="success")) == {}
    with pytest.raises(AirflowFailException, match=r"0 watermarks moved.*Failed: a\. A retry"):
        operator.execute(backfill(e="success", a="failed"))
