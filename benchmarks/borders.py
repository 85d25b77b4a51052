"""An import at its borders on a real Airflow: thousands of parts, tens of gigabytes, a kill at 95 percent.

The source is one file of 1 GB under many names (hard links), so it takes 1 GB of disk and is read as if it were all there. The
emulator takes and judges every byte; bodies that it has judged are emptied, so that the disk holds. Three runs:

* small: the same parts, one twentieth of them;
* whole: all parts;
* killed: all parts; SIGKILL of the task's process once 95 percent are sent, and the retry.

Printed are rows and bytes of the task's state, writes a part, seconds a write at the beginning and at the end, the most memory of
the task's processes, and what the retry has read and sent, as shares of the source.

``python benchmarks/borders.py --size 50000000000 --parts 2000``; ``--size 500000000`` is over in two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil
import sqlalchemy

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("demo", "tests/dags", "benchmarks")]

from process_memory import children, proportional

LINE_BYTES = 20_000
FILE_BYTES = 1_000_000_000
KILL_AT = 0.95


class Outcome(NamedTuple):
    """What a run has told."""

    result: dict
    seconds: float
    notes: list
    memory: int
    read: dict[int, int]
    state: tuple[int, int, int]


class Processes(threading.Thread):
    """Samples a task's processes: the most memory of all at once, and what each has read from files and sockets."""

    def __init__(self, tries) -> None:
        super().__init__(daemon=True)
        self._tries, self.memory, self.read = tries, 0, {}
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        found: dict[int, dict[int, int]] = {}
        while not self._over.wait(0.2):
            number, pid = self._tries()
            if not pid:
                continue
            pids = [pid, *children(pid)]
            self.memory = max(self.memory, sum(map(proportional, pids)))
            reads = found.setdefault(number, {})
            for one in pids:
                with contextlib.suppress(OSError):
                    text = Path(f"/proc/{one}/io").read_text()
                    reads[one] = int(text.partition("rchar: ")[2].split()[0])
            self.read = {number: sum(reads.values()) for number, reads in found.items()}

    def stop(self) -> None:
        self._over.set()
        self.join()


def make_file(path: Path, size: int) -> None:
    """Profiles with a long note: the number of bytes is what matters here, not that of lines."""
    with path.open("w") as file:
        written = number = 0
        while written < size:
            number += 1
            line = {
                "operation": "UPSERT",
                "compartment_id": "4100",
                "user_account_id": f"crm-{number}",
                "user_profile": {"note": "x" * LINE_BYTES},
            }
            written += file.write(json.dumps(line, separators=(",", ":")) + "\n")


def empty_judged(bodies: Path, over: threading.Event) -> None:
    """Empty the bodies that the emulator has judged: it needs only what it has found."""
    while not over.wait(0.5):
        for errors in bodies.glob("*.errors.csv"):
            body = errors.with_name(errors.name.replace(".errors.csv", ".body"))
            with contextlib.suppress(OSError):
                if body.stat().st_size:
                    os.truncate(body, 0)


class Borders:
    """The runs of one Airflow."""

    def __init__(self, stack, emulator, folder: Path, part_bytes: int) -> None:
        self.stack, self.emulator, self.folder, self.part_bytes = stack, emulator, folder, part_bytes

    def run(self, name: str, size: int, kill_at: int = 0) -> Outcome:
        """Import so many bytes; kill the task once so many parts are sent."""
        notes, begun = self.folder / f"{name}.notes", time.monotonic()
        conf = {"source": self.source(name, size), "notes": str(notes), "part_bytes": str(self.part_bytes)}
        api, run_id = self.stack.api, self.stack.api.trigger("border_import", name, conf)
        processes = Processes(lambda: self._task(run_id))
        if kill_at:
            api.wait_for("95 %", lambda: self._sent(notes) >= kill_at or None, 10_000, pause=0.2)
            os.kill(api.task("border_import", run_id, "load")["pid"], signal.SIGKILL)
        state = api.wait_for_run("border_import", run_id, timeout=10_000)
        seconds = time.monotonic() - begun
        processes.stop()
        if state != "success":
            raise SystemExit(api.log("border_import", run_id, "load", try_number=1 + bool(kill_at)))
        noted = [json.loads(line) for line in notes.read_text().splitlines()]
        result = api.xcom("border_import", run_id, "load")
        return Outcome(result, seconds, noted, processes.memory, processes.read, self._state(run_id))

    def source(self, name: str, size: int) -> str:
        """A pattern of as many names of the one file as give this size; the last one is a shorter file."""
        folder = self.folder / name
        folder.mkdir()
        whole, rest = divmod(size, FILE_BYTES)
        for number in range(whole):
            (folder / f"{number:04}.ndjson").hardlink_to(self.folder / "file")
        if rest:
            make_file(folder / f"{whole:04}.ndjson", rest)
        return f"{folder}/*.ndjson"

    def _task(self, run_id: str) -> tuple[int, int]:
        with contextlib.suppress(Exception):
            task = self.stack.api.task("border_import", run_id, "load")
            if task["state"] == "running" and task["pid"] and psutil.pid_exists(task["pid"]):
                return task["try_number"], task["pid"]
        return 0, 0

    @staticmethod
    def _sent(notes: Path) -> int:
        pages = {}
        if notes.exists():
            for line in notes.read_text().splitlines():
                home, key, _, _, _, sent = json.loads(line)
                if home == "task":
                    pages[key] = sent
        return sum(pages.values())

    def _state(self, run_id: str) -> tuple[int, int, int]:
        """Rows of the task's state, the bytes of all, and of the longest."""
        engine = sqlalchemy.create_engine(self.stack.database)
        text = sqlalchemy.text("SELECT value FROM task_state_store WHERE run_id = :run_id")
        with engine.connect() as database:
            sizes = [len(str(row[0])) for row in database.execute(text, {"run_id": run_id})]
        engine.dispose()
        return len(sizes), sum(sizes), max(sizes)


def told(name: str, one: Outcome) -> None:
    """Print what a run has cost."""
    parts, (rows, held, longest) = one.result["parts"], one.state
    print(f"{name}: {parts:,} parts, {one.result['lines_accepted']:,} lines, {one.seconds:,.0f} s")
    print(f"  task state: {rows} rows, {held:,} bytes, the longest {longest:,}")
    for home in ("task", "copy"):
        pages = [note for note in one.notes if note[0] == home and ".parts." in note[1]]
        if pages:
            tenth = max(1, len(pages) // 10)
            first, last = ([1000 * note[3] for note in some] for some in (pages[:tenth], pages[-tenth:]))
            print(
                f"  {home} writes: {len(pages) / parts:.2f} a part, {sum(n[2] for n in pages) / parts:,.0f} bytes a part, "
                f"median {statistics.median(first):.1f} ms in the first tenth, {statistics.median(last):.1f} ms in the last"
            )
    print(f"  memory of the task's processes: {one.memory / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=50_000_000_000, help="bytes of the source")
    parser.add_argument("--parts", type=int, default=2_000)
    parser.add_argument("--folder", help="where source and bodies live (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="borders-") as folder:
        measure(Path(folder), options.size, options.size // options.parts)


def measure(folder: Path, size: int, part_bytes: int) -> None:
    """All three runs."""
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack
    from postgres_server import LOCAL, NoPostgres, airflow_database

    over = threading.Event()
    with contextlib.ExitStack() as entered:
        database = None
        with contextlib.suppress(NoPostgres):
            database = entered.enter_context(airflow_database(os.environ.get("POSTGRES_URL", LOCAL)))
        emulator = entered.enter_context(
            Emulator.start(folder / "emulator", start_delay=0.0, run_seconds=0.0)
        )
        stack = AirflowStack(
            folder / "airflow",
            {"borders": ROOT / "benchmarks" / "border_dags"},
            {"AIRFLOW_CONN_BORDERS": emulator.connection_json()},
            database=database,
        )
        entered.enter_context(stack)
        threading.Thread(
            target=empty_judged, args=(folder / "emulator" / "bodies", over), daemon=True
        ).start()
        entered.callback(over.set)
        stack.api.wait_for_dag("border_import")
        stack.api.unpause("border_import")
        make_file(folder / "file", min(FILE_BYTES, size))
        print(
            f"Airflow {version('apache-airflow-core')}, {'PostgreSQL' if database else 'SQLite'}", flush=True
        )
        borders = Borders(stack, emulator, folder, part_bytes)
        small, whole = borders.run("small", size // 20), borders.run("whole", size)
        told("small", small)
        told("whole", whole)
        print(f"  that is {whole.memory / small.memory:.2f} times the memory of the small run", flush=True)
        killed = borders.run("killed", size, kill_at=int(KILL_AT * whole.result["parts"]))
        told("killed at 95 %", killed)
        sent = sum(one["body_bytes"] for one in emulator.requests() if one["path"].endswith("/executions"))
        print(
            f"  read by try 1: {killed.read[1] / size:.3f} times the source, by try 2: {killed.read[2] / size:.3f} times"
        )
        print(f"  sent in all three runs: {sent / (2.05 * size):.3f} times their sources")


if __name__ == "__main__":
    main()
