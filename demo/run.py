"""``make demo``: a real Airflow imports real purchases into the platform's emulator, and counts what arrived.

Starts both on free ports of the loopback address, everything in ``.demo/`` of the checkout; unpauses and
triggers the DAG ``store_purchases`` as its form would; ends with a table. Exit code 0 means: the emulator holds
exactly the purchases' lines, each once. Whatever happens, what was started is stopped. ``--stay`` is ``make up``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

import accounting
from airflow_api import RUN_ENDS, AirflowApiError
from airflow_bulk.emulator.handle import Emulator, EmulatorError
from airflow_stack import AirflowStack, StackError
from progress import Progress, totals_table

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".demo"
DAG_ID = "store_purchases"
#: The examples that run on the emulator alone. The others need a PostgreSQL or an object store as well.
EXAMPLES = ("accounting_refresh.py", "batch_around_import.py", "spread_import.py", "store_purchases.py")
#: What `make up` opens with, for the page Bulk.
PAGE_DAG_ID, RUNNING_DAG_ID = "customer_imports", "customer_import_running"
PAGE_ROUNDS = 3
#: What the examples read, beside them.
EXAMPLE_FOLDERS = ("batches", "data")
PURCHASES = 69_659
LEAST_PARTS = 4
TIMEOUT = 600.0

console = Console(highlight=False)


class DemoError(RuntimeError):
    """The demo did not end as it promises; the message says where."""


@contextlib.contextmanager
def own_folder(home: Path = HOME) -> Iterator[Path]:
    """An empty folder in the checkout that no other demo uses at the same time."""
    home.mkdir(mode=0o700, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo of this checkout is running (it holds {lock.name})") from None
        folder = home / "airflow"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        yield folder


def connections(emulator: Emulator) -> dict[str, str]:
    """Values of ``AIRFLOW_CONN_...`` variables that lead to the emulator, by connection id (they hold the token)."""
    return {
        "mediarithmics_default": emulator.connection_json(),
        **accounting.connections(emulator),
    }


def examples(folder: Path) -> Path:
    """A folder of links to the examples that run here; edits of their files are seen."""
    shown = folder / "examples"
    shown.mkdir()
    for name in (*EXAMPLES, *EXAMPLE_FOLDERS):
        (shown / name).symlink_to(ROOT / "dags" / name)
    for file in (ROOT / "demo" / "page_dags").glob("*.py"):
        (shown / file.name).symlink_to(file)
    return shown


@contextlib.contextmanager
def running(folder: Path, port: int) -> Iterator[tuple[Emulator, AirflowStack]]:
    """Emulator and Airflow, healthy; both stopped at the end."""
    # A wait that can be seen: the task defers, and the executions pass through all their states.
    with Emulator.start(start_delay=1.0, run_seconds=2.0) as emulator:
        environment = {f"AIRFLOW_CONN_{name.upper()}": value for name, value in connections(emulator).items()}
        accounting.fill(emulator)
        stack = AirflowStack(folder, {"examples": examples(folder)}, environment, port=port)
        console.print("Starting Airflow: API server, scheduler, DAG processor, triggerer")
        with stack:
            console.print(f"Airflow is up after {stack.seconds_to_start:.0f} s: {stack.url}")
            console.print(f"The emulator stands in for the platform: {emulator.url}")
            yield emulator, stack


def follow(emulator: Emulator, stack: AirflowStack, run_id: str) -> str:
    """Show the run while it runs; return its end state."""
    deadline = time.monotonic() + TIMEOUT
    with Progress(console) as progress:
        while True:
            stack.check_alive()
            executions = [e for one in emulator.imports() for e in emulator.executions(one["id"])]
            tasks = {ti["task_id"]: ti["state"] for ti in stack.api.tasks(DAG_ID, run_id)}
            progress.show(tasks, executions)
            state = str(stack.api.run(DAG_ID, run_id)["state"])
            if state in RUN_ENDS:
                return state
            if time.monotonic() > deadline:
                raise DemoError(f"the run is not over after {TIMEOUT:.0f} s; tasks: {tasks}")
            time.sleep(0.4)


def failure(stack: AirflowStack, run_id: str) -> str:
    """Why a run failed: the ends of its failed tasks' logs."""
    parts = [f"the run {run_id} failed"]
    for ti in stack.api.tasks(DAG_ID, run_id):
        if ti["state"] == "failed":
            log = stack.api.log(DAG_ID, run_id, ti["task_id"], try_number=ti["try_number"])
            parts += [f"--- {ti['task_id']}, try {ti['try_number']}", *log.splitlines()[-25:]]
    return "\n".join(parts)


def faults(result: dict[str, Any], wanted: Counter[str], held: Counter[str]) -> list[str]:
    """What keeps a run from being as promised; empty when nothing does.

    :param result: what the import task returned.
    :param wanted: the lines that were written, each with how often.
    :param held: the lines that the platform holds, each with how often.
    """
    found = []
    if wanted.total() != PURCHASES:
        found.append(f"{wanted.total():,} lines were written, not {PURCHASES:,}")
    if held != wanted:
        missing, surplus = (wanted - held).total(), (held - wanted).total()
        found.append(
            f"{missing:,} lines are missing on the platform, {surplus:,} are there that should not be"
        )
    if result["lines_read"] != result["lines_rejected"] + result["lines_accepted"] + result["lines_failed"]:
        found.append("the sum does not close: read is not rejected + accepted + failed")
    if result["parts"] < LEAST_PARTS:
        found.append(f"{result['parts']} parts, fewer than {LEAST_PARTS}")
    return found


def judge(emulator: Emulator, stack: AirflowStack, run_id: str) -> None:
    """Print the table; raise if the platform does not hold each purchase's line exactly once."""
    result: dict[str, Any] = stack.api.xcom(DAG_ID, run_id, "totals")
    written = Path(stack.api.xcom(DAG_ID, run_id, "write_activities"))
    with written.open(encoding="utf-8") as lines:
        wanted = Counter(line.rstrip("\n") for line in lines)
    held = emulator.held()
    console.print(totals_table(result, len(held), sum(times > 1 for times in held.values())))
    if found := faults(result, wanted, held):
        raise DemoError("; ".join(found))
    console.print(f"[green]The platform holds exactly the {PURCHASES:,} lines, each once.[/green]")


def demo(port: int) -> None:
    """One run, watched and judged."""
    with own_folder() as folder, running(folder, port) as (emulator, stack):
        stack.api.wait_for_dag(DAG_ID)
        stack.api.unpause(DAG_ID)
        run_id = stack.api.trigger(DAG_ID)
        if follow(emulator, stack, run_id) != "success":
            raise DemoError(failure(stack, run_id))
        judge(emulator, stack, run_id)
    console.print('"make up" keeps Airflow up; its page Bulk (Browse, Bulk) shows imports like this one.')


def stay(port: int) -> None:
    """Both stay up until Ctrl-C."""
    with own_folder() as folder, running(folder, port or usual_port()) as (emulator, stack):
        stack.api.wait_for_dag(DAG_ID)
        stack.api.unpause(DAG_ID)
        fill_page(emulator, stack)
        console.print(f"See the imports of {PAGE_DAG_ID} on the page Bulk: {stack.url}/plugin/bulk")
        console.print(f"Trigger the DAG in its form: {stack.url}/dags/{DAG_ID}")
        console.print("Ctrl-C stops both.")
        while True:
            stack.check_alive()
            time.sleep(1)


def fill_page(emulator: Emulator, stack: AirflowStack) -> None:
    """Run a few imports: good ones, some with rejected lines, refused ones, and one of which an execution stays RUNNING."""
    console.print("Running a few imports for the page")
    for dag_id in (PAGE_DAG_ID, RUNNING_DAG_ID):
        stack.api.wait_for_dag(dag_id)
        stack.api.unpause(dag_id)
    deadline = time.monotonic() + TIMEOUT
    for number in range(1, PAGE_ROUNDS + 1):
        run_id = stack.api.trigger(PAGE_DAG_ID, conf={"round": number})
        while stack.api.run(PAGE_DAG_ID, run_id)["state"] not in RUN_ENDS:
            stack.check_alive()
            if time.monotonic() > deadline:
                raise DemoError(f"the imports for the page are not over after {TIMEOUT:.0f} s")
            time.sleep(0.4)
    emulator.fault("stuck_running", skip=2, times=1)
    stack.api.trigger(RUNNING_DAG_ID)


def usual_port() -> int:
    """Airflow's own port if it is free, else 0: any."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", 8080)) == 0 else 8080


def main() -> int:
    """Run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stay", action="store_true", help="keep Airflow and emulator up until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="of Airflow's pages; 0: a free one")
    options = parser.parse_args()
    # An end from outside is an end like any other: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        (stay if options.stay else demo)(options.port)
    except KeyboardInterrupt:
        return 0 if options.stay else 130
    except (DemoError, StackError, AirflowApiError, EmulatorError) as error:
        console.print("[bold red]The demo failed:[/bold red] ", soft_wrap=True, end="")
        console.print(error, markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
