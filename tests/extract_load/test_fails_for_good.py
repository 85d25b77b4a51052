"""What the next try would meet again ends a step at once: Airflow makes no retry, with or without a retry policy."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.hooks.extract_load_sql import SqlSource
from airflow_bulk.operators.extract_load import ApplyOperator, ExtractOperator
from airflow_bulk.runs.extract_load.staging import write_records

CONTEXT = {"ti": SimpleNamespace(try_number=1)}


@pytest.fixture
def applying(extract_load, tmp_path):
    """Makes an apply of one record, where three are."""
    extract_load.create("accounts", *({"qbd_id": str(number), "Name": "n"} for number in (1, 2, 3)))
    staged, _ = write_records(str(tmp_path), "accounts", [{"Id": "1", "Name": "Till"}])
    extract = {"node": "e", "object": "Account", "uri": staged, "records": 1}
    extract |= {"since": None, "updated_since": None}

    def make(**more):
        given = {"task_id": "apply", "destination": "el_destination", "object_name": "accounts"}
        return ApplyOperator(**given, staging=str(tmp_path), extracts=[extract], **more)

    return make


def test_a_mapping_that_cannot_be_carried_out(extract_load, applying):
    mapping = LoadMapping(fields={"bank_id": "Id"}, references={"bank_id": "banks"})
    with pytest.raises(AirflowFailException, match="refers to banks"):
        applying(mapping=mapping).execute(CONTEXT)


def test_more_deletions_than_allowed(extract_load, applying):
    with pytest.raises(AirflowFailException, match="2 of 3 records"):
        applying(deletions=1).execute(CONTEXT)
    assert len(extract_load.destination("accounts")) == 3


def test_a_bound_that_the_source_cannot_filter_by(tmp_path):
    extract = ExtractOperator(
        task_id="extract",
        source=SqlSource("nowhere", {"customers": "customers"}),
        object_name="customers",
        updated_since="2013-05-01",
        staging=str(tmp_path),
    )
    with pytest.raises(AirflowFailException, match="the source has no updated_field"):
        extract.execute(CONTEXT)
