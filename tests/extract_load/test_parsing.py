"""A DAG file is parsed every few seconds: building a group asks no network and no connection."""

from __future__ import annotations

import runpy
import shutil
import socket

import pytest
from airflow.sdk import DAG, BaseHook, Connection

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.hooks.extract_load_endpoints import ActiveCellDestination, JsonSource, QuickBooksSource
from airflow_bulk.hooks.extract_load_sql import SqlObject, SqlSource
from airflow_bulk.operators.extract_load import DocumentImportDestination, ExtractLoadTaskGroup

JOBS = [
    {"type": "extract", "object": "Customer"},
    {"type": "load", "object": "profiles", "required_objects": {"extract": ["Customer"]}},
]
ISSUE_DAG = """
from airflow.sdk import DAG
from airflow_bulk.extract_load import LoadMapping, load_definition
from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup

with DAG("accounting_refresh", schedule="@daily") as dag:
    ExtractLoadTaskGroup(
        group_id="accounting",
        definition=load_definition("batches/accounting.yaml"),
        source="accounting_api", destination="warehouse_api",
        connections={"51b4ac524c9bfd8f2d000003": "accounting_api"},
        mappings={"accounts": LoadMapping(feeds=["Account"], match_on="qbd_id", fields={"name": "Name"},
                                          references={"parent_account_id": "accounts"})},
        staging="s3://aws@staging/{{ run_id }}/",
        updated_since="watermark",
        deletions="off",
    )
"""


class Books:
    """A source and a destination of a DAG author's own: any object with the methods."""

    def extract(self, name, *, since, updated_since, grain):
        raise AssertionError("read while parsing")

    def snapshot(self, name):
        raise AssertionError("read while parsing")

    def changed_at(self, name, record):
        return None

    create = update = delete = snapshot


@pytest.fixture
def offline(monkeypatch):
    """No socket connects, no name resolves, no connection is found."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network or a connection was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(BaseHook, "get_connection", refuse)
    monkeypatch.setattr(Connection, "get", refuse)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("books_api", "warehouse_api"),
        (QuickBooksSource("books_api"), ActiveCellDestination("warehouse_api")),
        (JsonSource("books_api"), "warehouse_api"),
        (SqlSource("shop", {"Customer": SqlObject(table="customers", updated_field="changed_at")}), "x"),
        ("books_api", DocumentImportDestination({"profiles": {"document_type": "USER_PROFILE"}})),
        (Books(), Books()),
    ],
    ids=["connection ids", "quickbooks", "json", "sql", "documents", "own objects"],
)
def test_building_a_group_asks_nobody(offline, source, destination):
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("el_offline", schedule="@daily") as dag:
        ExtractLoadTaskGroup(
            "g",
            definition={"jobs": JOBS},
            source=source,
            destination=destination,
            mappings={"profiles": LoadMapping(feeds="Customer", fields={"name": "Name"})},
            staging="s3://aws@staging/{{ run_id }}/",
            updated_since="watermark",
        )
    assert DagSerialization.serialize_dag(dag)["dag_id"] == "el_offline"
    expected = {"g.extract_Customer", "g.snapshot_profiles", "g.apply_profiles", "g.watermark"}
    assert set(dag.task_ids) == expected


def test_the_dag_of_the_issue_is_built_offline(offline, repository, tmp_path):
    shutil.copytree(repository / "dags" / "batches", tmp_path / "batches")
    (tmp_path / "accounting_dag.py").write_text(ISSUE_DAG)
    dag = runpy.run_path(str(tmp_path / "accounting_dag.py"))["dag"]
    apply = dag.get_task("accounting.apply_accounts")
    assert dict(apply.mapping.references) == {"parent_account_id": "accounts"}
    assert apply.upstream_task_ids == {"accounting.extract_Account", "accounting.snapshot_accounts"}
