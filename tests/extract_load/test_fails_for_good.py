"""What the next try would meet again ends a step at once: Airflow makes no retry, with or without a retry policy."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.extract_load.readings import SourceKeepsChanging
from airflow_bulk.hooks.extract_load_sql import SqlSource
from airflow_bulk.operators.extract_load import ApplyOperator, ExtractOperator
from airflow_bulk.runs.extract_load.staging import write_records
from airflow_bulk.runs.failures import TryFailed
from airflow_bulk.runs.own_files import own_name, owner_of

CONTEXT = {"ti": SimpleNamespace(try_number=1, dag_id="d", run_id="r")}


@pytest.fixture
def applying(extract_load, tmp_path):
    """Makes an apply of one record, where three are."""
    extract_load.create("accounts", *({"qbd_id": str(number), "Name": "n"} for number in (1, 2, 3)))
    staged, _ = write_records(
        str(tmp_path), own_name("accounts", owner_of("d"), "r"), [{"Id": "1", "Name": "Till"}]
    )
    extract = {"node": "e", "object": "Account", "uri": staged, "records": 1}
    extract |= {"since": None, "updated_since": None, "rests_on": "a total of 1"}

    def make(**more):
        given = {"task_id": "apply", "destination": "el_destination", "object_name": "accounts"}
        return ApplyOperator(**given, staging=str(tmp_path), extracts=[extract], **more)

    return make


def test_a_mapping_that_cannot_be_carried_out(extract_load, applying):
    mapping = LoadMapping(fields={"bank_id": "Id"}, references={"bank_id": "banks"})
    with pytest.raises(
        AirflowFailException, match=r"refers to banks.*Nothing was written\. .*clear this task"
    ):
        applying(mapping=mapping).execute(CONTEXT)


def test_more_deletions_than_allowed(extract_load, applying):
    with pytest.raises(AirflowFailException, match="2 of 3 records"):
        applying(deletions=1).execute(CONTEXT)
    assert len(extract_load.destination("accounts")) == 3


def test_records_that_are_gone(extract_load, applying, tmp_path):
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(
        AirflowFailException, match=r"records of e are gone.*Nothing was written.*clear the task"
    ):
        applying().execute(CONTEXT)
    assert extract_load.events("write") == []


def test_a_bound_that_the_source_cannot_filter_by(tmp_path):
    extract = ExtractOperator(
        task_id="extract",
        source=SqlSource("nowhere", {"customers": "customers"}),
        object_name="customers",
        updated_since="2013-05-01",
        staging=str(tmp_path),
    )
    with pytest.raises(AirflowFailException, match=r"the source has no updated_field.*Nothing was read"):
        extract.execute(CONTEXT)


class RestlessSource:
    """A source of a user's own, whose list never stands still."""

    def extract(self, name, *, since, updated_since, grain):
        raise SourceKeepsChanging("the source changed. A retry reads again.")

    def changed_at(self, name, record):
        return None


def test_what_may_pass_ends_a_try_without_the_layers_below(tmp_path):
    extract = ExtractOperator(
        task_id="extract", source=RestlessSource(), object_name="customers", staging=str(tmp_path)
    )
    with pytest.raises(TryFailed, match=r"A retry reads again\.") as caught:
        extract.execute(CONTEXT)
    assert caught.value.__suppress_context__
