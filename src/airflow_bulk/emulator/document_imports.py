"""The document imports that the emulator keeps (mediarithmics.md section 2)."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from airflow_bulk.emulator.envelopes import Page, Refused
from airflow_bulk.emulator.world import World

DATAFARM_KEY = "DF_LOCAL_01"
SEED_TYPES = (
    "USER_ACTIVITY",
    "USER_SEGMENT",
    "USER_PROFILE",
    "USER_CHOICE",
    "USER_IDENTIFIERS_DELETION",
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
)
LATER_TYPES = (
    "USER_DEVICE_POINTS_DELETION",
    # The docs' own sample spells it in the singular (section 12, row 7).
    "USER_DEVICE_POINT_DELETION",
    "USER_POINTS_DELETION",
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS",
)
MIME_TYPES = {"APPLICATION_X_NDJSON": "application/x-ndjson", "TEXT_CSV": "text/csv"}
PRIORITIES = ("LOW", "MEDIUM", "HIGH")
OWN_FIELDS = ("id", "datafarm_key", "datamart_id")
DEFAULTS: dict[str, Any] = {"priority": "MEDIUM", "shuffle_lines": True, "use_processing_pipeline": False}


class DocumentImports:
    """Imports by datamart. An import that is not visible yet, or deleted, does not exist for callers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(self, datamart_id: str, body: dict[str, Any], late_by: float = 0.0) -> dict[str, Any]:
        """Create an import.

        :param late_by: seconds until it shows.
        :raises Refused: 400 when the body breaks a rule of section 2.
        """
        fields = {**DEFAULTS, **_wanted(body)}
        _check(fields, strict=self._world.settings.strict)
        number = self._world.database.run(
            "INSERT INTO document_imports (datamart_id, created_at, name, document_type, mime_type, fields)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            datamart_id,
            self._world.clock.now() + int(late_by * 1000),
            fields["name"],
            fields["document_type"],
            fields["mime_type"],
            json.dumps(fields),
        )
        return _shown(number, datamart_id, fields)

    def get(self, datamart_id: str, import_id: str) -> dict[str, Any]:
        """Return an import.

        :raises Refused: 404.
        """
        row = None
        if import_id.isascii() and import_id.isdigit() and len(import_id) < 19:
            row = self._world.database.one(
                "SELECT * FROM document_imports WHERE id = ? AND datamart_id = ? AND deleted_at IS NULL"
                " AND created_at <= ?",
                int(import_id),
                datamart_id,
                self._world.clock.now(),
            )
        if row is None:
            raise Refused(404, f"Document import {import_id[:20]} was not found")
        return _of(row)

    def page(self, datamart_id: str, filters: dict[str, str], page: Page) -> tuple[list[dict[str, Any]], int]:
        """Return one page of a datamart's imports, and how many there are in all.

        :param filters: ``keywords``, ``mime_type``, ``document_types``, ``order_by``, ``label_ids``.
        :raises Refused: 400 for an ``order_by`` that does not exist.
        """
        where = "datamart_id = ? AND deleted_at IS NULL AND created_at <= ?"
        values: list[object] = [datamart_id, self._world.clock.now()]
        if filters.get("keywords"):
            # instr, not LIKE: the match is case sensitive, and % is an ordinary character.
            where += " AND instr(name, ?) > 0"
            values.append(filters["keywords"])
        if filters.get("mime_type"):
            where += " AND mime_type = ?"
            values.append(filters["mime_type"])
        if filters.get("document_types"):
            wanted = [text.strip() for text in filters["document_types"].split(",")]
            where += f" AND document_type IN ({', '.join('?' * len(wanted))})"
            values += wanted
        if filters.get("label_ids"):
            # Labels are attached elsewhere in the platform; the emulator's imports carry none.
            where += " AND 0"
        order = filters.get("order_by") or "id"
        if order not in ("id", "name"):
            raise Refused(400, "order_by is id or name")
        columns = "name, id" if order == "name" else "id"
        database = self._world.database
        total = database.count(f"SELECT count(*) FROM document_imports WHERE {where}", *values)  # noqa: S608
        rows = database.rows(
            f"SELECT * FROM document_imports WHERE {where} ORDER BY {columns} LIMIT ? OFFSET ?",  # noqa: S608
            *values,
            page.size,
            page.first,
        )
        return [_of(row) for row in rows], total

    def update(self, datamart_id: str, import_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge a whole or partial object into an import.

        :raises Refused: 404; 400 when a rule is broken or another object's id is sent; 409 when strict and the
            type of an import that has executions would change.
        """
        current = self.get(datamart_id, import_id)
        for name in OWN_FIELDS:
            if name in body and str(body[name]) != current[name]:
                raise Refused(400, f"{name} cannot be changed")
        fields = {name: value for name, value in current.items() if name not in OWN_FIELDS}
        fields.update(_wanted(body))
        strict = self._world.settings.strict
        _check(fields, strict=strict)
        retyped = any(fields[name] != current[name] for name in ("document_type", "mime_type"))
        used = self._world.database.count(
            "SELECT count(*) FROM executions WHERE import_id = ?", int(import_id)
        )
        if strict and retyped and used:
            raise Refused(409, f"Document import {import_id} has executions: its type cannot change")
        self._world.database.run(
            "UPDATE document_imports SET name = ?, document_type = ?, mime_type = ?, fields = ? WHERE id = ?",
            fields["name"],
            fields["document_type"],
            fields["mime_type"],
            json.dumps(fields),
            int(import_id),
        )
        return self.get(datamart_id, import_id)

    def delete(self, datamart_id: str, import_id: str) -> dict[str, Any]:
        """Delete an import; what it imported stays held. The caller has looked at its executions.

        :raises Refused: 404.
        """
        deleted = self.get(datamart_id, import_id)
        self._world.database.run(
            "UPDATE document_imports SET deleted_at = ? WHERE id = ?", self._world.clock.now(), int(import_id)
        )
        return deleted

    def everything(self) -> list[dict[str, Any]]:
        """Return all visible imports of all datamarts, deleted ones marked, oldest first."""
        rows = self._world.database.rows(
            "SELECT * FROM document_imports WHERE created_at <= ? ORDER BY id", self._world.clock.now()
        )
        return [{**_of(row), "deleted": row["deleted_at"] is not None} for row in rows]


def _of(row: sqlite3.Row) -> dict[str, Any]:
    return _shown(row["id"], row["datamart_id"], json.loads(row["fields"]))


def _shown(number: int, datamart_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(number), "datafarm_key": DATAFARM_KEY, "datamart_id": datamart_id, **fields}


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a caller sets; the rest of the body is ignored."""
    known = ("document_type", "mime_type", "encoding", "name", *DEFAULTS)
    return {name: body[name] for name in known if name in body}


def _check(fields: dict[str, Any], *, strict: bool) -> None:
    for name in ("document_type", "mime_type", "encoding", "name"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise Refused(400, f"{name} is missing")
    kind, mime = fields["document_type"], fields["mime_type"]
    if mime not in MIME_TYPES:
        raise Refused(400, f"mime_type is one of {', '.join(MIME_TYPES)}")
    if strict and kind not in SEED_TYPES + LATER_TYPES:
        raise Refused(400, f"document_type is one of {', '.join(SEED_TYPES + LATER_TYPES)}")
    if mime == "TEXT_CSV" and kind != "USER_SEGMENT":
        raise Refused(400, "mime_type TEXT_CSV goes with document_type USER_SEGMENT only")
    if fields["priority"] not in PRIORITIES:
        raise Refused(400, f"priority is one of {', '.join(PRIORITIES)}")
    for name in ("shuffle_lines", "use_processing_pipeline"):
        if not isinstance(fields[name], bool):
            raise Refused(400, f"{name} is true or false")
