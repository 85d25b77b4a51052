"""The SQL source against a real PostgreSQL."""

from __future__ import annotations

import os
import random
from contextlib import closing
from datetime import UTC, datetime

import pytest
from airflow.sdk import DAG

from airflow_bulk.extract_load import BatchDefinitionError
from airflow_bulk.extract_load.endpoints import UnfilterableBound
from airflow_bulk.hooks.extract_load_sql import SqlObject, SqlSource, _statement
from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup

APRIL, MAY = (datetime(2013, month, 1, tzinfo=UTC) for month in (4, 5))
TABLE = """CREATE TABLE customers (id int, name text, born date, balance numeric(10, 2),
           created_at timestamp, changed_at timestamptz)"""
CUSTOMERS = SqlObject(table="customers", since_field="created_at", updated_field="changed_at")


@pytest.fixture
def customers(database):
    database.execute(TABLE)
    rows = "(1, 'Ann', '1970-01-02', 1.50, '2013-04-01', '2013-05-01'), (2, 'Bob', null, 0, '2013-05-01', '2013-05-01')"
    database.execute(f"INSERT INTO customers VALUES {rows}")
    return database


def names(source, since=None, updated_since=None, grain=None, name="customers"):
    found = source.extract(name, since=since, updated_since=updated_since, grain=grain)
    return [row["name"] for row in found]


def test_rows_come_in_pages_of_the_fetch_size(customers):
    customers.execute("INSERT INTO customers (id, name) SELECT g, 'n' || g FROM generate_series(3, 50) g")
    assert len(names(SqlSource("el_postgres", {"customers": "customers"}, fetch_size=7))) == 50


def test_the_server_makes_no_more_rows_than_were_fetched(database):
    """A client-side cursor would take the whole result with the first row. Each row that is made takes a lock."""
    key = random.randrange(1 << 31)
    query = f"SELECT g AS name, pg_advisory_xact_lock_shared({key}, g) FROM generate_series(1, 50) g"
    source = SqlSource("el_postgres", {"numbers": SqlObject(query=query)}, fetch_size=7)
    with closing(source.extract("numbers", since=None, updated_since=None, grain=None)) as rows:
        for number, made in [(1, 7), (7, 7), (8, 14)]:
            while next(rows)["name"] < number:
                pass
            database.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s", [key]
            )
            assert database.fetchone() == (made,)
        database.execute("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert any('FROM "bulk_' in query for (query,) in database.fetchall())
        assert len(list(rows)) == 50 - 8


@pytest.mark.parametrize("cursor", ["dictcursor", "namedtuplecursor"])
def test_a_connection_that_asks_for_other_rows_changes_nothing(customers, monkeypatch, cursor):
    monkeypatch.setenv(
        "AIRFLOW_CONN_EL_POSTGRES", f"{os.environ['AIRFLOW_CONN_EL_POSTGRES']}&cursor={cursor}"
    )
    assert names(SqlSource("el_postgres", {"customers": "customers"})) == ["Ann", "Bob"]


def test_each_bound_filters_its_own_column(customers):
    source = SqlSource("el_postgres", {"customers": CUSTOMERS})
    assert names(source, since=MAY) == ["Bob"]
    assert names(source, updated_since=MAY) == ["Ann", "Bob"]
    assert names(source, since=APRIL, updated_since=datetime(2013, 5, 2, tzinfo=UTC)) == []


def test_a_column_without_a_zone_is_utc(customers):
    customers.execute("ALTER ROLE CURRENT_USER SET timezone TO 'Pacific/Auckland'")
    try:
        source = SqlSource("el_postgres", {"customers": CUSTOMERS})
        assert names(source, since=MAY) == ["Bob"]
    finally:
        customers.execute("ALTER ROLE CURRENT_USER RESET timezone")


def test_the_time_of_change_is_known(customers):
    source = SqlSource("el_postgres", {"customers": CUSTOMERS})
    row = next(source.extract("customers", since=None, updated_since=None, grain=None))
    assert source.changed_at("customers", row) == MAY


def test_a_query_by_grain_with_a_percent_sign(customers):
    queries = {"daily": "SELECT name, created_at FROM customers WHERE name LIKE 'A%'", "monthly": "SELECT 1"}
    source = SqlSource("el_postgres", {"report": SqlObject(query=queries, since_field="created_at")})
    assert names(source, grain="daily", name="report") == ["Ann"]
    assert names(source, since=APRIL, grain="daily", name="report") == ["Ann"]
    assert names(source, since=MAY, grain="daily", name="report") == []


def test_a_bound_without_its_column_is_an_error():
    source = SqlSource("nowhere", {"customers": "customers"})
    with pytest.raises(UnfilterableBound, match="updated_since is set, but the source has no updated_field"):
        names(source, updated_since=MAY)


def test_other_drivers_have_other_placeholders():
    declared = SqlObject(query="SELECT '100%' AS share", since_field="created_at")
    assert _statement(declared, None, {"created_at": MAY}, "?") == (
        "SELECT * FROM (SELECT '100%' AS share) bulk_rows WHERE created_at >= ?",
        [MAY],
    )


@pytest.mark.parametrize(
    "wrong",
    [{"table": "a; drop table b"}, {"table": "a", "query": "b"}, {}, {"table": "a", "since_field": "b c"}],
)
def test_odd_names_are_refused_when_they_are_declared(wrong):
    with pytest.raises(ValueError, match="table"):
        SqlObject(**wrong)


def test_what_is_not_declared_is_a_fault_of_the_definition(tmp_path):
    source = SqlSource(
        "el_postgres", {"customers": "customers", "report": SqlObject(query={"daily": "SELECT 1"})}
    )
    jobs = [
        {"type": "extract", "object": "customers", "grain": "daily"},
        {"type": "extract", "object": "report", "grain": "weekly"},
        {"type": "extract", "object": "orders"},
    ]
    with DAG("el_sql_bad", schedule=None), pytest.raises(BatchDefinitionError) as caught:
        ExtractLoadTaskGroup(
            "g", definition={"jobs": jobs}, source=source, destination="x", staging=str(tmp_path)
        )
    assert [(problem.code, problem.jobs) for problem in caught.value.problems] == [
        ("undeclared", (0,)),
        ("undeclared", (1,)),
        ("undeclared", (2,)),
    ]
