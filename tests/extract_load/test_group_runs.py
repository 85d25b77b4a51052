"""Expanded batches in real runs of Airflow's own task runner, against the emulated systems."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG

from airflow_bulk.extract_load import BatchDefinitionError, LoadMapping
from airflow_bulk.hooks.extract_load_endpoints import JsonSource
from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup
from inline_dag import pulled, states

YEAR = datetime(2013, 1, 1, tzinfo=UTC)
ACCOUNT = {"type": "extract", "object": "Account"}


def load(name, **required):
    return {"type": "load", "object": name, "required_objects": required}


BOOKS = {
    "tenant_id": "t1",
    "jobs": [
        load("financial_transactions", extract=["Bill", "Account"], load_result=["accounts", "periods"]),
        ACCOUNT,
        {"type": "extract", "object": "Bill"},
        load("accounts", extract=["Account"]),
        {"type": "load", "object": "periods"},
    ],
}
MAPPINGS = {
    "accounts": LoadMapping(
        fields={"name": "Name", "parent_id": "Parent"}, references={"parent_id": "accounts"}
    ),
    "financial_transactions": LoadMapping(
        fields={"amount": "TotalAmt", "account_id": "AccountRef.value"}, references={"account_id": "accounts"}
    ),
}


def account(number, name, parent=None, changed=YEAR):
    times = {"CreateTime": YEAR.isoformat(), "LastUpdatedTime": changed.isoformat()}
    return {"Id": str(number), "Name": name, "Parent": parent, "MetaData": times}


def bill(number, amount, account_number):
    return {"Id": str(number), "TotalAmt": amount, "AccountRef": {"value": str(account_number)}}


@pytest.fixture
def group(extract_load, tmp_path):
    """Build a DAG with one group: ``group(dag_id, definition, **arguments)``."""

    def build(dag_id, definition, retries=0, **arguments):
        arguments = {"source": "el_quickbooks", "destination": "el_destination", "mappings": {}, **arguments}
        defaults = {"retries": retries, "retry_delay": timedelta(0)}
        with DAG(dag_id, schedule=None, start_date=YEAR, max_active_runs=1, default_args=defaults) as dag:
            ExtractLoadTaskGroup(
                "books", definition=definition, staging=f"{tmp_path}/{{{{ run_id }}}}", **arguments
            )
        return dag

    return build


def by_name(extract_load, name="accounts"):
    records = extract_load.destination(name)
    names = {record["id"]: record["name"] for record in records}
    return {record["name"]: names.get(record.get("parent_id")) for record in records}


def writes(extract_load):
    return [(event["object"], event["verb"]) for event in extract_load.events("write")]


def test_the_graph_becomes_tasks(group):
    dag = group("el_tasks", BOOKS, mappings=MAPPINGS)
    upstream = {
        task.label: {one.removeprefix("books.") for one in task.upstream_task_ids} for task in dag.tasks
    }
    assert upstream == {
        "extract_Account": set(),
        "extract_Bill": set(),
        "snapshot_accounts": set(),
        "snapshot_periods": set(),
        "snapshot_financial_transactions": set(),
        "apply_accounts": {"extract_Account", "snapshot_accounts"},
        "apply_periods": {"snapshot_periods"},
        "apply_financial_transactions": {
            *("extract_Account", "extract_Bill", "snapshot_financial_transactions"),
            *("apply_accounts", "apply_periods"),
        },
    }
    assert all("tenant `t1`" in task.doc_md for task in dag.tasks)


def test_a_bad_definition_is_one_error_with_every_fault(group):
    jobs = [load("a", load_result=["b"]), load("b", load_result=["a"]), {"type": "Load", "object": "c"}]
    with pytest.raises(BatchDefinitionError) as caught:
        group("el_bad", {"jobs": jobs}, deletions="some")
    assert sorted(problem.code for problem in caught.value.problems) == ["cycle", "option", "unknown-type"]


def test_connection_ids_of_the_definition_resolve_or_fall_back(group, caplog):
    definition = {
        "source_connection_id": "s1",
        "destination_connection_id": "d1",
        "jobs": [ACCOUNT, load("accounts")],
    }
    dag = group("el_ids", definition, connections={"s1": "other"})
    assert dag.get_task("books.extract_Account").source == "other"
    assert dag.get_task("books.apply_accounts").destination == "el_destination"
    assert "does not know the destination connection d1 of the definition" in caplog.text


def test_an_end_that_cannot_be_one_is_refused(group):
    with pytest.raises(TypeError, match="an object with the methods of Destination"):
        group("el_wrong_end", BOOKS, mappings=MAPPINGS, destination=JsonSource("el_json"))
    with pytest.raises(BatchDefinitionError, match="load_definition"):
        group("el_path", "books.yaml", since="2013-01-01")


def test_first_run_creates_second_changes_nothing_third_makes_exactly_the_edits(extract_load, group, run_dag):
    dag = group("el_three_runs", BOOKS, mappings=MAPPINGS)
    extract_load.create("periods", {"qbd_id": "2013", "name": "2013"})
    extract_load.put("Account", account(1, "Till", "3"), account(2, "Bank"), account(3, "Cash"))
    extract_load.put("Bill", bill(10, 5, 1), bill(11, 7, 2))
    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert by_name(extract_load) == {"Till": "Cash", "Bank": None, "Cash": None}
    accounts = {record["id"]: record["name"] for record in extract_load.destination("accounts")}
    bills = extract_load.destination("financial_transactions")
    assert {(record["qbd_id"], accounts[record["account_id"]]) for record in bills} == {
        ("10", "Till"),
        ("11", "Bank"),
    }
    order = writes(extract_load)
    last_account = max(place for place, (name, _) in enumerate(order) if name == "accounts")
    first_bill = min(place for place, (name, _) in enumerate(order) if name == "financial_transactions")
    assert last_account < first_bill

    count = len(writes(extract_load))
    run = run_dag(dag)
    assert len(writes(extract_load)) == count
    assert pulled(run, "books.apply_accounts")["unchanged"] == 3

    extract_load.put("Account", account(2, "Bank of X", "3"), account(4, "New"))
    extract_load.remove("Bill", "11")
    run = run_dag(dag)
    assert writes(extract_load)[count:] == [("accounts", "PUT"), ("accounts", "POST")]
    result = pulled(run, "books.apply_financial_transactions")
    assert (result["kept_orphans"], result["would_delete"], result["deletions_refused"]) == (
        1,
        1,
        "deletions are off",
    )


@pytest.mark.parametrize("source", ["el_quickbooks", "el_json"])
def test_mutual_load_runs(extract_load, group, run_dag, source):
    definition = {
        "jobs": [
            {"type": "extract", "object": "Customer"},
            {"type": "extract", "object": "Vendor"},
            load("customers", extract=["Customer"], load=["vendors"]),
            load("vendors", extract=["Vendor"], load=["customers"]),
        ]
    }
    extract_load.put("Customer", account(1, "Ann"))
    extract_load.put("Vendor", account(2, "Bob"))
    run = run_dag(group(f"el_mutual_{source}", definition, source=source))
    assert set(states(run).values()) == {"success"}
    assert [record["Name"] for record in extract_load.destination("customers")] == ["Ann"]
    assert [record["Name"] for record in extract_load.destination("vendors")] == ["Bob"]


def test_an_upstream_failure_blocks_descendants_alone(extract_load, group, run_dag):
    extract_load.put("Account", account(1, "Till"))
    extract_load.put("Vendor", account(2, "Bob"))
    extract_load.fail(side="source", object="Account", page=0, status=404, times=99)
    jobs = [*BOOKS["jobs"], {"type": "extract", "object": "Vendor"}, load("vendors", extract=["Vendor"])]
    run = run_dag(group("el_blocked", {"jobs": jobs}, mappings=MAPPINGS))
    found = {task.removeprefix("books."): state for (task, _), state in states(run).items()}
    assert found["extract_Account"] == "failed"
    assert found["apply_accounts"] == found["apply_financial_transactions"] == "upstream_failed"
    assert found["apply_vendors"] == found["apply_periods"] == found["snapshot_accounts"] == "success"


def test_an_apply_that_dies_between_two_writes_creates_nothing_twice(extract_load, group, run_dag):
    extract_load.put("Account", *(account(number, f"a{number}") for number in range(1, 6)))
    extract_load.emulator.fault("lost_answer", path=r"accounts\.json", method="POST", times=1, skip=2)
    dag = group("el_retry", {"jobs": [ACCOUNT, load("accounts", extract=["Account"])]}, retries=1)
    dag.get_task("books.apply_accounts").settle = 0.0
    run = run_dag(dag)
    assert states(run)[("books.apply_accounts", -1)] == "success"
    names = [record["Name"] for record in extract_load.destination("accounts")]
    assert sorted(names) == [f"a{number}" for number in range(1, 6)]
    assert pulled(run, "books.apply_accounts")["created"] == 2


def test_deletions_over_the_limit_write_nothing_and_are_not_retried(extract_load, group, run_dag):
    extract_load.put("Account", account(1, "Till"))
    extract_load.create("accounts", *({"qbd_id": str(number), "Name": "old"} for number in range(2, 6)))
    definition = {"jobs": [ACCOUNT, load("accounts", extract=["Account"])]}
    run = run_dag(group("el_limit", definition, deletions="10%", retries=3))
    assert states(run)[("books.apply_accounts", -1)] == "failed"
    assert writes(extract_load) == []
    run = run_dag(group("el_all", definition, deletions="all"))
    assert pulled(run, "books.apply_accounts")["deleted"] == 4


def test_a_bounded_extract_keeps_orphans(extract_load, group, run_dag):
    extract_load.put("Account", account(1, "Till"))
    extract_load.create("accounts", {"qbd_id": "9", "Name": "old"})
    definition = {"since": "2012-01-01", "jobs": [ACCOUNT, load("accounts", extract=["Account"])]}
    result = pulled(run_dag(group("el_bounded", definition, deletions="all")), "books.apply_accounts")
    assert (result["deleted"], result["kept_orphans"]) == (0, 1)
    assert "extract:Account was limited by since" in result["deletions_refused"]


def test_the_watermark_follows_what_was_seen(extract_load, group, run_dag):
    definition = {"jobs": [ACCOUNT, load("accounts", extract=["Account"])]}
    dag = group("el_watermark", definition, updated_since="watermark", overlap=timedelta(0), deletions="all")
    june, july = (datetime(2013, month, 1, tzinfo=UTC) for month in (6, 7))
    extract_load.put("Account", account(1, "Till", changed=june), account(2, "Bank"))
    run = run_dag(dag)
    assert pulled(run, "books.extract_Account")["updated_since"] is None
    assert pulled(run, "books.watermark") == {"extract:Account": june.isoformat()}
    extract_load.put("Account", account(3, "Changed while the run ran", changed=july))
    run = run_dag(dag)
    reference = pulled(run, "books.extract_Account")
    assert (reference["updated_since"], reference["records"]) == (june.isoformat(), 2)
    assert len(extract_load.destination("accounts")) == 3
    run = run_dag(dag)
    assert pulled(run, "books.watermark") == {}
    assert pulled(run, "books.extract_Account")["updated_since"] == july.isoformat()


def test_a_failed_apply_holds_the_watermark_and_fails_the_run(extract_load, group, run_dag):
    jobs = [ACCOUNT, load("accounts", extract=["Account"]), {"type": "extract", "object": "Vendor"}]
    jobs.append(load("vendors", extract=["Vendor"]))
    dag = group("el_held_watermark", {"jobs": jobs}, updated_since="watermark")
    extract_load.put("Account", account(1, "Till"))
    extract_load.put("Vendor", account(2, "Bob"))
    extract_load.fail(side="destination", object="accounts", verb="POST", status=400)
    run = run_dag(dag)
    assert run.state == "failed"
    assert states(run)[("books.watermark", -1)] == "failed"
    extract_load.forget_failures()
    run = run_dag(dag)
    assert run.state == "success"
    assert pulled(run, "books.extract_Account")["updated_since"] is None  # read from the beginning again
    assert pulled(run, "books.extract_Vendor")["updated_since"] is not None


def test_a_bound_that_the_source_cannot_filter_fails_at_once(extract_load, group, run_dag):
    from airflow_bulk.hooks.extract_load_endpoints import QuickBooksSource

    source = QuickBooksSource("el_quickbooks", updated_field=None)
    definition = {"updated_since": "2013-01-01", "jobs": [ACCOUNT]}
    run = run_dag(group("el_unfilterable", definition, source=source, retries=2))
    assert states(run) == {("books.extract_Account", -1): "failed"}
    assert extract_load.events("read") == []


def test_templates_are_rendered_before_they_are_times(extract_load, group, run_dag):
    extract_load.put("Account", account(1, "Till"))
    definition = {"since": "{{ logical_date }}", "jobs": [ACCOUNT]}
    run = run_dag(group("el_template", definition), logical_date=datetime(2014, 1, 1, tzinfo=UTC))
    reference = pulled(run, "books.extract_Account")
    assert (reference["since"], reference["records"]) == ("2014-01-01T00:00:00+00:00", 0)


def test_a_window_is_a_lower_bound(extract_load, group, run_dag):
    definition = {"since": "window", "jobs": [ACCOUNT]}
    run = run_dag(
        group("el_window", definition, window=timedelta(days=2)), run_after=datetime(2014, 1, 3, tzinfo=UTC)
    )
    assert pulled(run, "books.extract_Account")["since"] == "2014-01-01T00:00:00+00:00"


def test_staged_records_are_for_their_owner_only(extract_load, group, run_dag):
    from pathlib import Path

    extract_load.put("Account", account(1, "Till"))
    run = run_dag(group("el_modes", {"jobs": [ACCOUNT]}))
    staged = Path(pulled(run, "books.extract_Account")["uri"].removeprefix("file://"))
    assert staged.stat().st_mode & 0o777 == 0o600
