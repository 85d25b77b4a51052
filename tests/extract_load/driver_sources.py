"""A SQL source whose connections a test makes itself, with a driver of its choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.sql.hooks.sql import DbApiHook

from airflow_bulk.hooks.extract_load_sql import SqlSource


class DriverHook(DbApiHook):
    """Airflow's hook of a database, whose connections a function makes."""

    conn_name_attr = "conn_id"

    def __init__(self, connect: Callable[[], Any]) -> None:
        super().__init__("driver")
        self.connect = connect
        self.made: list[Any] = []
        #: What the server calls each of them, also when it is closed.
        self.pids: list[int] = []

    def get_conn(self) -> Any:
        made = self.connect()
        self.made.append(made)
        if hasattr(made, "thread_id"):  # mysqlclient, PyMySQL
            self.pids.append(made.thread_id())
        else:  # MySQL Connector/Python, psycopg
            self.pids.append(made.connection_id if hasattr(made, "connection_id") else made.info.backend_pid)
        return made

    @property
    def placeholder(self) -> str:
        return "%s"


@dataclass(frozen=True)
class DriverSource(SqlSource):
    """A SQL source on connections of ``hook``."""

    hook: DriverHook = field(kw_only=True)

    def _hook(self) -> DriverHook:
        return self.hook
