"""The integration batch instances that the emulator keeps (mediarithmics.md section 8)."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from croniter import croniter

from airflow_bulk.emulator.batch_executions import BatchExecutions
from airflow_bulk.emulator.envelopes import Page, Refused
from airflow_bulk.emulator.plugins import Plugins, checked_property, number_of
from airflow_bulk.emulator.world import World

PARTS = ("ram_size", "cpu_size", "disk_size")
SIZES = {
    "": ("LOW", "MEDIUM", "LARGE", "EXTRA_LARGE"),
    "execution_container_": ("LOW", "MEDIUM", "LARGE", "XL"),
}


class BatchInstances:
    """Instances by organisation. A deleted one does not exist for callers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plugins = Plugins(world)
        self._executions = BatchExecutions(world)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create an instance with copies of its version's PLUGIN properties.

        :raises Refused: 400, 403.
        """
        fields, version = self._checked(body)
        copies = [one for one in self._plugins.properties(version["id"]) if one["origin"] == "PLUGIN"]
        now = self._world.clock.now()
        number = self._world.database.run(
            "INSERT INTO batch_instances (created_at, modified_at, organisation_id, group_id, artifact_id, cron,"
            " cron_status, archived, fired_until, fields, properties) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            now,
            now,
            fields["organisation_id"],
            fields["group_id"],
            fields["artifact_id"],
            fields.get("cron"),
            fields.get("cron_status"),
            int(fields["archived"]),
            now if _fires(fields) else None,
            json.dumps(fields),
            json.dumps(copies),
        )
        self._executions.catch_up()
        return self.get(str(number))

    def get(self, instance_id: str) -> dict[str, Any]:
        """Return an instance.

        :raises Refused: 404.
        """
        return _shown(self.row(instance_id))

    def row(self, instance_id: str) -> sqlite3.Row:
        """Return an instance as it is kept.

        :raises Refused: 404.
        """
        row = self._world.database.one(
            "SELECT * FROM batch_instances WHERE id = ? AND deleted_at IS NULL", number_of(instance_id)
        )
        if row is None:
            raise Refused(404, f"Integration batch instance {instance_id[:20]} was not found")
        return row

    def page(self, filters: dict[str, str], page: Page) -> tuple[list[dict[str, Any]], int]:
        """Return one page of an organisation's instances, and how many there are in all.

        :param filters: ``organisation_id``, ``group_id``, ``artifact_id``, ``cron_status``, ``is_periodic``.
        """
        where, values = ["deleted_at IS NULL"], []
        for name in ("organisation_id", "group_id", "artifact_id", "cron_status"):
            if filters.get(name):
                where.append(f"{name} = ?")
                values.append(filters[name])
        if filters.get("is_periodic"):
            where.append("cron IS NOT NULL" if filters["is_periodic"] == "true" else "cron IS NULL")
        condition = " AND ".join(where)
        database = self._world.database
        total = database.count(f"SELECT count(*) FROM batch_instances WHERE {condition}", *values)  # noqa: S608
        rows = database.rows(
            f"SELECT * FROM batch_instances WHERE {condition} ORDER BY id LIMIT ? OFFSET ?",  # noqa: S608
            *values,
            page.size,
            page.first,
        )
        return [_shown(row) for row in rows], total

    def update(self, instance_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Put a whole instance: what the body leaves out is gone (section 8 [seen]).

        :raises Refused: 404; 400 when a rule is broken or another object's id is sent.
        """
        self._executions.catch_up()
        current = self.row(instance_id)
        before = _shown(current)
        for name in ("id", "organisation_id", "group_id", "artifact_id"):
            if name in body and str(body[name]) != before[name]:
                raise Refused(400, f"{name} cannot be changed")
        fields, version = self._checked(body)
        now = self._world.clock.now()
        rescheduled = any(
            fields.get(name) != before.get(name) for name in ("cron", "cron_status", "archived")
        )
        until = current["fired_until"]
        if rescheduled:
            self._executions.cancel_coming(current["id"])
            # From now on: what was missed while it was paused is not caught up with (section 8 [assumed]).
            until = now if _fires(fields) else None
        self._world.database.run(
            "UPDATE batch_instances SET modified_at = ?, cron = ?, cron_status = ?, archived = ?, fired_until = ?,"
            " fields = ?, properties = ? WHERE id = ?",
            now,
            fields.get("cron"),
            fields.get("cron_status"),
            int(fields["archived"]),
            until,
            json.dumps(fields),
            json.dumps(self._recopied(current, version["id"])),
            current["id"],
        )
        self._executions.catch_up()
        return self.get(instance_id)

    def delete(self, instance_id: str) -> dict[str, Any]:
        """Delete an instance; its cron ends with it.

        :raises Refused: 404.
        """
        self._executions.catch_up()
        row = self.row(instance_id)
        self._executions.cancel_coming(row["id"])
        self._world.database.run(
            "UPDATE batch_instances SET deleted_at = ?, fired_until = NULL WHERE id = ?",
            self._world.clock.now(),
            row["id"],
        )
        return _shown(row)

    def properties(self, instance_id: str) -> list[dict[str, Any]]:
        """Return the properties of an instance: its copies, and what was set on it alone."""
        found: list[dict[str, Any]] = json.loads(self.row(instance_id)["properties"])
        return found

    def put_property(self, instance_id: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Put a whole property.

        :raises Refused: 404 for a name that neither the instance nor its version has; 400 for another type; 403
            for one that is not writable.
        """
        row = self.row(instance_id)
        given = checked_property(body)
        if given["technical_name"] != name:
            raise Refused(400, "technical_name differs from the path's")
        kept = self.properties(instance_id)
        version = json.loads(row["fields"])["version_id"]
        declared = {one["technical_name"]: one for one in self._plugins.properties(version)}
        known = next((one for one in kept if one["technical_name"] == name), declared.get(name))
        if known is None or known["origin"] == "PLUGIN_STATIC":
            raise Refused(404, f"Property {name[:60]} was not found")
        if known["property_type"] != given["property_type"]:
            raise Refused(400, f"property {name[:60]} is a {known['property_type']}")
        if not known["writable"]:
            raise Refused(403, f"property {name[:60]} is not writable")
        changed = {**known, "value": given["value"]}
        kept = [one for one in kept if one["technical_name"] != name] + [changed]
        self._world.database.run(
            "UPDATE batch_instances SET properties = ? WHERE id = ?", json.dumps(kept), row["id"]
        )
        return changed

    def _recopied(self, row: sqlite3.Row, version: str) -> list[dict[str, Any]]:
        """Copies for a version: those of the same name and type keep their values."""
        kept: list[dict[str, Any]] = json.loads(row["properties"])
        if json.loads(row["fields"])["version_id"] == version:
            return kept
        had = {(one["technical_name"], one["property_type"]): one for one in kept}
        fresh = [one for one in self._plugins.properties(version) if one["origin"] == "PLUGIN"]
        return [had.get((one["technical_name"], one["property_type"]), one) for one in fresh]

    def _checked(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fields to keep, and the version."""
        for name in ("organisation_id", "group_id", "artifact_id", "version_id"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise Refused(400, f"{name} is missing")
        self._world.require_organisation(body["organisation_id"])
        version = self._plugins.resolve(body["group_id"], body["artifact_id"], body["version_id"])
        cron, status = body.get("cron"), body.get("cron_status")
        if (cron is None) != (status is None) and self._world.settings.strict:
            raise Refused(400, "cron and cron_status go together")
        if status not in (None, "ACTIVE", "PAUSED"):
            raise Refused(400, "cron_status is ACTIVE or PAUSED")
        if cron is not None and (
            not isinstance(cron, str) or len(cron.split()) != 5 or not croniter.is_valid(cron)
        ):
            raise Refused(400, "cron is not a schedule of five fields")
        fields = {name: body[name] for name in ("organisation_id", "group_id", "artifact_id")}
        fields |= {"version_id": version["id"], "version_value": version["version_id"]}
        fields |= {"name": body.get("name"), "archived": bool(body.get("archived", False))}
        if cron is not None:
            fields |= {"cron": cron, "cron_status": status}
        return fields | _sizes(body), version


def _fires(fields: dict[str, Any]) -> bool:
    return fields.get("cron_status") == "ACTIVE" and not fields["archived"]


def _sizes(body: dict[str, Any]) -> dict[str, str]:
    """Return the sizes in the spelling they came in; missing ones are LOW (section 8 [assumed])."""
    prefix = "execution_container_" if any(f"execution_container_{part}" in body for part in PARTS) else ""
    sizes = {prefix + part: body.get(prefix + part, "LOW") for part in PARTS}
    for name, size in sizes.items():
        if size not in SIZES[prefix]:
            raise Refused(400, f"{name} is one of {', '.join(SIZES[prefix])}")
    return sizes


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        **json.loads(row["fields"]),
        "creation_ts": row["created_at"],
        "last_modified_ts": row["modified_at"],
    }
