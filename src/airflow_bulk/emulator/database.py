"""The emulator's state in one SQLite file.

Every statement runs on the event loop's thread and commits at once, so there is no lock to wait for and a
killed emulator loses nothing that it has answered.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS faults (id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS document_imports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    datamart_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    name TEXT NOT NULL,
    document_type TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    import_id INTEGER NOT NULL,
    datamart_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    start_at INTEGER NOT NULL,
    end_at INTEGER NOT NULL,
    cancelled_at INTEGER,
    fate TEXT NOT NULL,
    taken REAL NOT NULL,
    miscounted INTEGER NOT NULL DEFAULT 0,
    fail_every INTEGER NOT NULL DEFAULT 0,
    document_type TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    delimiter TEXT NOT NULL,
    strict INTEGER NOT NULL,
    body TEXT NOT NULL,
    body_bytes INTEGER NOT NULL,
    file_name TEXT NOT NULL,
    uri_stem TEXT NOT NULL,
    lines INTEGER,
    number_of_lines INTEGER,
    failures INTEGER,
    message TEXT
);
CREATE TABLE IF NOT EXISTS extract_load_records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    side TEXT NOT NULL,
    object TEXT NOT NULL,
    key TEXT NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (side, object, key)
);
CREATE TABLE IF NOT EXISTS extract_load_documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, id)
);
CREATE TABLE IF NOT EXISTS extract_load_events (id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plugins (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation_id TEXT NOT NULL,
    plugin_type TEXT NOT NULL,
    group_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    current_version_id INTEGER
);
CREATE TABLE IF NOT EXISTS plugin_versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin_id INTEGER NOT NULL,
    version_id TEXT NOT NULL,
    released INTEGER NOT NULL DEFAULT 0,
    properties TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batch_instances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    deleted_at INTEGER,
    organisation_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    cron TEXT,
    cron_status TEXT,
    archived INTEGER NOT NULL,
    fired_until INTEGER,
    fields TEXT NOT NULL,
    properties TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batch_executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id INTEGER NOT NULL,
    organisation_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expected_at INTEGER NOT NULL,
    start_at INTEGER NOT NULL,
    end_at INTEGER NOT NULL,
    cancelled_at INTEGER,
    deleted_at INTEGER,
    fate TEXT NOT NULL,
    tasks INTEGER,
    erroneous INTEGER
);
CREATE TABLE IF NOT EXISTS centrapay_batches (
    id TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    account_id TEXT NOT NULL,
    type TEXT NOT NULL,
    url TEXT NOT NULL,
    test INTEGER NOT NULL,
    outcome TEXT,
    shown TEXT,
    applied INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS centrapay_assets (
    account_id TEXT NOT NULL,
    liveness TEXT NOT NULL,
    external_id TEXT NOT NULL,
    asset TEXT NOT NULL,
    PRIMARY KEY (account_id, liveness, external_id)
);
CREATE INDEX IF NOT EXISTS batch_executions_newest
    ON batch_executions (instance_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS executions_newest ON executions (import_id, created_at DESC, id DESC);
"""

TABLES = (
    *("meta", "faults", "requests", "document_imports", "executions"),
    *("extract_load_records", "extract_load_documents", "extract_load_events"),
    *("centrapay_batches", "centrapay_assets"),
    *("plugins", "plugin_versions", "batch_instances", "batch_executions"),
)

# First ids: far apart, so that an id of one kind is never mistaken for one of another.
FIRST_IDS = {
    "document_imports": 70_810,
    "executions": 51_000_122,
    "plugins": 1_200,
    "plugin_versions": 3_400,
    "batch_instances": 8_800,
    "batch_executions": 61_000_700,
}


class Database:
    """A thin layer over :mod:`sqlite3`.

    :param path: the file; created when missing.
    """

    def __init__(self, path: Path) -> None:
        # check_same_thread: built in the main thread before the loop runs there.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        # What was written survives the end of this process; only a power cut could lose it.
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.executescript(SCHEMA)
        # A state folder of an older version has no such column.
        if not self.one("SELECT 1 FROM pragma_table_info('executions') WHERE name = 'fail_every'"):
            self.run("ALTER TABLE executions ADD COLUMN fail_every INTEGER NOT NULL DEFAULT 0")
        for table, first in FIRST_IDS.items():
            if self.one("SELECT 1 FROM sqlite_sequence WHERE name = ?", table) is None:
                self.run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", table, first)

    def run(self, statement: str, *values: object) -> int:
        """Run one statement.

        :return: the id of the row it inserted, if it inserted one.
        """
        return int(self._connection.execute(statement, values).lastrowid or 0)

    def one(self, statement: str, *values: object) -> sqlite3.Row | None:
        """Return the first row, or ``None``."""
        row: sqlite3.Row | None = self._connection.execute(statement, values).fetchone()
        return row

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows."""
        return self._connection.execute(statement, values).fetchall()

    def count(self, statement: str, *values: object) -> int:
        """Return the first column of the first row as a number."""
        row = self.one(statement, *values)
        return 0 if row is None else int(row[0])

    def remember(self, key: str, value: Any) -> None:
        """Keep a small JSON value over restarts."""
        self.run("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", key, json.dumps(value))

    def recall(self, key: str) -> Any:
        """Return what :meth:`remember` kept, or ``None``."""
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else json.loads(row["value"])

    def clear(self) -> None:
        """Forget everything but the id counters, so that an id from before never names something new."""
        for table in TABLES:
            self.run(f"DELETE FROM {table}")  # noqa: S608 - names from this module

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
