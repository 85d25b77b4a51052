"""The Depot's hook: what a connection holds."""

from __future__ import annotations

from typing import Any

from airflow_bulk.hooks.platform_hook import ConnectionFieldError, PlatformHook
from depot.api import LineError, line_errors


class DepotHook(PlatformHook):
    """Call the Depot.

    :param depot_conn_id: a connection of Airflow's type HTTP: the Depot's URL in the host, the key in the password.
    """

    conn_name_attr = "depot_conn_id"
    default_conn_name = "depot_default"
    conn_type = "http"
    hook_name = "Depot"
    credentials = "key"

    def __init__(self, depot_conn_id: str = default_conn_name) -> None:
        super().__init__(depot_conn_id)
        self.depot_conn_id = depot_conn_id

    def authentication(self, connection: Any) -> dict[str, str]:
        """Return the header that carries the key."""
        key = (connection.password or "").strip()
        if not key:
            raise ConnectionFieldError(f"Connection {self.conn_id!r} has no key (field password).")
        return {"X-Depot-Key": key}

    def line_errors(self, error_file: str) -> list[LineError]:
        """Fetch what the Depot says of each line that it refused.

        :param error_file: one of a result's ``error_file_uris``.
        """
        return self.send(line_errors(error_file))
