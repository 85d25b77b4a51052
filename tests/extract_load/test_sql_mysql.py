"""The SQL source on a real MariaDB, with each driver of MySQL that is installed."""

from __future__ import annotations

import gc
import importlib
import traceback
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from driver_sources import DriverHook, DriverSource
from mariadb_server import NoMariadb, mariadb_server

from airflow_bulk.hooks.extract_load_sql import SqlObject
from airflow_bulk.hooks.sql_reading import QueryRefused, SqlReadingFailed

#: What a driver leaves behind on a connection that is gone must not fail at some later moment.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
#: PyMySQL is one of the development dependencies. mysqlclient has to be compiled, and the third is large.
DRIVERS = ("pymysql", "MySQLdb", "mysql.connector")
ROWS = 20_000
PEOPLE = SqlObject(table="people", updated_field="changed")


@pytest.fixture(scope="module")
def mariadb():
    try:
        with mariadb_server() as socket:
            yield socket
    except NoMariadb as error:
        pytest.skip(f"no MariaDB: {error}")


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Let go of everything before the test is over, so that it is this test that fails."""
    yield
    gc.collect()


@pytest.fixture
def people(mariadb):
    """20,000 people in a session that writes at once; other sessions have Auckland's time and READ COMMITTED."""
    pymysql = importlib.import_module("pymysql")
    with (
        closing(pymysql.connect(user="root", unix_socket=mariadb, autocommit=True)) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute("SET GLOBAL time_zone = '+13:00'")
        cursor.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("CREATE DATABASE people")
        cursor.execute("USE people")
        cursor.execute(
            "CREATE TABLE people (id int PRIMARY KEY, name varchar(600), changed timestamp) ENGINE=InnoDB"
        )
        cursor.execute(
            "INSERT INTO people SELECT seq, REPEAT('Ann', 200), '2013-05-01 00:00:00' + INTERVAL seq SECOND"
            f" FROM seq_1_to_{ROWS}"
        )
        yield cursor
        cursor.execute("DROP DATABASE people")


@pytest.fixture(params=DRIVERS)
def source(request, mariadb):
    """Makes a source of ``people`` with a driver."""
    driver = pytest.importorskip(request.param)

    def connect(**more):
        return driver.connect(user="root", unix_socket=mariadb, database="people", **more)

    def make(declared=PEOPLE, fetch_size=100, **more):
        hook = DriverHook(lambda: connect(**more))
        return DriverSource("el_mysql", {"people": declared}, fetch_size, hook=hook)

    make.driver = request.param
    return make


def reading(source, updated_since=None):
    return closing(source.extract("people", since=None, updated_since=updated_since, grain=None))


def test_what_others_delete_insert_and_update_meanwhile_is_not_seen(people, source):
    with reading(source()) as rows:
        found = [next(rows) for _ in range(150)]
        people.execute("DELETE FROM people WHERE id % 2 = 0")
        people.execute("UPDATE people SET name = 'new', id = id + 100000 WHERE id % 3 = 0")
        people.execute("INSERT INTO people SELECT seq, 'new', '2013-05-02' FROM seq_200001_to_200100")
        found += rows
    assert [row["id"] for row in found] == list(range(1, ROWS + 1))
    assert {row["name"] for row in found} == {"Ann" * 200}


def test_a_function_in_the_query_sees_the_same_snapshot(people, source):
    """A function asks once more for each row, which a snapshot of one statement does not cover."""
    people.execute(
        "CREATE FUNCTION how_many() RETURNS int READS SQL DATA RETURN (SELECT COUNT(*) FROM people)"
    )
    with reading(source(SqlObject(query="SELECT how_many() AS n FROM seq_1_to_300"), fetch_size=10)) as rows:
        found = [next(rows)]
        people.execute("DELETE FROM people WHERE id > 10")
        found += rows
    assert {row["n"] for row in found} == {ROWS}


def test_the_rows_stay_at_the_server_in_one_transaction_that_only_reads(people, source):
    """A cursor that holds the result first leaves the server with nothing to do."""
    read = source()
    with reading(read) as rows:
        next(rows)
        people.execute("SELECT command FROM information_schema.processlist WHERE id = %s", read.hook.pids)
        assert people.fetchone() == ("Query",)
        people.execute(
            "SELECT trx_isolation_level, trx_is_read_only FROM information_schema.innodb_trx"
            " WHERE trx_mysql_thread_id = %s",
            read.hook.pids,
        )
        assert people.fetchone() == ("REPEATABLE READ", 1)


def test_a_cursor_that_the_connection_has_chosen_stays(people, source):
    if source.driver == "mysql.connector":
        pytest.skip("MySQL Connector/Python has no cursor of a connection")
    cursors = importlib.import_module(f"{source.driver}.cursors")
    for chosen in (cursors.DictCursor, cursors.SSDictCursor):
        with reading(source(cursorclass=chosen)) as rows:
            assert next(rows)["id"] == 1


@pytest.mark.parametrize("blow", ["KILL", "KILL QUERY"])
def test_a_connection_or_a_statement_that_dies_fails_the_reading(people, source, blow):
    read = source()
    with reading(read) as rows:
        for _ in range(150):
            next(rows)
        people.execute(f"{blow} {read.hook.pids[0]}")
        with pytest.raises(SqlReadingFailed) as caught:
            list(rows)
    assert "the database of connection 'el_mysql' ended the reading after " in str(caught.value)
    assert ("code 2013)" if blow == "KILL" else "code 1317)") in str(caught.value)
    assert "Ann" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT * FROM nowhere", 1146),
        ("SELECT nothing FROM people", 1054),
        ("SELECT FROM FROM people", 1064),
        ("SELECT NEXTVAL(counted)", 1792),
    ],
)
def test_a_statement_that_is_refused_cannot_be_helped_by_a_retry(people, source, query, code):
    people.execute("CREATE SEQUENCE counted")
    with (
        pytest.raises(QueryRefused, match=rf"code {code}\). Nothing was read"),
        reading(source(SqlObject(query=query))) as rows,
    ):
        list(rows)


def test_times_are_read_and_compared_in_utc(people, source):
    read = source()
    last = datetime(2013, 5, 1, 5, 33, 20, tzinfo=UTC)  # the 20,000th second
    for zone in (UTC, timezone(timedelta(hours=-7))):
        with reading(read, updated_since=(last - timedelta(seconds=1)).astimezone(zone)) as rows:
            found = list(rows)
        assert [row["id"] for row in found] == [ROWS - 1, ROWS]
        assert read.changed_at("people", found[-1]) == last


def test_a_reading_that_is_left_in_the_middle_leaves_no_connection(people, source):
    read = source()
    with reading(read) as rows:
        next(rows)
    asked = "SELECT COUNT(*) FROM information_schema.processlist WHERE id = %s"
    for _ in range(100_000):
        people.execute(asked, read.hook.pids)
        if people.fetchone() == (0,):
            return
    raise AssertionError("the connection is still there")
