"""The record of an import outside of any DAG: the same one that a task keeps, in a file, or in memory.

The file is a SQLite database: a write that returned survives a kill, and one process at a time holds the file, so that no
earlier run of the command can act beside this one. That is what Airflow's task state gives a task.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow_bulk.cli.errors import Ended
from airflow_bulk.judging import name_ids
from airflow_bulk.runs.record import Record

#: What a record of this command holds besides the run's own keys.
BEGUN = "command"
#: The one table of a record, as SQLite keeps this text, too: a database with anything else is not ours.
TABLE = "CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


class FileStore:
    """Values by key, as Airflow's task state keeps them.

    :param database: open, and held by this process alone.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        if not _tables(database):
            database.execute(TABLE)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value."""
        row = self._database.execute("SELECT value FROM record WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Store a value; when this returns, it survives a kill. A file keeps it for as long as the file is there."""
        self._database.execute(
            "INSERT INTO record VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, json.dumps(value)),
        )


def must_be_a_name(file: str | None) -> None:
    """Refuse what SQLite takes for a database that nobody keeps.

    :raises Ended: a record was asked for, and no file is named.
    """
    if file == "":
        raise Ended(
            "--record names no file: its value is empty, as that of a shell variable that is not set. Name a file, or leave "
            "--record out.",
            2,
        )
    if file == ":memory:":
        raise Ended(
            "--record :memory: would keep nothing. Name a file (./:memory: for one of this name), or leave --record out.",
            2,
        )


@contextlib.contextmanager
def open_record(file: str | None, asked: Mapping[str, Any]) -> Iterator[Record]:
    """Give the record of this import: of the file, or a new one in memory.

    Each run of the command is what a clear by a person is to a task: it goes on where the last one stopped, with a new
    deadline, and judges by today's ``--max-failures``. The caller's ``on_clear`` must be ``"keep"``.

    :param file: the file; None keeps the record in memory alone.
    :param asked: what the import is, which must be the same over all runs.
    :raises Ended: the file holds another import, is in use, or is no record.
    """
    try:
        with contextlib.closing(_open(file)) as database:
            store = FileStore(database)
            begun = _begin(store, asked, file)
            identity = SimpleNamespace(
                dag_id="airflow bulk import", run_id=begun["id"], task_id="import", map_index=-1
            )
            number = int(begun["runs"])
            yield Record(store, max_tries=number, clear_number=number, try_number=number, identity=identity)
    except sqlite3.Error as error:
        held = "locked" in str(error)
        raise Ended(
            f"--record {file}: another run of this command uses it. Wait until that one has ended."
            if held
            else f"--record {file}: cannot be used as a record ({error}). Name a record of this command, or a file that is not there yet."
        ) from None


def _open(file: str | None) -> sqlite3.Connection:
    if file is not None:
        # It names files and counts, no lines; still nobody else's business.
        with contextlib.suppress(FileExistsError):
            Path(file).touch(mode=0o600, exist_ok=False)
        _must_be_ours(Path(file))
        if stat.S_IMODE(Path(file).stat().st_mode) != 0o600:
            Path(file).chmod(0o600)
    database = sqlite3.connect(file or ":memory:", timeout=1.0, isolation_level=None)
    # The lock is kept from the first access to the end of the process, and ends with it, however it ends.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN EXCLUSIVE")
    database.execute("COMMIT")
    return database


def _must_be_ours(file: Path) -> None:
    """Refuse a file that is not a record before anything is written into it, or beside it.

    :raises Ended: it is something else.
    :raises sqlite3.Error: it is no database.
    """
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise Ended(f"--record {file}: is not a regular file. Name a file.")
    if not state.st_size:
        return
    # As it lies there, without a lock and without a look at a journal: another program's database stays as it is.
    address = f"{file.absolute().as_uri()}?immutable=1"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        if _tables(database) != [TABLE]:
            raise Ended(
                f"--record {file}: a database, but not a record of this command. Nothing was written into it. Name a record "
                "of this command, or a file that is not there yet."
            )


def _tables(database: sqlite3.Connection) -> list[str]:
    """What the database is made of; SQLite's own index of a table has no text."""
    return [text for (text,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]


def _begin(store: FileStore, asked: Mapping[str, Any], file: str | None) -> dict[str, Any]:
    begun = _read_begun(store, file)
    if begun is None:
        begun = {"id": uuid.uuid4().hex, "runs": 0, "asked": dict(asked), "at": time.time()}
    before = begun["asked"]
    other = [name for name, value in asked.items() if before.get(name) != value]
    if "server" in other and "server" in before:
        raise Ended(
            f"--record {file}: it is the record of an import on {before['server']}, and this connection leads to "
            f"{asked['server']}. Nothing was sent. Name another file to begin an import there.",
            2,
        )
    if other:
        raise Ended(
            f"--record {file}: it is the record of another import, which differs in {name_ids(other)}. "
            "Name another file to begin a new import.",
            2,
        )
    begun["runs"] += 1
    store.set(BEGUN, begun)
    return begun


def _read_begun(store: FileStore, file: str | None) -> dict[str, Any] | None:
    """What an earlier run has written of the command; None where there was none."""
    try:
        begun: Any = store.get(BEGUN)
    except ValueError:
        begun = ""
    match begun:
        case None | {"id": str(), "runs": int(), "asked": dict()}:
            return begun
    raise Ended(
        f"--record {file}: a record that cannot be read: what it holds of the command is broken. Put back a copy of the "
        "file. Without one, look at what was sent (airflow bulk executions list), then name a file that is not there yet."
    )
