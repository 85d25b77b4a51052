"""The executions that the emulator keeps (mediarithmics.md section 4).

The status is not stored: it follows from the dates, the fate and the clock, so it is right after a restart
and however far a test moves the clock.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import sqlite3
from typing import Any

from airflow_bulk.emulator.envelopes import Page, Refused
from airflow_bulk.emulator.world import World

FATES = {"succeeded": "SUCCEEDED", "failed": "FAILED", "lost": "LOST", "stuck": "RUNNING"}
OVER = ("SUCCEEDED", "FAILED", "LOST", "CANCELED")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upload:
    """A body that came in whole, and what shall become of it.

    :param body: name of the file in the bodies folder.
    :param file_name: the platform's name for it (section 3).
    :param late_by: seconds until the execution shows.
    :param fate: one of :data:`FATES`.
    :param taken: share of the good lines that a failed or lost execution imported all the same.
    :param miscounted: lines by which its result is wrong about what it imported.
    :param fail_every: every so-many-th line fails, although it breaks no rule; 0 for none.
    """

    document_type: str
    mime_type: str
    body: str
    body_bytes: int
    file_name: str
    late_by: float = 0.0
    fate: str = "succeeded"
    taken: float = 1.0
    miscounted: int = 0
    fail_every: int = 0


def status_of(row: sqlite3.Row, now: int) -> str:
    """Return an execution's status at a time in ms."""
    if row["cancelled_at"] is not None:
        return "CANCELED"
    if now < row["start_at"]:
        return "PENDING"
    if now < row["end_at"]:
        return "RUNNING"
    return FATES[row["fate"]]


class Executions:
    """Executions by import."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(self, datamart_id: str, import_id: str, upload: Upload) -> int:
        """Create an execution from a body that came in whole.

        :return: its id.
        """
        world = self._world
        created = world.clock.now() + int(upload.late_by * 1000)
        start = created + int(world.settings.start_delay * 1000)
        return world.database.run(
            "INSERT INTO executions (import_id, datamart_id, created_at, start_at, end_at, fate, taken,"
            " miscounted, fail_every, document_type, mime_type, delimiter, strict, body, body_bytes, file_name, uri_stem)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            int(import_id),
            datamart_id,
            created,
            start,
            start + int(world.settings.run_seconds * 1000),
            upload.fate,
            upload.taken,
            upload.miscounted,
            upload.fail_every,
            upload.document_type,
            upload.mime_type,
            world.settings.csv_delimiter,
            int(world.settings.strict),
            upload.body,
            upload.body_bytes,
            upload.file_name,
            self._uri_stem(datamart_id, import_id, upload.file_name, created),
        )

    def find(self, import_id: str, execution_id: str) -> sqlite3.Row:
        """Return an execution of an import.

        :raises Refused: 404.
        """
        row = None
        if execution_id.isascii() and execution_id.isdigit() and len(execution_id) < 19:
            row = self._world.database.one(
                "SELECT * FROM executions WHERE id = ? AND import_id = ? AND created_at <= ?",
                int(execution_id),
                int(import_id),
                self._world.clock.now(),
            )
        if row is None:
            raise Refused(404, f"Execution {execution_id[:20]} was not found")
        return row

    def row(self, number: int) -> sqlite3.Row | None:
        """Return an execution by its id alone, visible or not."""
        return self._world.database.one("SELECT * FROM executions WHERE id = ?", number)

    def page(self, import_id: str, page: Page) -> tuple[list[sqlite3.Row], int]:
        """Return one page of an import's executions, newest first, and how many there are in all."""
        values = (int(import_id), self._world.clock.now())
        total = self._world.database.count(
            "SELECT count(*) FROM executions WHERE import_id = ? AND created_at <= ?", *values
        )
        rows = self._world.database.rows(
            "SELECT * FROM executions WHERE import_id = ? AND created_at <= ?"
            " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?",
            *values,
            page.size,
            page.first,
        )
        return rows, total

    def cancel(self, number: int) -> None:
        """Mark an execution as cancelled. The caller has seen that it is PENDING."""
        self._world.database.run(
            "UPDATE executions SET cancelled_at = ? WHERE id = ?", self._world.clock.now(), number
        )

    def change(self, number: int, *, fate: str | None = None, start: bool = False, end: bool = False) -> None:
        """Change an execution's course.

        :param fate: how it ends, one of :data:`FATES`.
        :param start: it starts RUNNING now.
        :param end: it ends now.
        """
        row = self.row(number)
        if row is None:
            return
        now = self._world.clock.now()
        begin = min(row["start_at"], now) if start or end else row["start_at"]
        run_time = row["end_at"] - row["start_at"]
        finish = min(row["end_at"], now) if end else (begin + run_time if start else row["end_at"])
        self._world.database.run(
            "UPDATE executions SET fate = ?, start_at = ?, end_at = ? WHERE id = ?",
            fate or row["fate"],
            begin,
            finish,
            number,
        )

    def unfinished(self, import_id: str) -> bool:
        """Whether an import has executions that are PENDING or RUNNING, hidden ones included."""
        now = self._world.clock.now()
        rows = self._world.database.rows("SELECT * FROM executions WHERE import_id = ?", int(import_id))
        return any(status_of(row, now) not in OVER for row in rows)

    def started(self, import_id: int | None) -> list[sqlite3.Row]:
        """Return the executions whose lines are held: RUNNING or over, not cancelled; oldest first."""
        now = self._world.clock.now()
        where = "" if import_id is None else " AND import_id = ?"
        values = (now,) if import_id is None else (now, import_id)
        return self._world.database.rows(
            f"SELECT * FROM executions WHERE start_at <= ? AND cancelled_at IS NULL{where} ORDER BY id",  # noqa: S608
            *values,
        )

    def by_uri(self, uri: str) -> tuple[sqlite3.Row, bool] | None:
        """Find the execution behind a file URI (section 4.5).

        :return: the execution, and whether the URI names its error file; ``None`` when there is none.
        """
        for suffix, is_errors in ((".json", False), ("_errors.csv", True)):
            row = self._world.database.one(
                "SELECT * FROM executions WHERE uri_stem = ? AND created_at <= ?",
                uri.removesuffix(suffix) if uri.endswith(suffix) else "",
                self._world.clock.now(),
            )
            if row is not None:
                return row, is_errors
        return None

    def shown(self, row: sqlite3.Row, *, as_created: bool = False) -> dict[str, Any]:
        """Return an execution as the platform shows it now.

        Its lines must have been checked if it is past PENDING.

        :param as_created: show it as the answer to its creation does, however soon it starts.
        """
        status = "PENDING" if as_created else status_of(row, self._world.clock.now())
        finished = status in OVER and status != "CANCELED"
        started = finished or status == "RUNNING"
        judged = status == "SUCCEEDED"
        key = base64.b64encode(f"1:0:0:{row['id']}".encode()).decode()
        organisation = self._world.account.organisation_id
        shown: dict[str, Any] = {
            "parameters": _parameters(row) if started else None,
            "result": self._result(row) if judged else None,
            "error": _error(row, status),
            "id": str(row["id"]),
            "status": status,
            "creation_date": row["created_at"],
            "start_date": row["start_at"] if started else None,
            "duration": row["end_at"] - row["start_at"] if finished else None,
            "organisation_id": organisation,
            "user_id": None,
            "cancel_status": "REQUESTED" if status == "CANCELED" else None,
            "debug": None,
            "is_retryable": False,
            "permalink_uri": None if status == "CANCELED" else key,
            "num_tasks": row["number_of_lines"] if started else None,
            "completed_tasks": _successes(row) if judged else None,
            "erroneous_tasks": row["failures"] if judged else None,
            "retry_count": 0,
            "job_type": "DOCUMENT_IMPORT",
            "import_mode": "MANUAL_FILE",
            "import_type": None,
        }
        # Present or absent as in the samples (section 4.1): not null, the key itself is missing.
        if status == "CANCELED":
            shown["community_id"] = organisation
        if finished:
            shown["end_date"] = row["end_at"]
        return shown

    def _result(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "total_success": _successes(row),
            "total_failure": row["failures"],
            "input_file_name": row["file_name"],
            "input_file_uri": row["uri_stem"] + ".json",
            # There even when nothing failed (section 4.4).
            "error_file_uri": row["uri_stem"] + "_errors.csv",
            "possible_issue_on_identifiers": self._world.settings.possible_issue_on_identifiers,
            "top_identifiers": self._world.settings.top_identifiers,
        }

    def _uri_stem(self, datamart_id: str, import_id: str, file_name: str, at: int) -> str:
        world = self._world
        word = "".join(world.dice.choices(ALPHABET, k=10))
        return (
            f"mics://data_file/tenants/{world.account.organisation_id}/datamarts/{datamart_id}"
            f"/document_imports/{import_id}/{file_name}-{_stamp(at)}-{word}"
        )


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _stamp(at: int) -> str:
    return datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).strftime("%Y-%m-%d_%H.%M.%S")


def _successes(row: sqlite3.Row) -> int:
    return max(0, int(row["lines"] - row["failures"] + row["miscounted"]))


def _parameters(row: sqlite3.Row) -> dict[str, Any]:
    """Ids are numbers here and strings everywhere else (section 1.7)."""
    datamart = row["datamart_id"]
    return {
        "datamart_id": int(datamart) if datamart.isdigit() else datamart,
        "document_import_id": row["import_id"],
        "mime_type": row["mime_type"],
        "document_type": row["document_type"],
        "input_file_name": row["file_name"],
        "file_uri": row["uri_stem"] + ".json",
        "number_of_lines": row["number_of_lines"],
        "segment_id": None,
    }


def _error(row: sqlite3.Row, status: str) -> dict[str, str] | None:
    if status == "FAILED":
        return {"message": "The file could not be processed"}
    if status == "SUCCEEDED" and row["failures"]:
        return {"message": row["message"]}
    return None
