"""The accounting example in a real Airflow: order, data, edits, the watermark, a killed apply."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import accounting
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator

DAG_ID = "accounting_refresh"
MONEY = {"amount": 10, "date": "2013-01-05"}
#: The whole warehouse after the first run, as extract_load.md section 2.2 says; see warehouse().
FILLED = {
    "accounts": [
        {"qbd_id": "1", "name": "Till", "kind": "Bank", "parent_account_id": "accounts 2"},
        {"qbd_id": "2", "name": "Cash", "kind": "Bank", "parent_account_id": None},
        {"qbd_id": "3", "name": "Sales", "kind": "Income", "parent_account_id": None},
    ],
    "customers": [{"qbd_id": "1", "name": "Ann", "email": "ann@example.org"}],
    "vendors": [{"qbd_id": "1", "name": "Bob"}],
    "products": [{"qbd_id": "1", "name": "Pen", "price": 2, "account_id": "accounts 3"}],
    "financial_transactions": [
        {"qbd_id": "7", "kind": "Invoice", **MONEY, "customer_id": "customers 1", "vendor_id": None},
        {"qbd_id": "7", "kind": "Payment", **MONEY, "customer_id": "customers 1", "vendor_id": None},
        {"qbd_id": "8", "kind": "Bill", **MONEY, "customer_id": None, "vendor_id": "vendors 1"},
    ],
    "balances": [{"qbd_id": "1", "customer_id": "customers 1", "amount": 5}],
    "periods": [{"qbd_id": "2013-01", "name": "January 2013"}],
}


def record(number, **fields):
    return {"Id": str(number), **fields}  # the emulator stamps it: changed now


@pytest.fixture
def books(bulk_emulator, airflow_stack):
    emulated = ExtractLoadEmulator(bulk_emulator)
    parts = {
        "accounting_source": ("source", "quickbooks"),
        "accounting_warehouse": ("destination", "activecell"),
    }
    for conn_id, (part, api) in parts.items():
        airflow_stack.api.add_connection(conn_id, emulated.connection_json(part, api=api, realm="1"))
    airflow_stack.api.wait_for_dag(DAG_ID)
    airflow_stack.api.unpause(DAG_ID)
    return emulated


def run(airflow_stack, expected="success"):
    run_id = airflow_stack.api.trigger(DAG_ID)
    state = airflow_stack.api.wait_for_run(DAG_ID, run_id, timeout=900)
    assert state == expected, airflow_stack.api.states(DAG_ID, run_id)
    return run_id


def warehouse(books):
    """All records of the destination, every field; its own ids, given out as they come, as object and source id."""
    held = books.emulator.control("GET", "/extract_load/records/destination")
    names = {one["id"]: f"{name} {one['qbd_id']}" for name, records in held.items() for one in records}
    return {
        name: sorted(
            ({key: names.get(one[key], one[key]) for key in one if key != "id"} for one in records),
            key=lambda one: (one["qbd_id"], one.get("kind")),
        )
        for name, records in held.items()
    }


def writes(books, start=0):
    return [(event["object"], event["verb"]) for event in books.events("write")[start:]]


def test_the_batch_runs_in_order_again_changes_nothing_and_then_makes_exactly_the_edits(books, airflow_stack):
    accounting.fill(books.emulator)
    run(airflow_stack)
    order = [name for name, _ in writes(books)]
    results = {
        "products": ["accounts"],
        "financial_transactions": ["accounts", "customers", "vendors", "products"],
        "balances": ["customers", "financial_transactions"],
    }
    for name, needed in results.items():
        first = order.index(name)
        assert all(first > max(place for place, other in enumerate(order) if other == one) for one in needed)
    assert warehouse(books) == FILLED

    before = len(writes(books))
    run(airflow_stack)
    assert writes(books, before) == []

    books.put("Vendor", record(1, DisplayName="Bob & Son"), record(2, DisplayName="Eve"))
    run_id = run(airflow_stack)
    assert writes(books, before) == [("vendors", "PUT"), ("vendors", "POST")]
    vendors = [{"qbd_id": "1", "name": "Bob & Son"}, {"qbd_id": "2", "name": "Eve"}]
    assert warehouse(books) == {**FILLED, "vendors": vendors}
    extracted = airflow_stack.api.xcom(DAG_ID, run_id, "accounting.extract_Vendor")
    assert extracted["updated_since"] is not None


@pytest.mark.slow
def test_a_record_changed_while_the_run_runs_is_in_the_next_one(books, airflow_stack):
    accounting.fill(books.emulator)
    # The extract of vendors is over when the slow write of accounts begins.
    books.emulator.fault("slow", path=r"accounts\.json", method="POST", times=1, answer_delay=6.0)
    api = airflow_stack.api
    run_id = api.trigger(DAG_ID)
    api.wait_for_task(DAG_ID, run_id, "accounting.extract_Vendor", {"success"}, timeout=600)
    books.put("Vendor", record(1, DisplayName="Changed meanwhile"))
    assert api.wait_for_run(DAG_ID, run_id, timeout=900) == "success"
    run(airflow_stack)
    assert [one["name"] for one in books.destination("vendors")] == ["Changed meanwhile"]


def test_a_killed_apply_tried_again_creates_nothing_twice(books, airflow_stack):
    accounting.fill(books.emulator)
    books.put("Account", *(record(number, Name=f"a{number}", AccountType="x") for number in range(10, 60)))
    books.emulator.fault("slow", path=r"accounts\.json", method="POST", answer_delay=0.5)
    api = airflow_stack.api
    run_id = api.trigger(DAG_ID)
    api.wait_for_task(DAG_ID, run_id, "accounting.apply_accounts", {"running"}, timeout=600)
    processes = airflow_stack.task_processes(DAG_ID, run_id, "accounting.apply_accounts")
    api.wait_for("some writes", lambda: len(books.destination("accounts")) >= 5 or None, 300)
    os.kill(processes.child, signal.SIGKILL)
    books.emulator.clear_faults()
    assert api.wait_for_run(DAG_ID, run_id, timeout=900) == "success"
    assert api.task(DAG_ID, run_id, "accounting.apply_accounts")["try_number"] == 2
    names = [one["name"] for one in books.destination("accounts")]
    assert len(names) == len(set(names)) == 53


def test_a_bad_definition_shows_all_its_problems_as_import_error(tmp_path: Path):
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "bad.yaml").write_text("jobs: [{type: Load, object: a}, {type: load}, {object: b}]")
    (tmp_path / "bad_dag.py").write_text(
        "from airflow.sdk import DAG\n"
        "from airflow_bulk.extract_load import load_definition\n"
        "from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup\n"
        "with DAG('bad', schedule=None):\n"
        "    ExtractLoadTaskGroup('g', definition=load_definition('bad.yaml'), source='a', destination='b', staging='x')\n"
    )
    (error,) = DagBag(str(tmp_path / "bad_dag.py"), bundle_path=tmp_path).import_errors.values()
    assert "The batch definition bad.yaml has 3 problems:" in error
    assert "1. job 0: unknown type 'Load'" in error
    assert "2. job 1: the load job has no `object`" in error
    assert "3. job 2: has no `type`" in error
