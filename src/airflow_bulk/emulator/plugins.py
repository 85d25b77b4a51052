"""The plugins and plugin versions that the emulator keeps (mediarithmics.md section 7)."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any

from airflow_bulk.emulator.envelopes import Page, Refused
from airflow_bulk.emulator.world import World

VERSION = re.compile(r"\d+\.\d+\.\d+(-\S+)?")
REQUIRED = ("provider", "name")
ORIGINS = ("PLUGIN_STATIC", "PLUGIN", "INSTANCE")
# The key of `value` that must be there (section 7.3), and what it holds.
TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "STRING": ("value", (str,)),
    "PIXEL_TAG": ("value", (str,)),
    "INT": ("value", (int,)),
    "DOUBLE": ("value", (int, float)),
    "BOOLEAN": ("value", (bool,)),
    "URL": ("url", (str,)),
    "DATA_FILE": ("uri", (str,)),
    "ASSET": ("asset_id", (str,)),
    "ASSET_FILE": ("asset_id", (str,)),
    "ASSET_FOLDER": ("asset_id", (str,)),
    "AD_LAYOUT": ("id", (str,)),
    "STYLE_SHEET": ("id", (str,)),
    "RECOMMENDER": ("recommender_id", (str,)),
    "NATIVE_DATA": ("required_display", (bool,)),
    "NATIVE_TITLE": ("required_display", (bool,)),
    "NATIVE_IMAGE": ("required_display", (bool,)),
}


def number_of(text: str) -> int:
    """Return an id as a number; one that cannot be an id finds nothing."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


class Plugins:
    """Plugins by organisation, each with its versions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create a plugin.

        :raises Refused: 400, 403; 409 when strict and the organisation has it already.
        """
        for name in ("organisation_id", "plugin_type", "group_id", "artifact_id"):
            if not isinstance(body.get(name), str) or not body[name].strip():
                raise Refused(400, f"{name} is missing")
        self._world.require_organisation(body["organisation_id"])
        if body["group_id"] == body["artifact_id"]:
            raise Refused(400, "artifact_id must differ from group_id")
        taken = self._world.database.one(
            "SELECT 1 FROM plugins WHERE organisation_id = ? AND group_id = ? AND artifact_id = ?",
            body["organisation_id"],
            body["group_id"],
            body["artifact_id"],
        )
        if taken is not None and self._world.settings.strict:
            raise Refused(409, "there is such a plugin already")
        number = self._world.database.run(
            "INSERT INTO plugins (organisation_id, plugin_type, group_id, artifact_id) VALUES (?, ?, ?, ?)",
            body["organisation_id"],
            body["plugin_type"],
            body["group_id"],
            body["artifact_id"],
        )
        return self.get(str(number))

    def get(self, plugin_id: str) -> dict[str, Any]:
        """Return a plugin.

        :raises Refused: 404.
        """
        row = self._world.database.one("SELECT * FROM plugins WHERE id = ?", number_of(plugin_id))
        if row is None:
            raise Refused(404, f"Plugin {plugin_id[:20]} was not found")
        return _plugin(row)

    def page(self, filters: dict[str, str], page: Page) -> tuple[list[dict[str, Any]], int]:
        """Return one page of plugins and how many there are in all.

        :param filters: ``plugin_type``, ``group_id``, ``artifact_id``, ``organisation_id``.
        """
        wanted = [
            (name, filters[name])
            for name in ("plugin_type", "group_id", "artifact_id", "organisation_id")
            if filters.get(name)
        ]
        where = " AND ".join([f"{name} = ?" for name, _ in wanted] or ["1"])
        values = [value for _, value in wanted]
        database = self._world.database
        total = database.count(f"SELECT count(*) FROM plugins WHERE {where}", *values)  # noqa: S608
        rows = database.rows(
            f"SELECT * FROM plugins WHERE {where} ORDER BY id LIMIT ? OFFSET ?",  # noqa: S608
            *values,
            page.size,
            page.first,
        )
        return [_plugin(row) for row in rows], total

    def create_version(self, plugin_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create a version: a DRAFT.

        :raises Refused: 404; 400 for a bad version text or a missing or broken property; 409 when it exists.
        """
        self.get(plugin_id)
        version = body.get("version_id")
        if not isinstance(version, str) or VERSION.fullmatch(version) is None:
            raise Refused(400, "version_id is three numbers and an optional suffix")
        properties = body.get("plugin_properties")
        if not isinstance(properties, list):
            raise Refused(400, "plugin_properties is a list")
        kept = [checked_property(one) for one in properties]
        names = [one["technical_name"] for one in kept]
        for name in REQUIRED:
            if name not in names:
                raise Refused(400, f"property {name} is mandatory")
        if len(set(names)) < len(names):
            raise Refused(400, "two properties have the same technical_name")
        if any(one["version_id"] == version for one in self.versions(plugin_id)):
            raise Refused(409, "there is such a version already")
        number = self._world.database.run(
            "INSERT INTO plugin_versions (plugin_id, version_id, properties) VALUES (?, ?, ?)",
            int(plugin_id),
            version,
            json.dumps(kept),
        )
        return self.version(plugin_id, str(number))

    def versions(self, plugin_id: str) -> list[dict[str, Any]]:
        """Return a plugin's versions, oldest first."""
        plugin = self.get(plugin_id)
        rows = self._world.database.rows(
            "SELECT * FROM plugin_versions WHERE plugin_id = ? ORDER BY id", int(plugin_id)
        )
        return [_version(row, plugin) for row in rows]

    def version(self, plugin_id: str, row_id: str) -> dict[str, Any]:
        """Return a version by its row id.

        :raises Refused: 404.
        """
        row = self._version_row(row_id)
        plugin = self.get(plugin_id)
        if row["plugin_id"] != int(plugin_id):
            raise Refused(404, f"Version {row_id[:20]} was not found")
        return _version(row, plugin)

    def owner(self, row_id: str) -> dict[str, Any]:
        """Return the plugin of a version."""
        return self.get(str(self._version_row(row_id)["plugin_id"]))

    def properties(self, row_id: str) -> list[dict[str, Any]]:
        """Return the properties of a version."""
        found: list[dict[str, Any]] = json.loads(self._version_row(row_id)["properties"])
        return found

    def resolve(self, group_id: str, artifact_id: str, version: str) -> dict[str, Any]:
        """Return the version that an instance names, by row id or as people write it (section 12, row 3).

        :raises Refused: 400.
        """
        plugins, _ = self.page({"group_id": group_id, "artifact_id": artifact_id}, Page(0, -1))
        for plugin in plugins:
            for one in self.versions(plugin["id"]):
                if version in (one["id"], one["version_id"]):
                    return one
        raise Refused(400, "there is no such plugin version")

    def release(self, row_id: str) -> dict[str, Any]:
        """Release a DRAFT, as a person does in the console: it becomes its plugin's current version."""
        row = self._version_row(row_id)
        self._world.database.run("UPDATE plugin_versions SET released = 1 WHERE id = ?", row["id"])
        self._world.database.run(
            "UPDATE plugins SET current_version_id = ? WHERE id = ?", row["id"], row["plugin_id"]
        )
        return self.version(str(row["plugin_id"]), row_id)

    def _version_row(self, row_id: str) -> sqlite3.Row:
        row = self._world.database.one("SELECT * FROM plugin_versions WHERE id = ?", number_of(row_id))
        if row is None:
            raise Refused(404, f"Version {row_id[:20]} was not found")
        return row


def checked_property(given: Any) -> dict[str, Any]:
    """Return a property as it is kept.

    :raises Refused: 400 when it breaks a rule of section 7.3.
    """
    if not isinstance(given, dict) or not isinstance(given.get("technical_name"), str):
        raise Refused(400, "a property has no technical_name")
    name, kind, value = given["technical_name"], given.get("property_type"), given.get("value")
    if kind not in TYPES:
        raise Refused(400, f"property {name}: property_type is one of {', '.join(TYPES)}")
    if given.get("origin", "PLUGIN") not in ORIGINS:
        raise Refused(400, f"property {name}: origin is one of {', '.join(ORIGINS)}")
    key, types = TYPES[kind]
    if not isinstance(value, dict) or key not in value:
        raise Refused(400, f"property {name}: the value of a {kind} has {key}")
    # A property may be declared before it has a value: its key is null then [assumed].
    if value[key] is None and name in REQUIRED:
        raise Refused(400, f"property {name}: {key} is mandatory")
    if value[key] is not None and not isinstance(value[key], types):
        raise Refused(400, f"property {name}: the {key} of a {kind} has another type")
    if isinstance(value[key], bool) and bool not in types:
        raise Refused(400, f"property {name}: the value of a {kind} is no boolean")
    return {
        "technical_name": name,
        "property_type": kind,
        "origin": given.get("origin", "PLUGIN"),
        "writable": bool(given.get("writable", True)),
        "deletable": bool(given.get("deletable", False)),
        "value": value,
    }


def _plugin(row: sqlite3.Row) -> dict[str, Any]:
    current = row["current_version_id"]
    return {
        "id": str(row["id"]),
        "organisation_id": row["organisation_id"],
        "plugin_type": row["plugin_type"],
        "group_id": row["group_id"],
        "artifact_id": row["artifact_id"],
        "current_version_id": None if current is None else str(current),
    }


def _version(row: sqlite3.Row, plugin: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "plugin_id": plugin["id"],
        "organisation_id": plugin["organisation_id"],
        "plugin_type": plugin["plugin_type"],
        "group_id": plugin["group_id"],
        "artifact_id": plugin["artifact_id"],
        "version_id": row["version_id"],
        "max_qps": None,
        "archived": False,
        # No source shows how a version says that it is a draft: the field is [assumed].
        "status": "RELEASED" if row["released"] else "DRAFT",
    }
