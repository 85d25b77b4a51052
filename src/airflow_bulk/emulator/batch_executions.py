"""The batch executions that the emulator keeps, and the cron that makes them (mediarithmics.md sections 8 and 9).

As with document imports the status is not stored: it follows from the dates and the clock. The cron is caught up
with whenever somebody looks, so it is right after a restart and however far a test moves the clock.
"""

from __future__ import annotations

import datetime
import sqlite3
from typing import Any

from croniter import croniter

from airflow_bulk.emulator.envelopes import Page, Refused
from airflow_bulk.emulator.executions import OVER, status_of
from airflow_bulk.emulator.plugins import number_of
from airflow_bulk.emulator.world import World

TYPES = ("MANUAL", "CRON")
# A clock that jumps by a year over a cron of minutes would fire half a million times; older fires are left out.
MOST_FIRES = 5_000
# The console refuses past minutes (section 9); a call may be on its way for a while.
PAST = 60_000


def fire_after(cron: str, at: int) -> int:
    """Return when a cron fires next after a time; both in ms."""
    after = datetime.datetime.fromtimestamp(at / 1000, datetime.UTC)
    return int(croniter(cron, after).get_next(float) * 1000)


class BatchExecutions:
    """Batch executions by instance."""

    def __init__(self, world: World) -> None:
        self._world = world

    def catch_up(self) -> None:
        """Let every active cron fire up to now; one coming run of each is always there, PENDING."""
        rows = self._world.database.rows(
            "SELECT * FROM batch_instances WHERE fired_until IS NOT NULL AND fired_until <= ?",
            self._world.clock.now(),
        )
        for row in rows:
            self._fire(row)

    def _fire(self, instance: sqlite3.Row) -> None:
        now = self._world.clock.now()
        until = instance["fired_until"]
        fires = []
        while until <= now:
            fires.append((until, until := fire_after(instance["cron"], until)))
        for created, expected in fires[-MOST_FIRES:]:
            self.create(instance["id"], instance["organisation_id"], "CRON", expected, created=created)
        self._world.database.run(
            "UPDATE batch_instances SET fired_until = ? WHERE id = ?", until, instance["id"]
        )

    def create(
        self,
        instance: int,
        organisation_id: str,
        kind: str,
        expected: int,
        *,
        created: int | None = None,
        fate: str = "succeeded",
    ) -> int:
        """Create an execution and return its id. Times in ms."""
        world = self._world
        at = world.clock.now() if created is None else created
        start = max(expected, at) + int(world.settings.start_delay * 1000)
        return world.database.run(
            "INSERT INTO batch_executions (instance_id, organisation_id, kind, created_at, expected_at, start_at,"
            " end_at, fate) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            instance,
            organisation_id,
            kind,
            at,
            expected,
            start,
            start + int(world.settings.run_seconds * 1000),
            fate,
        )

    def check(self, body: dict[str, Any]) -> tuple[str, int]:
        """Read the parameters of a new execution.

        :returns: type and expected start in ms.
        :raises Refused: 400.
        """
        parameters = body.get("parameters")
        if not isinstance(parameters, dict):
            raise Refused(400, "parameters is missing")
        kind, expected = parameters.get("execution_type"), parameters.get("expected_start_date")
        if kind not in TYPES:
            raise Refused(400, "parameters.execution_type is MANUAL or CRON")
        if not isinstance(expected, int) or isinstance(expected, bool):
            raise Refused(400, "parameters.expected_start_date is a number of ms")
        if self._world.settings.strict and expected < self._world.clock.now() - PAST:
            raise Refused(400, "parameters.expected_start_date is in the past")
        return kind, expected

    def find(self, instance_id: str, execution_id: str) -> sqlite3.Row:
        """Return a visible execution of an instance.

        :raises Refused: 404.
        """
        row = self._world.database.one(
            "SELECT * FROM batch_executions WHERE id = ? AND instance_id = ? AND deleted_at IS NULL"
            " AND created_at <= ?",
            number_of(execution_id),
            number_of(instance_id),
            self._world.clock.now(),
        )
        if row is None:
            raise Refused(404, f"Execution {execution_id[:20]} was not found")
        return row

    def row(self, number: int) -> sqlite3.Row | None:
        """Return an execution by its id alone."""
        return self._world.database.one("SELECT * FROM batch_executions WHERE id = ?", number)

    def page(
        self, page: Page, *, instance_id: str | None = None, organisation_id: str | None = None
    ) -> tuple[list[sqlite3.Row], int]:
        """Return one page of an instance's or an organisation's executions, newest first, and their number."""
        where, value = (
            ("instance_id = ?", number_of(instance_id))
            if instance_id is not None
            else ("organisation_id = ?", organisation_id)
        )
        where += " AND deleted_at IS NULL AND created_at <= ?"
        values = (value, self._world.clock.now())
        database = self._world.database
        total = database.count(f"SELECT count(*) FROM batch_executions WHERE {where}", *values)  # noqa: S608
        rows = database.rows(
            f"SELECT * FROM batch_executions WHERE {where}"  # noqa: S608
            " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?",
            *values,
            page.size,
            page.first,
        )
        return rows, total

    def cancel_coming(self, instance: int) -> None:
        """Cancel the PENDING runs that the cron made; running ones and MANUAL ones are left alone (section 8)."""
        now = self._world.clock.now()
        self._world.database.run(
            "UPDATE batch_executions SET cancelled_at = ? WHERE instance_id = ? AND kind = 'CRON'"
            " AND start_at > ? AND cancelled_at IS NULL",
            now,
            instance,
            now,
        )

    def status(self, row: sqlite3.Row) -> str:
        """Return an execution's status now."""
        return status_of(row, self._world.clock.now())

    def cancel(self, number: int) -> None:
        """Mark an execution as cancelled. The caller has seen that it is PENDING."""
        self._set(number, cancelled_at=self._world.clock.now())

    def delete(self, number: int) -> None:
        """Take an execution away. The caller has seen that it may be."""
        self._set(number, deleted_at=self._world.clock.now())

    def move(self, row: sqlite3.Row, expected: int) -> None:
        """Give a PENDING execution another start."""
        start = max(expected, row["created_at"]) + int(self._world.settings.start_delay * 1000)
        run_time = row["end_at"] - row["start_at"]
        self._set(row["id"], expected_at=expected, start_at=start, end_at=start + run_time)

    def change(self, row: sqlite3.Row, body: dict[str, Any]) -> None:
        """Change an execution's course: ``fate``, ``start``, ``end``, ``tasks``, ``erroneous``."""
        now = self._world.clock.now()
        start, end = row["start_at"], row["end_at"]
        if body.get("start") or body.get("end"):
            start, end = min(start, now), min(start, now) + (end - start)
        if body.get("end"):
            end = min(end, now)
        self._set(
            row["id"],
            fate=body.get("fate") or row["fate"],
            start_at=start,
            end_at=end,
            tasks=body.get("tasks", row["tasks"]),
            erroneous=body.get("erroneous", row["erroneous"]),
        )

    def _set(self, number: int, **values: object) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        self._world.database.run(
            f"UPDATE batch_executions SET {columns} WHERE id = ?",  # noqa: S608 - names from this module
            *values.values(),
            number,
        )

    def shown(self, row: sqlite3.Row, *, as_created: bool = False) -> dict[str, Any]:
        """Return an execution as the platform shows it now (section 9)."""
        status = "PENDING" if as_created else self.status(row)
        finished = status in OVER and status != "CANCELED"
        started = finished or status == "RUNNING"
        counted = finished and row["tasks"] is not None
        return {
            "id": str(row["id"]),
            "status": status,
            "creation_date": row["created_at"],
            "start_date": row["start_at"] if started else None,
            "duration": row["end_at"] - row["start_at"] if finished else None,
            "organisation_id": row["organisation_id"],
            "user_id": None,
            "debug": None,
            "num_tasks": row["tasks"] if started else None,
            "completed_tasks": row["tasks"] - row["erroneous"] if counted else None,
            "erroneous_tasks": row["erroneous"] if counted else None,
            "external_model_name": "PUBLIC_INTEGRATION_BATCH",
            "external_model_id": str(row["instance_id"]),
            "job_type": "BATCH_INTEGRATION",
            "parameters": {"execution_type": row["kind"], "expected_start_date": row["expected_at"]},
            "result": None,
            "error": {"message": "The batch ended with an error"} if status == "FAILED" else None,
        }
