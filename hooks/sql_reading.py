"""One reading of a database: the rows of one statement as they stood when the reading began, or an error.

An apply deletes what a reading did not bring. So no reading ends short: whatever a driver raises while rows are fetched
becomes an error of this module, which names the kind of the driver's error and never its text, since that may hold values.

PostgreSQL (psycopg 2 and 3)
    A transaction ``REPEATABLE READ``, ``READ ONLY``, in UTC, and a named cursor at the server. Its snapshot is taken before a
    lock is waited for, so a table that is emptied (``TRUNCATE``) and filled again at that moment would look empty: this is
    noticed, and the reading begins again.
MySQL and MariaDB (mysqlclient, PyMySQL, MySQL Connector/Python)
    ``START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY`` under ``REPEATABLE READ``, in UTC, and a cursor that leaves the rows
    at the server (``SSCursor``) unless the connection has chosen one. Tables of InnoDB have such snapshots; MyISAM has none.
Any other driver
    Its plain cursor in the session's own time zone. How consistent the rows of one statement are is what the database promises
    at its own isolation level (SQLite and Oracle: one snapshot; SQL Server: none, unless the database has
    ``READ_COMMITTED_SNAPSHOT``), and whether the cursor holds the whole result first is the driver's affair.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.errors import reduce_message

#: A reading begins so often before it gives up: each time another connection has emptied a table meanwhile.
_BEGINNINGS = 3
#: What stands in DB-API for a statement that is wrong (PEP 249), and the codes that drivers sort elsewhere: an unknown
#: column (MySQL 1054), a write in a transaction that only reads (MySQL 1792, PostgreSQL 25006).
_WRONG_STATEMENT = ("ProgrammingError", "NotSupportedError")
_WRONG_CODES = ("1054", "1792", "25006")
#: Tables of this transaction whose rows lie in another file than its snapshot knows. TRUNCATE, and an ALTER TABLE that
#: rewrites, leave nothing for older snapshots (PostgreSQL's manual, "Caveats" of concurrency control).
_EMPTIED = """SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'm')
    AND c.relfilenode <> 0 AND c.relfilenode <> pg_relation_filenode(c.oid) LIMIT 1"""
_FIRST_WITH_FILES = (
    90400  # PostgreSQL's number of 9.4; what calls itself older, as Redshift does, has no such table
)


class SqlReadingFailed(RuntimeError):
    """A database did not bring a reading to its end; what was read is not used. A retry reads from the beginning."""


class QueryRefused(ValueError):
    """A database refused a statement before its first row. A retry would fail in the same way."""


def read_rows(
    hook: Any, statement: str, values: Sequence[Any], *, name: str, conn_id: str, fetch_size: int
) -> Iterator[Record]:
    """Read the rows of a statement, *fetch_size* at a time, each a dictionary of column -> value.

    :param hook: gives the connection; it is closed in the end, also where the reading is left in the middle.
    :param values: for the statement's placeholders.
    :param name: the object, for errors.
    :raises QueryRefused: the statement is wrong, or not allowed.
    :raises SqlReadingFailed: anything else that the driver raises, at any row.
    """
    with _told(f"extract {name}: no connection to the database of connection {conn_id!r}", reduced=True):
        connection = hook.get_conn()
    driver, cursor, count = _driver_of(connection), None, 0
    try:
        with _told_of_statement(name, conn_id):
            cursor = _begun(driver, connection, statement, values, name)
            cursor.arraysize = fetch_size
            rows = cursor.fetchmany(fetch_size)
            columns = [column[0] for column in cursor.description]
        while rows:
            for row in rows:
                # A connection's extra may ask for rows as dicts.
                yield dict(row) if isinstance(row, Mapping) else dict(zip(columns, row, strict=True))
            count += len(rows)
            with _told(_ended(name, conn_id, count)):
                rows = cursor.fetchmany(fetch_size)
        with _told(_ended(name, conn_id, count)):
            if driver.emptied(connection):
                raise _emptied(name)
    finally:
        driver.end(connection, cursor)


def _begun(driver: type[_Plain], connection: Any, statement: str, values: Sequence[Any], name: str) -> Any:
    """Return a cursor on the statement's rows, in a transaction whose snapshot has all of them."""
    for _ in range(_BEGINNINGS):
        driver.begin(connection)
        cursor = driver.cursor(connection)
        cursor.execute(statement, driver.values(values)) if values else cursor.execute(statement)
        if not driver.emptied(connection):
            return cursor
        cursor.close()
        connection.rollback()
    raise _emptied(name)


class _Plain:
    """What any driver of the DB-API can do."""

    @staticmethod
    def begin(connection: Any) -> None:
        """Begin a transaction that sees one state of the database."""

    @staticmethod
    def cursor(connection: Any) -> Any:
        """Return a cursor that leaves the rows at the server, where there is one."""
        return connection.cursor()

    @staticmethod
    def values(values: Sequence[Any]) -> Sequence[Any]:
        """Return values as the driver understands them."""
        return values

    @staticmethod
    def emptied(connection: Any) -> bool:
        """Tell whether another connection has emptied a table of the transaction behind its snapshot."""
        return False

    @staticmethod
    def end(connection: Any, cursor: Any) -> None:
        """Close both, whatever state they are in.

        The connection first: the cursor of a reading that is left in the middle would fetch the rest of its rows.
        """
        for opened in (connection, cursor):
            with suppress(Exception):
                opened.close()


class _Postgres(_Plain):
    """psycopg 2 and 3, and what speaks PostgreSQL's protocol."""

    @staticmethod
    def begin(connection: Any) -> None:
        connection.commit()  # what a hook has set up; the next statement must be the first of its transaction
        if hasattr(connection, "set_session"):  # psycopg 2
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
        else:
            connection.autocommit = False
            connection.isolation_level = importlib.import_module("psycopg").IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        with closing(connection.cursor()) as session:
            session.execute("SET TIME ZONE 'UTC'")  # columns without a zone are compared as UTC

    @staticmethod
    def cursor(connection: Any) -> Any:
        return connection.cursor(name=f"bulk_{uuid.uuid4().hex}")

    @staticmethod
    def emptied(connection: Any) -> bool:
        if connection.info.server_version < _FIRST_WITH_FILES:
            return False
        with closing(connection.cursor()) as asked:
            asked.execute("SAVEPOINT bulk_asks")
            try:
                asked.execute(_EMPTIED)
                return asked.fetchone() is not None
            except Exception as error:
                if _comes_from_airflow(error):
                    raise
                # Another database that speaks the protocol, without these tables; one that is gone fails here again.
                asked.execute("ROLLBACK TO SAVEPOINT bulk_asks")
                return False


class _MySql(_Plain):
    """mysqlclient, PyMySQL and MySQL Connector/Python."""

    @staticmethod
    def begin(connection: Any) -> None:
        connection.commit()
        with closing(connection.cursor()) as session:
            session.execute("SET time_zone = '+00:00'")
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            session.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    @staticmethod
    def cursor(connection: Any) -> Any:
        chosen = getattr(connection, "cursorclass", None)
        if chosen is None:
            return connection.cursor()  # MySQL Connector/Python leaves the rows at the server by itself
        cursors = importlib.import_module(f"{chosen.__module__.partition('.')[0]}.cursors")
        return connection.cursor(cursors.SSCursor if chosen is cursors.Cursor else chosen)

    @staticmethod
    def values(values: Sequence[Any]) -> Sequence[Any]:
        """Times in UTC and without a zone: the drivers leave the zone out, and the session is in UTC."""
        return [
            value.astimezone(UTC).replace(tzinfo=None)
            if isinstance(value, datetime) and value.tzinfo
            else value
            for value in values
        ]

    @staticmethod
    def end(connection: Any, cursor: Any) -> None:
        with suppress(Exception):
            connection.close()
        # PyMySQL would go on to fetch from the closed connection when it lets go of the result, and fail in __del__.
        result: Any = getattr(cursor, "_result", None)
        if hasattr(result, "unbuffered_active"):
            result.unbuffered_active = False
        _Plain.end(connection, cursor)


_DRIVERS = {
    "psycopg": _Postgres,
    "psycopg2": _Postgres,
    "MySQLdb": _MySql,
    "pymysql": _MySql,
    "mysql": _MySql,
}


def _driver_of(connection: Any) -> type[_Plain]:
    """Return what to do for the driver that a connection, or a class it inherits from, comes from."""
    packages = (base.__module__.partition(".")[0] for base in type(connection).__mro__)
    return next((_DRIVERS[package] for package in packages if package in _DRIVERS), _Plain)


def _comes_from_airflow(error: Exception) -> bool:
    """Tell whether an error is Airflow's or ours, such as a stop of the task, and no driver's."""
    return type(error).__module__.partition(".")[0] in ("airflow", "airflow_bulk")


def _ended(name: str, conn_id: str, count: int) -> str:
    return f"extract {name}: the database of connection {conn_id!r} ended the reading after {how_many(count, 'row')}"


def _emptied(name: str) -> SqlReadingFailed:
    return SqlReadingFailed(
        f"extract {name}: another connection has emptied or rewritten a table (TRUNCATE, ALTER TABLE) while the reading began,"
        " so its rows cannot be seen as they stood. What was read is not used. A retry reads from the beginning."
    )


@contextmanager
def _told(what: str, *, reduced: bool = False) -> Iterator[None]:
    """Raise what a driver raises as one error of ours, without the driver's layers.

    :param reduced: say the driver's text without quoted text and digits; nothing has been read yet that it could hold.
    """
    try:
        yield
    except Exception as error:
        if _comes_from_airflow(error):
            raise
        why = f"{_kind(error)}{': ' + reduce_message(str(error)) if reduced else ''}"
        raise SqlReadingFailed(
            f"{what} ({why}). What was read is not used. A retry reads from the beginning."
        ) from None


@contextmanager
def _told_of_statement(name: str, conn_id: str) -> Iterator[None]:
    """The same before the first row, where the statement itself may be refused."""
    with _told(_ended(name, conn_id, 0)):
        try:
            yield
        except Exception as error:
            kinds = {base.__name__ for base in type(error).__mro__}
            if _comes_from_airflow(error) or not (
                kinds.intersection(_WRONG_STATEMENT) or _code(error) in _WRONG_CODES
            ):
                raise
            raise QueryRefused(
                f"extract {name}: the database of connection {conn_id!r} refused the statement ({_kind(error)}). Nothing was read."
                f" Correct the SqlObject of {name!r}, or the rights of the connection's user; a retry cannot help before that."
            ) from None


def _kind(error: Exception) -> str:
    code = _code(error)
    return f"{type(error).__name__}, code {code}" if code else type(error).__name__


def _code(error: Exception) -> str:
    """Return the database's code of an error: PostgreSQL's SQLSTATE, MySQL's number; empty where there is none."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else ""
    return str(number or getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
