"""The same import twice on one real Airflow and one emulator: with split, curl, HttpOperator and HttpSensor, and with this package.

Three stories for each: a clean file, a file of which one line in a hundred is bad, and a task that is killed with SIGKILL while it
sends. Printed are requests, worker-seconds, CPU of the triggerer, wall time, the most memory of the tasks' processes, database rows, and what
each run says of the bad lines and of the kill.

``python benchmarks/peer.py --size 200000000 --wait 60``
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import sqlalchemy

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("demo", "tests/dags", "benchmarks")]

from process_memory import proportional
from triggerer import triggerer

PARTS = 10
SIDES = {"peer": "split, curl, HttpOperator, HttpSensor", "ours": "ImportDocumentsOperator"}
COUNTS = ("lines_read", "lines_accepted", "lines_rejected", "lines_failed")
#: The text of the last exception in a task's log.
ERROR = re.compile(r"'exc_value': ['\"](.*?)['\"], 'exc_notes'")
RUNNING = "SELECT map_index, pid FROM task_instance WHERE dag_id = :dag_id AND run_id = :run_id AND state = 'running'"


class Cost(NamedTuple):
    """What a run has cost, and how it ended."""

    state: str
    seconds: float
    worker_seconds: float
    triggerer_cpu: float
    memory: int
    uploads: int
    calls: int
    rows: int


class Tasks(threading.Thread):
    """Looks at the running tasks of a run in Airflow's database: how many seconds they hold a slot, and their memory."""

    def __init__(self, engine: sqlalchemy.Engine, dag_id: str, run_id: str) -> None:
        super().__init__(daemon=True)
        self._engine, self._of = engine, {"dag_id": dag_id, "run_id": run_id}
        self.worker_seconds, self.memory = 0.0, 0
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        looked = time.monotonic()
        while not self._over.wait(0.1):
            with self._engine.connect() as database:
                running = [row[1] for row in database.execute(sqlalchemy.text(RUNNING), self._of)]
            now = time.monotonic()
            self.worker_seconds += len(running) * (now - looked)
            looked = now
            self.memory = max(self.memory, sum(proportional(pid) for one in running for pid in family(one)))

    def stop(self) -> None:
        self._over.set()
        self.join()


def family(pid: int | None) -> list[int]:
    """A process and all below it."""
    with contextlib.suppress(psutil.Error, TypeError):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


class Stage:
    """One Airflow, one emulator, two DAGs."""

    def __init__(self, stack: Any, emulator: Any, folder: Path) -> None:
        self.stack, self.emulator, self.folder = stack, emulator, folder
        self.engine = sqlalchemy.create_engine(stack.database)

    def run(self, dag_id: str, source: Path, *, kill: bool = False) -> tuple[Cost, str]:
        """One import; kill its sending task once half of the parts have arrived."""
        api, emulator = self.stack.api, self.emulator
        emulator.clear_requests()
        rows, cpu, begun = self._rows(), self._triggerer_cpu(), time.monotonic()
        conf = {
            "source": str(source),
            "part_bytes": str(source.stat().st_size // PARTS),
            "imports": f"/v1/datamarts/{emulator.datamart_id}/document_imports",
            "url": emulator.url,
        }
        run_id = api.trigger(dag_id, conf=conf)
        tasks = Tasks(self.engine, dag_id, run_id)
        if kill:
            api.wait_for("half of the parts", lambda: self._sent() >= PARTS // 2 or None, 600, pause=0.05)
            for pid in reversed(family(api.task(dag_id, run_id, "send")["pid"])):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        state = api.wait_for_run(dag_id, run_id, timeout=3600)
        seconds = time.monotonic() - begun
        tasks.stop()
        cost = Cost(
            state=state,
            seconds=seconds,
            worker_seconds=tasks.worker_seconds,
            triggerer_cpu=self._triggerer_cpu() - cpu,
            memory=tasks.memory,
            uploads=self._sent(),
            calls=len(emulator.requests()) - self._sent(),
            rows=self._rows() - rows,
        )
        return cost, run_id

    def held(self) -> Counter[str]:
        """What the platform holds of the newest import's run; then everything is forgotten."""
        held: Counter[str] = self.emulator.held()
        self.emulator.reset()
        return held

    def said(self, dag_id: str, run_id: str) -> str:
        """What a person finds: the last error of the run, else the result."""
        tasks = self.stack.api.tasks(dag_id, run_id)
        for task in tasks:
            if task["state"] == "failed":
                text = self.stack.api.log(
                    dag_id, run_id, task["task_id"], try_number=max(1, task["try_number"])
                )
                errors = ERROR.findall(text)
                return str(errors[-1]) if errors else f"the log ends with {text[-300:]!r}"
        if dag_id == "ours":
            result = self.stack.api.xcom(dag_id, run_id, "send")
            return ", ".join(f"{name} {result[name]:,}" for name in COUNTS)
        return "nothing: the log has no word of lines"

    def _sent(self) -> int:
        return sum(
            one["method"] == "POST" and one["path"].endswith("/executions") and one["status"] == 200
            for one in self.emulator.requests()
        )

    def _rows(self) -> int:
        with self.engine.connect() as database:
            names = sqlalchemy.inspect(database).get_table_names()
            return sum(
                database.execute(sqlalchemy.text(f'SELECT count(*) FROM "{name}"')).scalar_one()
                for name in names
            )

    def _triggerer_cpu(self) -> float:
        return triggerer(self.stack)[0]


def make_source(path: Path, size: int, *, bad: int = 0) -> Counter[str]:
    """Write profiles of about 350 bytes, each another one; every line whose number ``bad`` divides breaks a rule. Returns the good ones."""
    good: Counter[str] = Counter()
    with path.open("w") as file:
        written = number = 0
        while written < size:
            number += 1
            line = {
                "operation": "UPSERT",
                "compartment_id": "4100",
                "user_account_id": f"crm-{number}",
                "user_profile": {"first_name": "Given", "note": "x" * 240, "score": number},
            }
            is_bad = bad and number % bad == 0
            if is_bad:
                del line["compartment_id"], line["user_account_id"]
            text = json.dumps(line, separators=(",", ":"))
            written += file.write(text + "\n")
            if not is_bad:
                good[text] += 1
    return good


@contextlib.contextmanager
def stage(folder: Path, wait: float) -> Iterator[Stage]:
    """Start everything."""
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack
    from postgres_server import LOCAL, airflow_database

    with contextlib.ExitStack() as entered:
        database = entered.enter_context(airflow_database(os.environ.get("POSTGRES_URL", LOCAL)))
        emulator = entered.enter_context(
            Emulator.start(folder / "emulator", start_delay=1.0, run_seconds=wait)
        )
        given = json.loads(emulator.connection_json())
        peer = {"conn_type": "http", "host": emulator.url, "extra": {"Authorization": given["password"]}}
        environment = {
            "AIRFLOW_CONN_MEDIARITHMICS_DEFAULT": json.dumps(given),
            "AIRFLOW_CONN_PEER": json.dumps(peer),
        }
        stack = entered.enter_context(
            AirflowStack(
                folder / "airflow",
                {"peer": ROOT / "benchmarks" / "peer_dags"},
                environment,
                database=database,
            )
        )
        for dag_id in SIDES:
            stack.api.wait_for_dag(dag_id)
            stack.api.unpause(dag_id)
        yield Stage(stack, emulator, folder)


def told(title: str, costs: dict[str, Cost]) -> None:
    """Print a table: one column a side."""
    rows = {
        "the run's state": "state",
        "wall time, s": "seconds",
        "worker-seconds": "worker_seconds",
        "CPU of the triggerer, s": "triggerer_cpu",
        "most memory of the tasks' processes, MB": "memory",
        "uploads": "uploads",
        "other requests": "calls",
        "rows more in Airflow's database": "rows",
    }
    print(f"\n{title}\n\n| | {' | '.join(SIDES.values())} |\n| --- | --- | --- |")
    for label, name in rows.items():
        values = [getattr(costs[side], name) for side in SIDES]
        shown = [
            f"{value / 1e6:.0f}"
            if name == "memory"
            else f"{value:.1f}"
            if isinstance(value, float)
            else value
            for value in values
        ]
        print(f"| {label} | {shown[0]} | {shown[1]} |")


def story(one: Stage, title: str, source: Path, good: Counter[str], *, kill: bool = False) -> None:
    """Play one story on both sides, and print it."""
    costs, ends = {}, {}
    for side in SIDES:
        costs[side], run_id = one.run(side, source, kill=kill)
        said, held = one.said(side, run_id), one.held()
        lost, doubled = (good - held).total(), (held - good).total()
        ends[side] = f"good lines that are missing {lost:,}, lines too many {doubled:,}; it says: {said}"
    told(title, costs)
    for side, end in ends.items():
        print(f"\n* {SIDES[side]}: {end}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200_000_000, help="bytes of the source")
    parser.add_argument(
        "--wait", type=float, default=60.0, help="seconds that the platform works on each part"
    )
    options = parser.parse_args()
    for program in ("split", "curl", "bash"):
        if shutil.which(program) is None:
            sys.exit(f"The peer DAG needs {program}, and it is not installed.")
    with tempfile.TemporaryDirectory(prefix="peer-") as name, stage(Path(name), options.wait) as one:
        print(
            f"Airflow {version('apache-airflow-core')}, {options.size / 1e6:,.0f} MB in {PARTS} parts, each takes the platform "
            f"{options.wait:.0f} s"
        )
        folder = Path(name)
        make_source(folder / "first.ndjson", 100_000)
        for side, title in SIDES.items():
            cost, _ = one.run(side, folder / "first.ndjson")
            print(f"The first run, of 100 kB, costs the triggerer {cost.triggerer_cpu:.1f} s of CPU: {title}")
        one.held()
        good = make_source(folder / "clean.ndjson", options.size)
        story(one, "A clean file", folder / "clean.ndjson", good)
        story(one, "Killed while it sends", folder / "clean.ndjson", good, kill=True)
        good = make_source(folder / "bad.ndjson", options.size, bad=100)
        story(one, "One line in a hundred is bad", folder / "bad.ndjson", good)


if __name__ == "__main__":
    main()
