"""Another run of the DAG writes between this run's snapshot and its apply: nothing is created twice."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, task

from airflow_bulk.operators.extract_load import ApplyOperator, ExtractLoadTaskGroup
from airflow_bulk.runs.extract_load.staging import write_records
from inline_dag import begin_another_run, pulled, states

JOBS = [
    {"type": "extract", "object": "Account"},
    {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
]


@pytest.fixture
def interrupted(extract_load, tmp_path):
    """Build a DAG in which another run's apply comes between the snapshot and the apply."""

    def build(dag_id, meanwhile=lambda dag_id: None, **arguments):
        @task
        def another_run():
            extract_load.create("accounts", {"qbd_id": "1", "Name": "Till"})
            meanwhile(dag_id)

        with DAG(dag_id, schedule=None, **arguments) as dag:
            group = ExtractLoadTaskGroup(
                "books",
                definition={"jobs": JOBS},
                source="el_quickbooks",
                destination="el_destination",
                staging=f"{tmp_path}/{{{{ run_id }}}}",
            )
            apply = group.tasks_by_node["apply:accounts"]
            apply.settle = 0.0
            group.tasks_by_node["snapshot:accounts"] >> another_run() >> apply
        extract_load.put("Account", {"Id": "1", "Name": "Till"}, {"Id": "2", "Name": "Bank"})
        return dag

    return build


def created(extract_load, run):
    """Names at the destination, and how many of them the run created."""
    assert set(states(run).values()) == {"success"}
    names = sorted(record["Name"] for record in extract_load.destination("accounts"))
    return names, pulled(run, "books.apply_accounts")["created"]


def test_the_destination_is_read_again_where_runs_may_overlap(extract_load, interrupted, run_dag):
    run = run_dag(interrupted("el_overlap"))
    assert created(extract_load, run) == (["Bank", "Till"], 1)


def test_and_beside_an_active_run(extract_load, interrupted, run_dag):
    run = run_dag(interrupted("el_beside", begin_another_run, max_active_runs=1))
    assert created(extract_load, run) == (["Bank", "Till"], 1)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_and_after_a_run_that_has_ended_since_the_snapshot(extract_load, interrupted, run_dag, state):
    """A backfill's runs are not held back by max_active_runs, and this run's apply has waited for theirs."""
    ended = partial(begin_another_run, state=state)
    run = run_dag(interrupted(f"el_after_{state}", ended, max_active_runs=1))
    assert created(extract_load, run) == (["Bank", "Till"], 1)


def test_and_in_a_backfill(extract_load, tmp_path):
    extract_load.create("accounts", {"qbd_id": "1", "Name": "Till"})
    read, _ = write_records(str(tmp_path), "read", [{"Id": "1", "Name": "Till"}])
    stale, _ = write_records(str(tmp_path), "stale", [])
    bounds = {"since": None, "updated_since": None}
    with DAG("el_backfill", schedule=None, max_active_runs=1):
        operator = ApplyOperator(
            task_id="apply",
            destination="el_destination",
            object_name="accounts",
            extracts=[{"node": "e", "object": "Account", "uri": read, "records": 1, **bounds}],
            snapshot={"object": "accounts", "uri": stale, "records": 0},
            staging=str(tmp_path),
            settle=0.0,
        )
    ti = SimpleNamespace(try_number=1, dag_id="d", run_id="r", get_dr_count=lambda **asked: 1)
    result = operator.execute({"ti": ti, "dag_run": SimpleNamespace(run_type="backfill")})
    assert (result["created"], result["unchanged"]) == (0, 1)
    assert operator.execute({"ti": ti, "dag_run": SimpleNamespace(run_type="manual")})["created"] == 1


def test_a_run_that_is_alone_trusts_its_snapshot(extract_load, interrupted, run_dag):
    run = run_dag(interrupted("el_one_run", max_active_runs=1))
    assert created(extract_load, run) == (["Bank", "Till", "Till"], 2)


def test_tasks_of_one_object_never_overlap_whatever_the_defaults(extract_load, tmp_path):
    defaults = {"max_active_tis_per_dag": 9, "trigger_rule": "all_success"}
    with DAG("el_one_at_a_time", schedule=None, default_args=defaults) as dag:
        ExtractLoadTaskGroup(
            "books",
            definition={"jobs": JOBS},
            source="el_quickbooks",
            destination="el_destination",
            staging=str(tmp_path),
            updated_since="watermark",
        )
    assert dag.get_task("books.apply_accounts").max_active_tis_per_dag == 1
    assert dag.get_task("books.watermark").max_active_tis_per_dag == 1
    assert dag.get_task("books.watermark").trigger_rule == "all_done"
