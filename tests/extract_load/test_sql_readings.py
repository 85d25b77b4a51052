"""A reading of PostgreSQL is the table as it stood when the reading began, or an error: never a part of it."""

from __future__ import annotations

import os
import threading
import traceback
from contextlib import closing
from types import SimpleNamespace

import psycopg
import psycopg2
import pytest
from airflow.sdk.exceptions import AirflowFailException
from driver_sources import DriverHook, DriverSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_bulk.hooks.extract_load_sql import SqlObject, SqlSource
from airflow_bulk.hooks.sql_reading import QueryRefused, SqlReadingFailed
from airflow_bulk.operators.extract_load import ExtractOperator
from airflow_bulk.runs.failures import TryFailed

WIDE = "repeat('x', 500) AS filling"  # rows that no buffer of the network holds all of
DRIVERS = {
    "psycopg2": lambda: psycopg2.connect(os.environ["AIRFLOW_CONN_EL_POSTGRES"]),
    "psycopg": lambda: psycopg.connect(os.environ["AIRFLOW_CONN_EL_POSTGRES"]),
    "psycopg, autocommit": lambda: psycopg.connect(os.environ["AIRFLOW_CONN_EL_POSTGRES"], autocommit=True),
}
each_driver = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture
def numbers(database):
    """A table ``numbers`` of 1 to 50."""
    database.execute("CREATE TABLE numbers (id int PRIMARY KEY, word text)")
    database.execute("INSERT INTO numbers SELECT g, 'old' FROM generate_series(1, 50) g")
    return database


def source(driver="psycopg", query=None, fetch_size=7):
    declared = SqlObject(query=query) if query else "numbers"
    return DriverSource("el_db", {"numbers": declared}, fetch_size, hook=DriverHook(DRIVERS[driver]))


def reading(source):
    return closing(source.extract("numbers", since=None, updated_since=None, grain=None))


def waited_for(database, wanted, statement, *values):
    """Ask until the answer is what is wanted: a server ends a connection a moment after its client does."""
    for _ in range(100_000):
        database.execute(statement, values)
        if database.fetchone() == (wanted,):
            return True
    return False


def is_over(database, source):
    """Whether the server has no connection of a source any more."""
    pid = source.hook.pids[-1]
    return waited_for(database, 0, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid)


@each_driver
def test_what_others_delete_insert_and_update_meanwhile_is_not_seen(numbers, driver):
    with reading(source(driver)) as rows:
        found = [next(rows) for _ in range(8)]
        numbers.execute("DELETE FROM numbers WHERE id % 2 = 0")
        numbers.execute("UPDATE numbers SET word = 'new', id = id + 1000 WHERE id % 3 = 0")
        numbers.execute("INSERT INTO numbers SELECT g, 'new' FROM generate_series(2001, 2100) g")
        found += rows
    assert found == [{"id": number, "word": "old"} for number in range(1, 51)]


@each_driver
def test_a_function_in_the_query_sees_the_same_snapshot(numbers, driver):
    """Where each row asks the database once more, a snapshot of one statement is not enough."""
    numbers.execute(
        "CREATE FUNCTION how_many() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM numbers'"
    )
    with reading(source(driver, "SELECT how_many() AS n FROM generate_series(1, 50)")) as rows:
        found = [next(rows)]
        numbers.execute("DELETE FROM numbers WHERE id > 10")
        found += rows
    assert found == [{"n": 50}] * 50


changes = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from(
            [
                "DELETE FROM numbers WHERE id % 5 = {0} % 5",
                "UPDATE numbers SET word = 'new{0}' WHERE id >= {0}",
                "UPDATE numbers SET id = id + 100 * ({0} + 1) WHERE id = {0}",
                "INSERT INTO numbers SELECT max(id) + 1, 'added' FROM numbers HAVING count(*) > 0",
                "VACUUM numbers",
            ]
        ),
        st.integers(1, 30),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, 20), fetch_size=st.integers(1, 8), changes=changes)
def test_any_changes_between_any_rows(numbers, size, fetch_size, changes):
    numbers.execute("TRUNCATE numbers")
    numbers.execute("INSERT INTO numbers SELECT g, 'old' FROM generate_series(1, %s) g", [size])
    found = []
    with reading(source(fetch_size=fetch_size)) as rows:
        for place in range(size + 1):
            found += [row for row in [next(rows, None)] if row is not None]
            for after, statement, number in changes:
                if after == place:
                    numbers.execute(statement.format(number))
    assert found == [{"id": number, "word": "old"} for number in range(1, size + 1)]


@each_driver
def test_a_table_that_is_emptied_and_filled_as_the_reading_begins_is_read_whole(numbers, driver):
    """TRUNCATE leaves nothing for a snapshot that is older than its commit, and the reading waits for that commit."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(_all(source(driver))))
    with closing(DRIVERS["psycopg2"]()) as reloading, reloading.cursor() as cursor:
        cursor.execute("TRUNCATE numbers")
        cursor.execute("INSERT INTO numbers SELECT g, 'new' FROM generate_series(1, 60) g")
        thread.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'numbers'::regclass"
        assert waited_for(numbers, 1, waits)
        reloading.commit()
    thread.join(60)
    assert found == [{"id": number, "word": "new"} for number in range(1, 61)]


def _all(source):
    with reading(source) as rows:
        return list(rows)


def test_a_table_that_is_emptied_before_a_function_looks_at_it_fails_the_reading(numbers):
    numbers.execute("CREATE TABLE names AS SELECT * FROM numbers")
    numbers.execute(
        """CREATE FUNCTION name_of(wanted int) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN IF wanted <= 20 THEN RETURN 'early'; END IF;
        RETURN (SELECT word FROM names WHERE id = wanted); END $$"""
    )
    with reading(source(query="SELECT id, name_of(id) AS name FROM numbers")) as rows:
        next(rows)
        numbers.execute("TRUNCATE names")
        numbers.execute("INSERT INTO names SELECT * FROM numbers")
        with pytest.raises(
            SqlReadingFailed, match=r"emptied or rewritten a table.*A retry reads from the begin"
        ):
            list(rows)


@each_driver
def test_a_connection_that_dies_in_the_middle_fails_the_reading(numbers, driver):
    query = f"SELECT g AS id, 'Ann' AS word, {WIDE} FROM generate_series(1, 20000) g"
    read = source(driver, query)
    with reading(read) as rows:
        for _ in range(8):
            next(rows)
        numbers.execute("SELECT pg_terminate_backend(%s)", read.hook.pids)
        with pytest.raises(SqlReadingFailed) as caught:
            list(rows)
    told = str(caught.value)
    assert told.startswith(
        "extract numbers: the database of connection 'el_db' ended the reading after 14 rows ("
    )
    assert told.endswith("What was read is not used. A retry reads from the beginning.")
    assert "Ann" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__suppress_context__


@each_driver
def test_an_error_at_a_later_row_fails_the_reading_and_holds_no_value(numbers, driver):
    query = "SELECT g AS id, CASE g WHEN 30 THEN ('Ann' || g)::int END AS word FROM generate_series(1, 50) g"
    with reading(source(driver, query)) as rows, pytest.raises(SqlReadingFailed) as caught:
        list(rows)
    assert "after 28 rows (InvalidTextRepresentation, code 22P02)" in str(caught.value)
    assert "Ann" not in "".join(traceback.format_exception(caught.value))


@each_driver
def test_a_transaction_that_is_rolled_back_fails_the_reading(numbers, driver):
    read = source(driver)
    with reading(read) as rows:
        for _ in range(8):
            next(rows)
        read.hook.made[-1].rollback()
        with pytest.raises(SqlReadingFailed, match=r"ended the reading after 14 rows"):
            list(rows)


@each_driver
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM numbers", "42703"),
        ("SELECT FROM FROM numbers", "42601"),
        ("SELECT nextval('counted')", "25006"),
    ],
)
def test_a_statement_that_is_refused_cannot_be_helped_by_a_retry(numbers, driver, query, code):
    numbers.execute("CREATE SEQUENCE counted")
    with pytest.raises(
        QueryRefused, match=rf"code {code}\). Nothing was read.*a retry cannot help before that"
    ):
        _all(source(driver, query))


def test_a_reading_that_is_left_in_the_middle_leaves_no_connection(numbers):
    read = source()
    with reading(read) as rows:
        next(rows)
    assert is_over(numbers, read)


def test_an_error_of_whoever_takes_the_rows_stays_what_it_is(numbers):
    read = source()
    with pytest.raises(KeyError, match="mine"), reading(read) as rows:
        for _ in rows:
            raise KeyError("mine")
    assert is_over(numbers, read)


def test_a_stop_of_the_task_while_rows_are_fetched_stays_what_it_is(numbers):
    stop = AirflowFailException("stopped")

    class Stopped(psycopg.ServerCursor):
        def fetchmany(self, size=0):
            raise stop

    def connect():
        made = DRIVERS["psycopg"]()
        made.server_cursor_factory = Stopped
        return made

    read = DriverSource("el_db", {"numbers": "numbers"}, hook=DriverHook(connect))
    with pytest.raises(AirflowFailException) as caught:
        _all(read)
    assert caught.value is stop


def extracting(tmp_path, query):
    source = SqlSource("el_postgres", {"numbers": SqlObject(query=query)}, fetch_size=7)
    return ExtractOperator(task_id="extract", source=source, object_name="numbers", staging=str(tmp_path))


def test_in_a_task_a_refused_statement_is_not_retried_and_a_cut_reading_is(numbers, tmp_path, monkeypatch):
    context = {"ti": SimpleNamespace(try_number=1, dag_id="d", run_id="r")}
    with pytest.raises(AirflowFailException, match="code 42P01"):
        extracting(tmp_path, "SELECT * FROM nowhere").execute(context)
    with pytest.raises(TryFailed, match="ended the reading after 28 rows") as caught:
        extracting(tmp_path, "SELECT 1 / (30 - g) AS id FROM generate_series(1, 50) g").execute(context)
    assert caught.value.__suppress_context__
    monkeypatch.setenv("AIRFLOW_CONN_EL_POSTGRES", "postgresql://nobody:hidden@127.0.0.1:1/none")
    with pytest.raises(
        TryFailed, match="no connection to the database of connection 'el_postgres'"
    ) as caught:
        extracting(tmp_path, "SELECT 1 AS id").execute(context)
    assert "hidden" not in str(caught.value)
