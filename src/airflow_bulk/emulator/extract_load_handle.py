"""The extract/load side of a running emulator, for tests, demos and notebooks. Standard library only."""

from __future__ import annotations

import json
from typing import Any

from airflow_bulk.emulator.handle import Emulator

PATHS = {
    "server": "/extract_load/server",
    "source": "/extract_load/source",
    "destination": "/extract_load/destination",
}


class ExtractLoadEmulator:
    """Source, destination and batch server of an emulator.

    :param emulator: the emulator.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    def connection_json(self, part: str, **extra: Any) -> str:
        """Return the value of an ``AIRFLOW_CONN_...`` variable (holds the token).

        :param part: ``server``, ``source`` or ``destination``.
        :param extra: fields of the connection's extra, e.g. ``api="quickbooks", realm="1"``.
        """
        connection = json.loads(self.emulator.connection_json("extract_load"))
        connection["host"] = self.emulator.url + PATHS[part]
        connection.pop("port", None)
        connection["extra"] = {**{k: v for k, v in connection["extra"].items() if k == "ca_path"}, **extra}
        return json.dumps(connection)

    def put(self, name: str, *records: dict[str, Any]) -> None:
        """Put records into the source; a record with the same ``Id`` is replaced. Times that are missing are now."""
        self.emulator.control("POST", f"/extract_load/source/{name}", {"records": list(records)})

    def remove(self, name: str, record_id: str) -> None:
        """Remove a record from the source."""
        self.emulator.control("DELETE", f"/extract_load/source/{name}/{record_id}")

    def create(self, name: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
        """Create records at the destination and return them with their ids."""
        made: list[dict[str, Any]] = self.emulator.control(
            "POST", f"/extract_load/destination/{name}", {"records": list(records)}
        )
        return made

    def destination(self, name: str) -> list[dict[str, Any]]:
        """Return the destination's records of one object."""
        found: list[dict[str, Any]] = self.emulator.control("GET", "/extract_load/records/destination").get(
            name, []
        )
        return found

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what happened, in order: ``read``, ``write``, ``job status``, ``batch``.

        :param event: only these.
        """
        found: list[dict[str, Any]] = self.emulator.control("GET", "/extract_load/events")
        return [one for one in found if event in (None, one["event"])]

    def fail(self, **failure: Any) -> None:
        """Let calls fail: ``side``, ``object``, ``verb`` or ``page``, ``status=500``, ``times=1``."""
        self.emulator.control("POST", "/extract_load/failures", failure)

    def forget_failures(self) -> None:
        """Let nothing fail any more."""
        self.emulator.control("DELETE", "/extract_load/failures")
