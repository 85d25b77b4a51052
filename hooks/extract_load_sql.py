"""A SQL database as the source of a batch: a table or a query an object, read through Airflow's own database hooks.

A reading is one consistent snapshot on PostgreSQL, MySQL and MariaDB, and takes the memory of ``fetch_size`` rows; what other
drivers give, and how a reading fails, says :mod:`airflow_bulk.hooks.sql_reading`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.readings import RecordReading
from airflow_bulk.hooks.extract_load_bounds import bound_fields, time_in
from airflow_bulk.hooks.sql_reading import read_rows

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*){0,2}")


@dataclass(frozen=True)
class SqlObject:
    """Where the rows of one object are.

    :param table: a table or view, with its schema if needed; or
    :param query: a SELECT without a final semicolon; or grain -> SELECT, for an object that is extracted by grain.
    :param since_field: the column with a row's own time, for ``since``.
    :param updated_field: the column with a row's time of change, for ``updated_since`` and the watermark.
    """

    table: str | None = None
    query: str | Mapping[str, str] | None = None
    since_field: str | None = None
    updated_field: str | None = None

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise ValueError("a SqlObject has a table or a query")
        for name in (self.table, self.since_field, self.updated_field):
            if name is not None and not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no plain name of a table or column; put it into a query, quoted"
                )


@dataclass(frozen=True)
class SqlSource:
    """A database as a source.

    :param conn_id: connection of a ``common.sql`` database, e.g. of type ``postgres``.
    :param objects: object -> where its rows are; a table's name alone will do.
    :param fetch_size: rows fetched at a time.
    """

    conn_id: str
    objects: Mapping[str, SqlObject | str] = field(default_factory=dict)
    fetch_size: int = 2000

    def __post_init__(self) -> None:
        if not isinstance(self.fetch_size, int) or isinstance(self.fetch_size, bool) or self.fetch_size < 1:
            raise ValueError(f"fetch_size={self.fetch_size!r:.40}: write a whole number from 1 up")

    def undeclared(self, name: str, grain: str | None) -> str | None:
        """Return what is missing for an extract job, for the definition's list of faults; ``None`` if nothing is."""
        declared = self._object(name)
        if declared is None:
            known = ", ".join(sorted(self.objects)) or "none"
            return f"the SQL source declares no object {name!r}; declared are: {known}"
        if isinstance(declared.query, Mapping):
            if grain not in declared.query:
                return f"the SQL source declares no query for {name!r} with grain {grain!r}"
        elif grain is not None:
            return f"the SQL source declares no query by grain for {name!r}, but its job has grain {grain!r}"
        return None

    def extract(
        self, name: str, *, since: datetime | None, updated_since: datetime | None, grain: str | None
    ) -> RecordReading:
        """Read the rows of an object as they come, all as they stood when the first one is asked for.

        :raises UnfilterableBound: a bound without its column.
        :raises QueryRefused: the database refused the statement. A retry cannot help.
        :raises SqlReadingFailed: the reading came to no end, such as when the connection died. A retry reads again.
        :raises ValueError: the object, or its grain, is not declared.
        """
        if (missing := self.undeclared(name, grain)) is not None:
            raise ValueError(missing)
        declared = self._object(name)
        assert declared is not None  # noqa: S101 - asked just before
        bounds = bound_fields(declared, name, since, updated_since)
        hook = self._hook()
        statement, values = _statement(declared, grain, bounds, str(hook.placeholder))
        rows = read_rows(hook, statement, values, name=name, conn_id=self.conn_id, fetch_size=self.fetch_size)
        return RecordReading(rows, "the end of the query's result")

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return the row's time of change; without a zone UTC is meant."""
        declared = self._object(name)
        return time_in(record, declared.updated_field) if declared and declared.updated_field else None

    def _object(self, name: str) -> SqlObject | None:
        declared = self.objects.get(name)
        return SqlObject(table=declared) if isinstance(declared, str) else declared

    def _hook(self) -> Any:
        from airflow.sdk import BaseHook

        return BaseHook.get_connection(self.conn_id).get_hook()


def _statement(
    declared: SqlObject, grain: str | None, bounds: Mapping[str, datetime | None], placeholder: str
) -> tuple[str, list[Any]]:
    given = declared.query[grain or ""] if isinstance(declared.query, Mapping) else declared.query
    values = [bound for bound in bounds.values() if bound is not None]
    if given is not None and values and placeholder == "%s":
        given = given.replace("%", "%%")  # drivers that take %s take a lone % for one, too
    rows = f"({given}) bulk_rows" if given is not None else declared.table
    # Names are checked in SqlObject; a query is the DAG author's own; bounds go as values.
    statement = f"SELECT * FROM {rows}"  # noqa: S608
    if values:
        statement += " WHERE " + " AND ".join(f"{column} >= {placeholder}" for column in bounds)
    return statement, values
