"""The batches and assets of the emulated Centrapay (centrapay.md sections 4, 5, 8 and 9).

The status is not stored: it follows from the batch's age on the emulator's clock and from what its file held, so it
is right after a restart. A final batch never changes again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import sqlite3
import string
from typing import Any

from airflow_bulk.emulator import centrapay_files as files
from airflow_bulk.emulator.world import World

WALK = ("created", "copied", "chunked", "complete")
ACCOUNT, TEST_ACCOUNT = "emulatorLiveAccount001", "emulatorTestAccount001"
_LETTERS = string.ascii_letters + string.digits


class CentrapayRefused(Exception):
    """A call that ends in an error answer of Centrapay's own form (section 7)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclasses.dataclass(frozen=True)
class CentrapaySettings:
    """How the emulated Centrapay behaves.

    :param step_seconds: seconds on the emulator's clock from one status to the next.
    :param skip: statuses that are never shown.
    :param unknown_status: shown in the place of every status that is not final; empty: none.
    :param total_count: send ``totalCount``, as the field table says, in the place of ``count``.
    :param bare_numbers: send counts as numbers, as in 2022, not as texts.
    :param most_errors: how many errors the list holds at most.
    :param accounts: id -> whether it is a test account.
    :param other_types: batch types accepted beside the known ones; a record of theirs is any JSON object.
    :param refused: externalId -> the message with which a record that keeps all rules is refused.
    """

    step_seconds: float = 0.2
    skip: tuple[str, ...] = ()
    unknown_status: str = ""
    total_count: bool = False
    bare_numbers: bool = False
    most_errors: int = 100
    accounts: dict[str, bool] = dataclasses.field(
        default_factory=lambda: {ACCOUNT: False, TEST_ACCOUNT: True}
    )
    other_types: tuple[str, ...] = ()
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


class CentrapayStore:
    """The emulated Centrapay.

    :param world: state, clock, account.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._fetches: dict[str, asyncio.Task[None]] = {}

    @property
    def settings(self) -> CentrapaySettings:
        """The settings as they stand."""
        return CentrapaySettings(**(self.world.database.recall("centrapay") or {}))

    def change_settings(self, changes: dict[str, Any]) -> CentrapaySettings:
        """Change settings; they are kept over restarts.

        :raises ValueError: a name that does not exist.
        """
        known = {field.name for field in dataclasses.fields(CentrapaySettings)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no setting is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
        changed = dataclasses.replace(self.settings, **changes)
        self.world.database.remember("centrapay", dataclasses.asdict(changed))
        return changed

    # -- Batches -----------------------------------------------------------------------------------------------

    def create(self, body: dict[str, Any]) -> sqlite3.Row:
        """Create a batch and begin to fetch its file.

        :raises CentrapayRefused: 400 for a field that is missing or of the wrong kind, then 403 (section 9).
        """
        settings = self.settings
        for name in ("type", "url", "accountId"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise CentrapayRefused(400, f"{name} is required")
        test = body.get("test", False)
        if not isinstance(test, bool):
            raise CentrapayRefused(400, "test must be a boolean")
        if body["type"] not in (*files.TYPES, *settings.other_types):
            raise CentrapayRefused(400, "type is invalid")
        if not body["url"].startswith(("http://", "https://")):
            raise CentrapayRefused(400, "url is invalid")
        if body["accountId"] not in settings.accounts:
            raise CentrapayRefused(403, "Forbidden")
        if settings.accounts[body["accountId"]] is not test:
            raise CentrapayRefused(403, "LIVENESS_MISMATCH")
        batch_id = "".join(secrets.choice(_LETTERS) for _ in range(22))
        self.world.database.run(
            "INSERT INTO centrapay_batches (id, created_at, account_id, type, url, test) VALUES (?, ?, ?, ?, ?, ?)",
            *(batch_id, self.world.clock.now(), body["accountId"], body["type"], body["url"], int(test)),
        )
        row = self.row(batch_id)
        assert row is not None  # noqa: S101 - just made
        self._begin(row)
        return row

    def row(self, batch_id: str) -> sqlite3.Row | None:
        """Return a batch, or None."""
        return self.world.database.one("SELECT * FROM centrapay_batches WHERE id = ?", batch_id)

    def rows(self) -> list[sqlite3.Row]:
        """Return all batches, oldest first."""
        return self.world.database.rows("SELECT * FROM centrapay_batches ORDER BY created_at, rowid")

    def _begin(self, row: sqlite3.Row) -> asyncio.Task[None]:
        task = asyncio.create_task(self._fetch(row), name=f"fetch {row['id']}")
        self._fetches[row["id"]] = task
        return task

    async def _fetch(self, row: sqlite3.Row) -> None:
        """Fetch and judge beside the event loop. The file is what it was when the batch was created."""
        try:
            found = await asyncio.to_thread(files.outcome, row["type"], row["url"], self.settings.refused)
        finally:
            self._fetches.pop(row["id"], None)
        self.world.database.run(
            "UPDATE centrapay_batches SET outcome = ? WHERE id = ?", json.dumps(found), row["id"]
        )

    async def catch_up(self) -> None:
        """Wait for the files under way, and load what batches that are complete by now have loaded."""
        for row in self.rows():
            if row["outcome"] is None:
                await asyncio.shield(self._fetches.get(row["id"]) or self._begin(row))
        for row in self.rows():
            if not row["applied"] and self._walked(row) == "complete":
                self._load(row)

    def _walked(self, row: sqlite3.Row) -> str:
        settings = self.settings
        walk = [status for status in WALK if status not in settings.skip]
        age = (self.world.clock.now() - row["created_at"]) / 1000
        steps = int(age / settings.step_seconds) if settings.step_seconds else len(walk)
        status = walk[min(steps, len(walk) - 1)]
        if steps and row["outcome"] and json.loads(row["outcome"])["fatal"]:
            return "error"
        return status

    def shown(self, row: sqlite3.Row, *, new: bool = False) -> dict[str, Any]:
        """Return a batch as the API shows it.

        :param new: it was created by this very call.
        """
        settings = self.settings
        status = "created" if new else self._walked(row)
        count, failed, errors = self._counted(row, status)
        number = int if settings.bare_numbers else str
        if settings.unknown_status and status not in ("complete", "error") and not new:
            status = settings.unknown_status
        return {
            "id": row["id"],
            "accountId": row["account_id"],
            "status": status,
            "type": row["type"],
            "url": row["url"],
            "test": bool(row["test"]),
            "totalCount" if settings.total_count else "count": number(count),
            "errorCount": number(failed),
            "errors": errors[: settings.most_errors],
            **json.loads(row["shown"] or "{}"),
        }

    def _counted(self, row: sqlite3.Row, status: str) -> tuple[int, int, list[dict[str, Any]]]:
        if status not in ("complete", "error"):
            return 0, 0, []
        found = json.loads(row["outcome"])
        if status == "error":
            return 0, 1, [{"message": found["fatal"]}]
        return found["count"], len(found["errors"]), found["errors"]

    def show_as(self, batch_id: str, fields: dict[str, Any]) -> None:
        """Show a batch with other values than it has, as a platform that is in error would."""
        self.world.database.run(
            "UPDATE centrapay_batches SET shown = ? WHERE id = ?", json.dumps(fields), batch_id
        )

    # -- Assets ------------------------------------------------------------------------------------------------

    def _load(self, row: sqlite3.Row) -> None:
        """Upsert what a Farmlands batch loaded (section 6.1)."""
        if row["type"] == files.FARMLANDS:
            for record in json.loads(row["outcome"])["records"]:
                self._upsert(row, record)
        self.world.database.run("UPDATE centrapay_batches SET applied = 1 WHERE id = ?", row["id"])

    def _upsert(self, row: sqlite3.Row, record: dict[str, Any]) -> None:
        liveness = "test" if row["test"] else "main"
        key = (row["account_id"], liveness, record["externalId"])
        known = self._asset(*key)
        asset = known or {
            "id": "".join(secrets.choice(_LETTERS) for _ in range(22)),
            "accountId": row["account_id"],
            "category": "money",
            "type": f"farmlands.nzd.{liveness}",
            "liveness": liveness,
            "status": "active",
            "currency": "NZD",
            "externalId": record["externalId"],
            # Section 6.1 [assumed]: a new record has 0, an existing one keeps what it has.
            "balance": "0",
            "availableBalance": "0",
            "loads": 0,
        }
        if "availableBalance" in record:
            asset["balance"] = asset["availableBalance"] = str(record["availableBalance"])
        asset["loads"] += 1
        self.world.database.run(
            "INSERT OR REPLACE INTO centrapay_assets (account_id, liveness, external_id, asset) VALUES (?, ?, ?, ?)",
            *(*key, json.dumps(asset)),
        )

    def _asset(self, account_id: str, liveness: str, external_id: str) -> dict[str, Any] | None:
        row = self.world.database.one(
            "SELECT asset FROM centrapay_assets WHERE account_id = ? AND liveness = ? AND external_id = ?",
            *(account_id, liveness, external_id),
        )
        return None if row is None else dict(json.loads(row["asset"]))

    def assets(self) -> list[dict[str, Any]]:
        """Return all assets, oldest first; ``loads`` says how often each was loaded."""
        rows = self.world.database.rows("SELECT asset FROM centrapay_assets ORDER BY rowid")
        return [json.loads(row["asset"]) for row in rows]
