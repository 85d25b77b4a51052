"""The steps of a batch outside a group, in real runs of Airflow's own task runner."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.operators.extract_load import ApplyOperator, ExtractOperator, SnapshotOperator
from airflow_bulk.runs.extract_load.staging import read_records
from inline_dag import pulled, states

COUNTS = {
    "created": 0,
    "updated": 0,
    "deleted": 0,
    "unchanged": 0,
    "kept_orphans": 0,
    "would_delete": 0,
    "out_of_scope": 0,
    "second_writes": 0,
    "unresolved_references": 0,
    "deletions_refused": None,
}


@pytest.fixture
def extract(extract_load, tmp_path):
    extract_load.put("Account", {"Id": "1", "Name": "Till"}, {"Id": "2", "Name": "Bank"})
    return lambda: ExtractOperator(
        task_id="extract", source="el_quickbooks", object_name="Account", staging=str(tmp_path)
    )


@pytest.fixture
def snapshot(tmp_path):
    return lambda name: SnapshotOperator(
        task_id=f"snapshot_{name}", destination="el_destination", object_name=name, staging=str(tmp_path)
    )


def counts(result):
    return {name: result[name] for name in COUNTS}


def test_outputs_are_edges_and_references(extract_load, extract, snapshot, tmp_path, run_dag):
    extract_load.create("accounts", {"qbd_id": "2", "Name": "old"})
    (held,) = extract_load.create("banks", {"qbd_id": "1", "Name": "b"})
    with DAG("el_alone", schedule=None, max_active_runs=1) as dag:
        read, there = extract(), snapshot("accounts")
        applied = ApplyOperator(
            task_id="apply",
            destination="el_destination",
            object_name="accounts",
            mapping=LoadMapping(fields={"Name": "Name", "bank_id": "Id"}, references={"bank_id": "banks"}),
            extracts=[read.output],
            snapshot=there.output,
            references={"banks": snapshot("banks").output},
            staging=str(tmp_path),
        )
        read >> there
    assert applied.upstream_task_ids == {"extract", "snapshot_accounts", "snapshot_banks"}
    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    result = pulled(run, "apply")
    assert counts(result) == {**COUNTS, "created": 1, "updated": 1, "unresolved_references": 1}
    expected = {("Till", held["id"]), ("Bank", None)}
    assert {
        (record["Name"], record["bank_id"]) for record in extract_load.destination("accounts")
    } == expected
    assert {
        (record["Name"], record["bank_id"]) for record in read_records(result["uri"], "apply")
    } == expected


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a_read_only_apply_never_writes_and_tells_the_same_counts(
    extract_load, extract, snapshot, tmp_path, run_dag, with_snapshot
):
    extract_load.create("accounts", {"qbd_id": "1", "Name": "old"}, {"qbd_id": "9", "Name": "orphan"})
    with DAG(f"el_read_only_{with_snapshot}", schedule=None) as dag:
        ApplyOperator(
            task_id="apply",
            destination="el_destination",
            object_name="accounts",
            extracts=[extract().output],
            snapshot=snapshot("accounts").output if with_snapshot else None,
            deletions="all",
            read_only=True,
            staging=str(tmp_path),
        )
    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert extract_load.events("write") == []
    result = pulled(run, "apply")
    assert counts(result) == {**COUNTS, "unchanged": 2}
    assert (result["object"], result["records"], result["read_only"]) == ("accounts", 2, True)
    assert [record["Name"] for record in read_records(result["uri"], "apply")] == ["old", "orphan"]
