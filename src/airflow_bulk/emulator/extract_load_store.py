"""What the emulated source, destination and batch server hold (extract_load.md section 8), and what happened.

One store for all three: records by side and object, documents (batches, connections, tenants), and one list of
events in the order in which they happened. Everything survives a restart.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any

from airflow_bulk.emulator.envelopes import Refused
from airflow_bulk.emulator.world import World

SOURCE, DESTINATION = "source", "destination"
KINDS = ("batch", "connection", "tenant")
# A destination's ids are integers (section 8).
FIRST_RECORD_ID = 4_000


class ExtractLoadStore:
    """The records, documents and events.

    :param world: the shared parts.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    # Records

    def records(self, side: str, name: str) -> list[dict[str, Any]]:
        """Return all records of one object, in the order in which they came."""
        rows = self.world.database.rows(
            "SELECT record FROM extract_load_records WHERE side = ? AND object = ? ORDER BY id", side, name
        )
        return [json.loads(row["record"]) for row in rows]

    def names(self, side: str) -> list[str]:
        """Return the objects that have records."""
        rows = self.world.database.rows(
            "SELECT DISTINCT object FROM extract_load_records WHERE side = ? ORDER BY object", side
        )
        return [row["object"] for row in rows]

    def put(self, side: str, name: str, key: str, record: dict[str, Any]) -> None:
        """Add a record, or replace the one with this key in its place."""
        self.world.database.run(
            "INSERT INTO extract_load_records (side, object, key, record) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (side, object, key) DO UPDATE SET record = excluded.record",
            side,
            name,
            key,
            json.dumps(record),
        )

    def get(self, side: str, name: str, key: str) -> dict[str, Any]:
        """Return a record.

        :raises Refused: 404.
        """
        row = self.world.database.one(
            "SELECT record FROM extract_load_records WHERE side = ? AND object = ? AND key = ?",
            side,
            name,
            key,
        )
        if row is None:
            raise Refused(404, f"no {name[:40]} with this id")
        found: dict[str, Any] = json.loads(row["record"])
        return found

    def remove(self, side: str, name: str, key: str) -> None:
        """Remove a record."""
        self.world.database.run(
            "DELETE FROM extract_load_records WHERE side = ? AND object = ? AND key = ?", side, name, key
        )

    def create_at_destination(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Create a destination record under the next integer id."""
        number = int(self.world.database.recall("extract_load_last_id") or FIRST_RECORD_ID) + 1
        self.world.database.remember("extract_load_last_id", number)
        record = {**fields, "id": number}
        self.put(DESTINATION, name, str(number), record)
        return record

    # Documents of the batch server

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """Return all documents of a kind, oldest first."""
        rows = self.world.database.rows(
            "SELECT document FROM extract_load_documents WHERE kind = ? ORDER BY rowid", kind
        )
        return [json.loads(row["document"]) for row in rows]

    def document(self, kind: str, identifier: str) -> dict[str, Any]:
        """Return a document.

        :raises Refused: 404.
        """
        row = self.world.database.one(
            "SELECT document FROM extract_load_documents WHERE kind = ? AND id = ?", kind, identifier
        )
        if row is None:
            raise Refused(404, f"{kind} not found")
        found: dict[str, Any] = json.loads(row["document"])
        return found

    def keep_document(self, kind: str, document: dict[str, Any]) -> None:
        """Add or replace a document."""
        self.world.database.run(
            "INSERT INTO extract_load_documents (kind, id, document) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET document = excluded.document",
            kind,
            document["id"],
            json.dumps(document),
        )

    def drop_document(self, kind: str, identifier: str) -> None:
        """Forget a document."""
        self.world.database.run(
            "DELETE FROM extract_load_documents WHERE kind = ? AND id = ?", kind, identifier
        )

    # Events

    def note(self, event: str, **payload: Any) -> None:
        """Add to the event log."""
        self.world.database.run(
            "INSERT INTO extract_load_events (event) VALUES (?)",
            json.dumps({"event": event, "at": self.now(), **payload}),
        )

    def events(self) -> list[dict[str, Any]]:
        """Return everything that happened, in order."""
        return [
            json.loads(row["event"])
            for row in self.world.database.rows("SELECT event FROM extract_load_events ORDER BY id")
        ]

    # Failures that a test asks for

    def ask_failure(self, failure: dict[str, Any]) -> None:
        """Let calls fail: by side, object, verb and page; `times` counts down."""
        failures = self.world.database.recall("extract_load_failures") or []
        self.world.database.remember(
            "extract_load_failures", [*failures, {"times": 1, "status": 500, **failure}]
        )

    def forget_failures(self) -> None:
        """Let nothing fail any more."""
        self.world.database.remember("extract_load_failures", [])

    def maybe_fail(self, **call: Any) -> None:
        """Fail this call if a test asked for it.

        :raises Refused: with the status asked for.
        """
        failures = self.world.database.recall("extract_load_failures") or []
        for failure in failures:
            wanted = {key: value for key, value in failure.items() if key not in ("times", "status")}
            if failure["times"] and all(call.get(key) == value for key, value in wanted.items()):
                failure["times"] -= 1
                self.world.database.remember("extract_load_failures", failures)
                raise Refused(int(failure["status"]), "failure on demand")

    def now(self) -> str:
        """Return the emulator's time as ISO 8601."""
        return shown_time(self.world.clock.now())


def shown_time(milliseconds: int) -> str:
    """Return a time of the emulator's clock as ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


def object_id() -> str:
    """Return a new id of the batch server: 24 hexadecimal characters."""
    return secrets.token_hex(12)
