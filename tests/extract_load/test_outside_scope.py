"""A record that no later try would find again is not created a second time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.operators.extract_load import ApplyOperator
from airflow_bulk.runs.extract_load.staging import write_records


def test_a_record_stored_outside_the_scope_ends_the_apply_for_good(extract_load, tmp_path):
    staged, _ = write_records(str(tmp_path), "accounts", [{"Id": "1", "Name": "Till"}])
    bounds = {"since": None, "updated_since": None}
    apply = ApplyOperator(
        task_id="apply",
        destination="el_destination",
        object_name="accounts",
        mapping=LoadMapping(scope=lambda record: record.get("kind") == "a"),
        staging=str(tmp_path),
        extracts=[{"node": "e", "object": "Account", "uri": staged, "records": 1, **bounds}],
    )
    with pytest.raises(AirflowFailException, match=r"outside the mapping's own scope.*A retry is left out"):
        apply.execute({"ti": SimpleNamespace(try_number=1, dag_id="dag", run_id="run")})
    assert len(extract_load.destination("accounts")) == 1
