"""A real triggerer with many deferred tasks: is its event loop ever held up, and how soon does it hear of an end?

    python benchmarks/triggerer.py [--tasks 500]

An Airflow with one triggerer on PostgreSQL runs that many sensors, each of which waits for one execution of an import; ten wait for
the same import. Once all are deferred, the platform answers one call with 429 and ``Retry-After``, and later all executions end.
Printed are Airflow's warnings that the async thread was blocked, the calls that left within the ``Retry-After``, the seconds from the
end of the executions to the events (median, 99 of 100), and CPU and memory of the triggerer. While tasks begin, each of them a
process, an event loop gets its turn late, whatever it does: as many of Airflow's own DateTimeSensorAsync show how often.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("demo", "tests/dags", "benchmarks")]

from wait import INTERVAL, ROUNDS, STEP, prepare

BLOCKED = "warnings that the async thread was blocked"
EACH_IMPORT = 10
RETRY_AFTER = 40
#: Seconds in which the answer that asks for silence reaches the triggerer.
ON_THE_WAY = 0.5
DAG_ID, CONTROL, SENSOR = "sensors", "control", "wait"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triggerer-") as name:
        folder = Path(name)
        executions = prepare(folder / "emulator", -(-options.tasks // EACH_IMPORT), EACH_IMPORT)
        with stage(folder) as (stack, emulator):
            waiting = Waiting(stack, emulator, folder, executions[: options.tasks])
            print(f"Airflow {version('apache-airflow-core')}, {os.cpu_count()} cores\n\n| | |\n| --- | --- |")
            report(waiting.measure())
            report(waiting.control())


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Start an Airflow, and the emulator over its prepared state."""
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack
    from postgres_server import LOCAL, airflow_database

    with contextlib.ExitStack() as entered:
        database = entered.enter_context(airflow_database(os.environ.get("POSTGRES_URL", LOCAL)))
        emulator = entered.enter_context(Emulator.start(folder / "emulator"))
        environment = {"AIRFLOW_CONN_MEDIARITHMICS_DEFAULT": emulator.connection_json()}
        dags = {"waiting": ROOT / "benchmarks" / "waiting_dags"}
        stack = entered.enter_context(AirflowStack(folder / "airflow", dags, environment, database=database))
        for dag_id in (DAG_ID, CONTROL):
            stack.api.wait_for_dag(dag_id)
            stack.api.unpause(dag_id)
        yield stack, emulator


class Waiting:
    """The sensors from their first poll to their events.

    :param executions: (import, execution) of each.
    """

    def __init__(self, stack: Any, emulator: Any, folder: Path, executions: list[tuple[str, str]]) -> None:
        self.stack, self.emulator, self.folder, self.executions = stack, emulator, folder, executions
        #: Seconds until all were deferred.
        self.deferred = 0.0

    def measure(self) -> dict[str, Any]:
        """Play the story; return what it has shown."""
        began = time.monotonic()
        path = self.folder / "executions.json"
        arguments = [{"import_id": one, "execution_ids": [execution]} for one, execution in self.executions]
        path.write_text(json.dumps(arguments), encoding="utf-8")
        self._defer(DAG_ID, {"executions": str(path)})
        self.deferred, begun = time.monotonic() - began, self._blocked()
        cpu, waiting = triggerer(self.stack)[0], time.monotonic()
        time.sleep(4 * INTERVAL)
        within = self._silence()
        time.sleep(2 * INTERVAL)
        ended = time.time()
        self.emulator.clock.advance(STEP * (ROUNDS + 1))
        memory = triggerer(self.stack)[1]
        # Reading the logs of all tasks takes a core that the triggerer needs now.
        time.sleep(3 * INTERVAL)
        used = triggerer(self.stack)[0]
        seconds, ended_too = time.monotonic() - waiting, self._blocked()
        late = sorted(at - ended for at in self._events())
        if len(late) != len(self.executions):
            raise SystemExit(f"{len(late)} events instead of {len(self.executions)}")
        return {
            "deferred tasks": len(self.executions),
            "s until all were deferred": self.deferred,
            "interval, s": INTERVAL,
            f"calls that left within a Retry-After of {RETRY_AFTER} s": within,
            "s from the end to the event, median": statistics.median(late),
            "s from the end to the event, 99 of 100": late[int(0.99 * (len(late) - 1))],
            "CPU of the triggerer a minute of waiting, s": (used - cpu) * 60 / seconds,
            "memory of the triggerer, MB": memory / 1e6,
            f"{BLOCKED}, while they began": told(begun),
            f"{BLOCKED}, while they waited and all ended at once": told(ended_too[len(begun) :]),
        }

    def control(self) -> dict[str, str]:
        """How often the async thread is blocked while as many of Airflow's own sensors begin to wait, and end at the same time."""
        # What the others' tasks have to do yet would take a core from these.
        self.stack.api.wait_for("all others to end", self._none_left, timeout=3600, pause=5)
        before = self._blocked()
        seconds = self.deferred * 1.3 + 60
        until = time.time() + seconds
        at = datetime.fromtimestamp(until, UTC).isoformat()
        self._defer(CONTROL, {"count": str(len(self.executions)), "time": at})
        begun = self._blocked()
        if time.time() > until - INTERVAL:
            raise SystemExit("Airflow's own sensors were not all deferred before their time had come")
        time.sleep(until + INTERVAL - time.time())
        ended = self._blocked()
        return {
            f"{BLOCKED}, while as many of Airflow's own began": told(begun[len(before) :]),
            f"{BLOCKED}, while Airflow's own waited and all ended at once": told(ended[len(begun) :]),
        }

    def _defer(self, dag_id: str, conf: dict[str, str]) -> None:
        """Start the sensors; wait until a triggerer has all of them, and 20 s more."""
        api = self.stack.api
        run_id: str = api.trigger(dag_id, conf=conf)

        def all_deferred() -> bool | None:
            tasks = [one for one in api.tasks(dag_id, run_id) if one["task_id"] == SENSOR]
            waiting = [one for one in tasks if one["state"] == "deferred" and one["triggerer_job"]]
            return len(waiting) == len(self.executions) or None

        api.wait_for("all to be deferred", all_deferred, timeout=3600, pause=5)
        time.sleep(2 * INTERVAL)

    def _none_left(self) -> bool | None:
        runs = self.stack.api.call("GET", f"/dags/{DAG_ID}/dagRuns")["dag_runs"]
        return all(one["state"] == "success" for one in runs) or None

    def _silence(self) -> int:
        """Answer one poll with 429; return how many calls arrived before the time was over."""
        self.emulator.clear_requests()
        self.emulator.fault("rate_limited", retry_after=RETRY_AFTER, times=1)
        time.sleep(RETRY_AFTER + 2 * INTERVAL)
        calls = self.emulator.requests()
        asked = next(one for one in calls if one["status"] == 429)
        from_, until = asked["at"] + 1000 * ON_THE_WAY, asked["at"] + 1000 * RETRY_AFTER
        if not any(one["at"] >= until for one in calls):
            raise SystemExit("no call left after the Retry-After")
        return sum(from_ <= one["at"] < until for one in calls)

    def _events(self) -> list[float]:
        """When each trigger fired, in seconds since 1970: Airflow tells it in the task's log, and sometimes in the triggerer's own."""
        paths = [one for one in self.stack.home.glob(f"logs/dag_id={DAG_ID}/**/*") if one.is_file()]
        fired = []
        for path in (*paths, self.stack.logs / "triggerer.log"):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if "Trigger fired event" in line and SENSOR in line:
                    at = re.search(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line)
                    assert at, "a line of a log has no time"
                    fired.append(datetime.fromisoformat(at[0]).timestamp())
        return fired

    def _blocked(self) -> list[float]:
        """The seconds that each warning tells."""
        log = (self.stack.logs / "triggerer.log").read_text(encoding="utf-8", errors="replace")
        return [float(one) for one in re.findall(r"async thread was blocked for ([\d.]+) s", log)]


def told(seconds: list[float]) -> str:
    """How many warnings, and the longest time that one of them tells."""
    return f"{len(seconds)}, the longest of {max(seconds):.2f} s" if seconds else "none"


def triggerer(stack: Any) -> tuple[float, int]:
    """CPU seconds of the triggerer and its children so far, and the memory of the largest of these processes."""
    cpu, memory = 0.0, 0
    processes = list(stack.own_processes())
    sessions = {os.getsid(one.pid) for one in processes if "triggerer" in one.cmdline()[:5]}
    for one in processes:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(one.pid) in sessions:
                cpu += sum(one.cpu_times()[:2])
                memory = max(memory, one.memory_info().rss)
    return cpu, memory


def report(found: dict[str, Any]) -> None:
    for name, value in found.items():
        shown = f"{value:.2f}" if isinstance(value, float) else value
        print(f"| {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
