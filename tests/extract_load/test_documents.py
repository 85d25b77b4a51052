"""A document import as a batch's destination; the PostgreSQL example against a real server."""

from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime

import pytest
from airflow.sdk import DAG

from airflow_bulk.extract_load import BatchDefinitionError, LoadMapping
from airflow_bulk.operators.extract_load import DocumentImportDestination, ExtractLoadTaskGroup
from inline_dag import pulled, states

JOBS = [
    {"type": "extract", "object": "Customer"},
    {"type": "load", "object": "profiles", "required_objects": {"extract": ["Customer"]}},
]


def profile(record):
    if record["Name"] == "left out":
        return None
    return {
        "operation": "UPSERT",
        "compartment_id": "1000",
        "user_account_id": record["Id"],
        "user_profile": {"name": record["Name"]},
    }


@pytest.fixture
def mediarithmics(bulk_emulator, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    return bulk_emulator


@pytest.fixture
def group(tmp_path):
    def build(dag_id, documents, **arguments):
        with DAG(dag_id, schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)) as dag:
            ExtractLoadTaskGroup(
                "g",
                definition={"jobs": JOBS},
                source="el_quickbooks",
                destination=DocumentImportDestination(documents),
                mappings={"profiles": LoadMapping(feeds="Customer", fields=profile)},
                staging=f"{tmp_path}/{{{{ run_id }}}}",
                **arguments,
            )
        return dag

    return build


def held_names(emulator):
    return sorted(json.loads(line)["user_profile"]["name"] for line in emulator.held().elements())


def test_records_become_lines_and_are_imported(extract_load, mediarithmics, group, run_dag):
    extract_load.put(
        "Customer", *({"Id": str(n), "Name": name} for n, name in enumerate(["Ann", "Bob", "left out"]))
    )
    dag = group("el_documents", {"profiles": {"document_type": "USER_PROFILE"}})
    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert held_names(mediarithmics) == ["Ann", "Bob"]
    assert pulled(run, "g.apply_profiles")["lines_accepted"] == 2


def test_no_record_is_no_failure(extract_load, mediarithmics, group, run_dag):
    run = run_dag(group("el_no_documents", {"profiles": {"document_type": "USER_PROFILE"}}))
    assert set(states(run).values()) == {"success"}
    assert mediarithmics.held().total() == 0


def test_a_lost_answer_imports_no_line_twice(extract_load, mediarithmics, group, run_dag):
    extract_load.put("Customer", {"Id": "1", "Name": "Ann"})
    mediarithmics.fault("lost_answer", path="/executions$", times=1)
    dag = group(
        "el_documents_lost", {"profiles": {"document_type": "USER_PROFILE", "retries": 2, "retry_delay": 0.0}}
    )
    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert held_names(mediarithmics) == ["Ann"]


def test_a_load_that_is_only_read_imports_nothing(extract_load, mediarithmics, group, run_dag):
    extract_load.put("Customer", {"Id": "1", "Name": "Ann"})
    run = run_dag(group("el_documents_read_only", {}, read_only={"profiles"}))
    assert set(states(run).values()) == {"success"}
    assert mediarithmics.imports() == []
    result = pulled(run, "g.apply_profiles")
    assert (result["records"], result["created"], result["read_only"]) == (0, 0, True)


def test_what_documents_cannot_do_is_a_fault_of_the_definition(group):
    with pytest.raises(BatchDefinitionError) as caught:
        group("el_documents_bad", {"segments": {"document_type": "USER_SEGMENT"}}, deletions="all")
    assert [(problem.code, problem.jobs) for problem in caught.value.problems] == [
        ("undeclared", (1,)),
        ("option", ()),
    ]


def test_the_postgresql_example(
    mediarithmics, database, postgres_url, monkeypatch, repository, tmp_path, run_dag
):
    import os

    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", os.environ["AIRFLOW_CONN_EL_POSTGRES"])
    dag = runpy.run_path(str(repository / "dags" / "customer_profiles.py"))["dag"]
    staging = {"staging": str(tmp_path)}
    run = run_dag(dag, run_conf=staging)
    assert set(states(run).values()) == {"success"}
    customers = pulled(run, "fill_table")
    assert (
        customers
        == pulled(run, "shop.apply_profiles")["lines_accepted"]
        == mediarithmics.held().total()
        > 20_000
    )

    database.execute("UPDATE bulk_example_customers SET changed_at = changed_at - interval '1 day'")
    database.execute(
        "UPDATE bulk_example_customers SET spent = 1, changed_at = now() WHERE customer = '00001'"
    )
    run = run_dag(dag, run_conf=staging)
    assert pulled(run, "shop.apply_profiles")["lines_accepted"] == 1
