"""The world of a task at one moment, as JSON: what the emulator holds, the files beside the task, and the time.

The same code saves a world beside an older version of the package and brings it back beside today's. Texts that many
samples share (a source, the bodies of its parts) stand once, by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer
from killed_world import World

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator

#: The real clock, also while a test lives in the time of its sample.
REAL_TIME = time.time
#: A path that is the same in every world, for the record keeps hashes over absolute paths: Linux leads it to the folder that the
#: process is in.
HERE = Path("/proc/self/cwd")
#: What a run may name of its world, and what stands in the samples in its place.
EMULATOR, FILES = "{emulator}", "{files}"


class Contents:
    """Contents of files by their hash; what is no text stands as base64."""

    def __init__(self, known: dict[str, str] | None = None) -> None:
        self.known = known or {}

    def keep(self, data: bytes) -> str:
        """Keep a content; return its hash."""
        name = hashlib.sha256(data).hexdigest()[:16]
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = "base64:" + base64.b64encode(data).decode()
        self.known[name] = text
        return name

    def give(self, name: str) -> bytes:
        """Return a content."""
        text = self.known[name]
        if text.startswith("base64:"):
            return base64.b64decode(text.removeprefix("base64:"))
        return text.encode()


@contextmanager
def new_world(folder: Path, name: str) -> Iterator[World]:
    """Fresh platforms, and an empty folder that has the same path everywhere.

    :param folder: of this world alone.
    :param name: of the play; the same one in the world that is saved and in the one that is brought back.
    """
    (folder / "work" / name).mkdir(parents=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        Emulator.start(folder / "emulator", start_delay=0, run_seconds=0) as emulator,
        FileServer() as files,
    ):
        centrapay, extract_load = CentrapayEmulator(emulator), ExtractLoadEmulator(emulator)
        patch.chdir(folder / "work")
        patch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", emulator.connection_json())
        patch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json(account_id=ACCOUNT))
        patch.setenv("AIRFLOW_CONN_EL_SERVER", extract_load.connection_json("server"))
        patch.setenv("AIRFLOW_CONN_EL_JSON", extract_load.connection_json("source", api="json"))
        patch.setenv(
            "AIRFLOW_CONN_EL_DESTINATION", extract_load.connection_json("destination", api="activecell")
        )
        world = World(
            emulator=emulator,
            batches=IntegrationBatchEmulator(emulator),
            centrapay=centrapay,
            extract_load=extract_load,
            files=files,
            folder=HERE / name,
            root=folder,
        )
        world.quick()
        yield world


def save(world: World, contents: Contents) -> dict[str, Any]:
    """Save a world while nothing is under way in it."""
    while not all(call["done"] for call in world.emulator.requests()):
        time.sleep(0.05)
    work = world.root / "work"
    return {
        "at": REAL_TIME(),
        "tables": _rows(world.emulator.state / "state.sqlite"),
        "bodies": {
            path.name: contents.keep(path.read_bytes())
            for path in sorted((world.emulator.state / "bodies").iterdir())
        },
        "folders": [str(path.relative_to(work)) for path in sorted(work.rglob("*")) if path.is_dir()],
        "files": {
            str(path.relative_to(work)): [contents.keep(path.read_bytes()), path.stat().st_mtime_ns]
            for path in sorted(work.rglob("*"))
            if path.is_file()
        },
    }


def as_text(value: Any, world: World) -> str:
    """A value as JSON, without the addresses of this world."""
    text = json.dumps(value, sort_keys=True)
    return text.replace(world.emulator.url, EMULATOR).replace(world.files.url, FILES)


def from_text(text: str, world: World) -> Any:
    """A value that was written by :func:`as_text`, with the addresses of this world."""
    return json.loads(text.replace(EMULATOR, world.emulator.url).replace(FILES, world.files.url))


def bring_back(saved: dict[str, Any], world: World, contents: Contents) -> None:
    """Make a world what the saved one was; its platforms begin again, in the time of the sample."""
    emulator = world.emulator
    emulator.kill()
    _write_rows(emulator.state / "state.sqlite", saved["tables"], REAL_TIME() - saved["at"])
    bodies = emulator.state / "bodies"
    shutil.rmtree(bodies)
    bodies.mkdir()
    for name, content in saved["bodies"].items():
        (bodies / name).write_bytes(contents.give(content))
    work = world.root / "work"
    for one in work.iterdir():
        shutil.rmtree(one)
    for name in saved["folders"]:
        (work / name).mkdir(parents=True, exist_ok=True)
    for name, (content, modified) in saved["files"].items():
        (work / name).write_bytes(contents.give(content))
        os.utime(work / name, ns=(modified, modified))
    emulator.restart()


@contextmanager
def time_of(saved: dict[str, Any]) -> Iterator[None]:
    """Live in the time of a sample: its deadlines and its ages are those that it was taken with."""
    back = REAL_TIME() - saved["at"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: REAL_TIME() - back)
        yield


def _rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of the emulator's tables; what never changes is the same in every world."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in names}
    return {name: rows for name, rows in found.items() if rows}


def _write_rows(path: Path, tables: dict[str, list[dict[str, Any]]], back: float) -> None:
    """Write rows by the names of their columns: a table that has got more of them fills in its defaults."""
    with closing(sqlite3.connect(path)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f"DELETE FROM {name}")
        for name, rows in tables.items():
            for row in rows:
                places = ", ".join("?" * len(row))
                database.execute(
                    f"INSERT INTO {name} ({', '.join(row)}) VALUES ({places})", tuple(row.values())
                )
        kept = database.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
        clock = json.loads(kept[0]) if kept else {"offset": 0.0, "frozen": None}
        clock["offset"] -= back
        database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('clock', ?)", (json.dumps(clock),))
        database.commit()
