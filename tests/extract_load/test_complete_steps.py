"""What a reading rests on decides over deletions: the steps of a group, as Airflow's task runner runs them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import DAG
from paged_server import Answer, PagedServer, Records, linked, numbered, one_answer, serving

from airflow_bulk.extract_load import BatchDefinitionError, LoadMapping
from airflow_bulk.extract_load.readings import RecordReading
from airflow_bulk.hooks.extract_load_endpoints import JsonSource
from airflow_bulk.operators.extract_load import (
    ApplyOperator,
    ExtractLoadTaskGroup,
    ExtractOperator,
    SnapshotOperator,
)
from airflow_bulk.runs.extract_load.staging import read_records
from inline_dag import pulled, states

MAPPING = LoadMapping(feeds="Account", fields={"Name": "name"}, source_id="id")


def accounts(count: int) -> Records:
    return [{"id": number, "name": f"n{number}"} for number in range(1, count + 1)]


class Listed:
    """A source of one's own."""

    def __init__(self, records: Any) -> None:
        self.records = records

    def extract(self, name: str, *, since: Any, updated_since: Any, grain: str | None) -> Any:
        return self.records()

    def changed_at(self, name: str, record: Any) -> None:
        return None


@pytest.fixture
def applied(extract_load: Any, tmp_path: Any, run_dag: Any) -> Any:
    """Runs extract and apply with all deletions allowed, where one record has no counterpart any more."""
    extract_load.create("accounts", {"qbd_id": "999", "Name": "orphan"})

    def run(source: Any) -> tuple[dict[str, str], Any, Any]:
        with DAG("el_complete", schedule=None, max_active_runs=1) as dag:
            read = ExtractOperator(
                task_id="extract", source=source, object_name="Account", staging=str(tmp_path)
            )
            ApplyOperator(
                task_id="apply",
                destination="el_destination",
                object_name="accounts",
                mapping=MAPPING,
                extracts=[read.output],
                deletions="all",
                staging=str(tmp_path),
            )
        ended = run_dag(dag)
        ends = {task_id: state for (task_id, _), state in states(ended).items()}
        return ends, pulled(ended, "extract"), pulled(ended, "apply")

    return run


@pytest.mark.parametrize(
    ("records", "rests_on"),
    [
        (lambda: iter(accounts(2)), None),
        (lambda: RecordReading(iter(accounts(2))), None),
        (lambda: RecordReading(accounts(2), "the trailer of the export"), "the trailer of the export"),
    ],
)
def test_a_reading_that_rests_on_nothing_deletes_nothing(extract_load, applied, records, rests_on):
    ended, extract, apply = applied(Listed(records))
    assert ended == {"extract": "success", "apply": "success"}
    assert extract["rests_on"] == rests_on
    assert apply["created"] == 2
    names = {record["Name"] for record in extract_load.destination("accounts")}
    if rests_on:
        assert (apply["deleted"], apply["deletions_refused"]) == (1, None)
        assert names == {"n1", "n2"}
    else:
        assert apply["deleted"] == 0
        assert "nothing shows that the reading of" in apply["deletions_refused"]
        assert names == {"n1", "n2", "orphan"}


def connect(monkeypatch: pytest.MonkeyPatch, name: str, server: PagedServer, **extra: Any) -> None:
    given = {"conn_type": "extract_load", "host": server.url, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(given))


def test_a_list_that_changed_is_staged_once_more_and_no_half_file_stays(applied, monkeypatch, tmp_path):
    def delete_first(records: Records) -> None:
        del records[0]

    with serving(PagedServer(accounts(250), numbered(), changes={2: delete_first})) as server:
        connect(monkeypatch, "paged", server)
        ended, extract, apply = applied(JsonSource("paged", "/accounts", page_size=100, updated_param=None))
    assert set(ended.values()) == {"success"}
    assert extract["records"] == 249
    assert [record["id"] for record in read_records(extract["uri"], "extract")] == list(range(2, 251))
    assert apply["created"] == 249
    assert len(list(tmp_path.rglob("extract*.ndjson"))) == 1


def test_an_error_in_a_good_answer_is_no_empty_list(applied, extract_load, monkeypatch):
    with serving(
        PagedServer([], lambda *asked: Answer({"data": [], "error": "rate limit exceeded"}))
    ) as server:
        connect(monkeypatch, "paged", server)
        ended, _, _ = applied(JsonSource("paged", "/accounts"))
    assert ended["extract"] in ("failed", "up_for_retry")
    assert extract_load.events("write") == []


def test_a_snapshot_in_pages_is_read_whole(monkeypatch, tmp_path, run_dag):
    with serving(PagedServer(accounts(250), in_pages)) as server:
        connect(monkeypatch, "el_paged", server, api="activecell")
        with DAG("el_paged_snapshot", schedule=None) as dag:
            SnapshotOperator(
                task_id="snapshot", destination="el_paged", object_name="accounts", staging=str(tmp_path)
            )
        ended = run_dag(dag)
    found = pulled(ended, "snapshot")
    assert (found["records"], found["rests_on"]) == (250, "a last page that names no next one")


def in_pages(server: PagedServer, request: Any) -> Answer:
    """Pages of 100 though nobody asked for pages."""
    request.query.setdefault("per_page", "100")
    answer = linked(server, request)
    answer.headers["Link"] = answer.headers["Link"].replace("/things", "/api/v1/accounts.json")
    return answer


def test_a_definition_that_wants_deletions_needs_a_source_that_can_show_its_end():
    definition = {
        "jobs": [
            {"type": "extract", "object": "Account"},
            {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
        ]
    }
    given = {
        "definition": definition,
        "destination": "x",
        "staging": "/tmp",
        "mappings": {"accounts": MAPPING},
    }
    with DAG("el_unproven", schedule=None):
        ExtractLoadTaskGroup("off", source=JsonSource("paged", paging="none"), **given)
        ExtractLoadTaskGroup(
            "total", source=JsonSource("paged", paging="none", total_key="n"), deletions="10%", **given
        )
        with pytest.raises(
            BatchDefinitionError,
            match=r"extract Account: deletions=10% needs complete readings.*name total_key",
        ):
            ExtractLoadTaskGroup("g", source=JsonSource("paged", paging="none"), deletions="10%", **given)


def test_an_extract_that_feeds_no_load_that_deletes_needs_to_show_nothing():
    """One that feeds a load that is never written, and one that only goes before."""
    definition = {
        "jobs": [
            {"type": "extract", "object": "Account"},
            {"type": "extract", "object": "Rate"},
            {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account", "Rate"]}},
        ]
    }
    given = {"definition": definition, "destination": "x", "staging": "/tmp", "deletions": "10%"}
    source = JsonSource("paged", paging="none")
    with DAG("el_unproven_before", schedule=None):
        ExtractLoadTaskGroup(
            "read", source=source, read_only=["accounts"], mappings={"accounts": MAPPING}, **given
        )
        with pytest.raises(BatchDefinitionError) as error:
            ExtractLoadTaskGroup("written", source=source, mappings={"accounts": MAPPING}, **given)
    assert "extract Account:" in str(error.value)
    assert "extract Rate:" not in str(error.value)


def test_one_answer_with_a_total_may_delete(applied, monkeypatch):
    with serving(PagedServer(accounts(2), one_answer)) as server:
        connect(monkeypatch, "paged", server)
        _, extract, apply = applied(JsonSource("paged", "/accounts", paging="none", total_key="total"))
    assert extract["rests_on"] == "a total of 2"
    assert apply["deleted"] == 1
