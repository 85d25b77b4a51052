"""What waiting costs a triggerer: 1, 1,000 and 10,000 triggers in one event loop, for 100 imports of 100 executions.

    python benchmarks/wait.py [--runs 3] [--waiters 1 1000 10000]

Each case is a process of its own, against an emulator of its own. Each trigger waits for one execution by name, at an interval
of 10 s. In four rounds a quarter of the executions of every import begins, 10 s apart; 5 s after the last round all end. The
process logs and writes XCom as a triggerer does: JSON lines and messages over a pipe, which the parent reads and counts.

Printed are medians: the worst lag of the event loop (how much later than asked for a sleep of 20 ms ended) and
how much of it the process itself has worked (the rest is other processes' work), processor seconds until all triggers wait, and
from then to the last event, without those of the meter of the lag, which are told beside them, the largest resident set over that of one waiter, connections opened, list calls in
10 s, log lines, and the seconds from the end of the executions to the events.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from waiting_triggers import wait_for_case

from airflow_bulk.emulator.handle import Emulator

IMPORTS = 100
EXECUTIONS = 100
ROUNDS = 4
INTERVAL = 10.0
#: Seconds of the emulator's clock between two rounds, and before all end: no clock of a test comes near by itself.
STEP = 100_000.0
LINE = '{"operation":"UPSERT","compartment_id":"4100","user_account_id":"crm-1","user_profile":{"score":1}}\n'
GOALS = {1_000: (0.2, 1.0, 60, 8), 10_000: (0.5, 4.0, 60, 8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--waiters", type=int, nargs="+", default=[1, 1_000, 10_000])
    parser.add_argument("--case", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        wait_for_case()
        return
    with tempfile.TemporaryDirectory(prefix="bench-wait-") as folder:
        prepared = Path(folder) / "prepared"
        executions = prepare(prepared)
        print(
            f"{IMPORTS} imports of {EXECUTIONS} executions, interval {INTERVAL:.0f} s, {os.cpu_count()} cores"
        )
        found: dict[int, list[dict[str, Any]]] = {}
        for number in range(options.runs):
            for waiters in options.waiters:
                state = Path(folder) / "state"
                shutil.copytree(prepared, state)
                found.setdefault(waiters, []).append(run(state, executions, waiters))
                shutil.rmtree(state)
                print(f"run {number + 1}, {waiters} waiters: {found[waiters][-1]}", file=sys.stderr)
    report(found)


def prepare(state: Path, count: int = IMPORTS, each: int = EXECUTIONS) -> list[tuple[str, str]]:
    """Fill an emulator with imports of so many executions each; return (import, execution), import after import in turn."""
    far = STEP * (ROUNDS + 1)
    with Emulator.start(state, start_delay=far, run_seconds=far) as emulator, ThreadPoolExecutor(8) as pool:
        imports = list(pool.map(lambda _: make_import(emulator), range(count)))
        found: list[tuple[str, str]] = []
        for turn in range(each):
            starts = STEP * (turn % ROUNDS + 1)
            emulator.settings(start_delay=starts, run_seconds=far - starts)
            found += zip(imports, pool.map(lambda one: upload(emulator, one), imports), strict=True)
        return found


def make_import(emulator: Emulator) -> str:
    body = {
        "document_type": "USER_PROFILE",
        "mime_type": "APPLICATION_X_NDJSON",
        "encoding": "utf-8",
        "name": "w",
    }
    return post(emulator, "", json.dumps(body), "application/json")


def upload(emulator: Emulator, import_id: str) -> str:
    return post(emulator, f"/{import_id}/executions", LINE, "application/x-ndjson")


def post(emulator: Emulator, path: str, body: str, content_type: str) -> str:
    url = f"{emulator.url}/v1/datamarts/{emulator.datamart_id}/document_imports{path}"
    request = urllib.request.Request(url, body.encode(), method="POST")
    request.add_header("Authorization", emulator.token)
    request.add_header("Content-Type", content_type)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return str(json.loads(answer.read())["data"]["id"])


class Log(threading.Thread):
    """Counts the lines of a log, and keeps the last ones.

    :param stream: read to its end.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._last: deque[bytes] = deque(maxlen=20)
        self.lines = 0
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self.lines += 1
            self._last.append(line)

    @property
    def end(self) -> str:
        return b"".join(self._last).decode(errors="replace")


def run(state: Path, executions: list[tuple[str, str]], waiters: int) -> dict[str, Any]:
    """One case in a process of its own, and the platform's side of it."""
    with Emulator.start(state) as emulator:
        emulator.clear_requests()
        case = {
            "datamart_id": emulator.datamart_id,
            "executions": executions[:waiters],
            "interval": INTERVAL,
        }
        environment = os.environ | {
            "AIRFLOW_CONN_WAIT": emulator.connection_json(),
            "AIRFLOW_HOME": str(state),
        }
        process = subprocess.Popen(
            [sys.executable, __file__, "--case"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(json.dumps(case).encode() + b"\n")
        process.stdin.flush()
        log = Log(process.stderr)
        process.stdout.readline()  # all triggers are there
        began = time.monotonic()
        for turn in range(ROUNDS):
            sleep_until(began + INTERVAL * turn + INTERVAL / 2)
            emulator.clock.advance(STEP)
        sleep_until(began + INTERVAL * ROUNDS)
        ended = time.time()
        emulator.clock.advance(STEP)
        process.stdin.write(f"{ended}\n".encode())
        process.stdin.flush()
        answer, _ = process.stdout.readline(), process.wait()
        log.join()
        if process.returncode:
            raise SystemExit(f"the case failed ({process.returncode}):\n{log.end}")
        result: dict[str, Any] = json.loads(answer)
        calls = [one for one in emulator.requests() if one["path"].endswith("/executions")]
    seconds = result.pop("seconds")
    return {**result, "calls": len(calls) * 10 / seconds, "log lines": log.lines}


def sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))


def report(found: dict[int, list[dict[str, Any]]]) -> None:
    medians = {
        waiters: {name: statistics.median(one[name] for one in runs) for name in runs[0]}
        for waiters, runs in found.items()
    }
    base = medians.get(1, {}).get("MB")
    print(f"{'waiters':>8}", *(f"{name:>16}" for name in next(iter(medians.values()))), f"{'MB over 1':>10}")
    for waiters, row in medians.items():
        over = "" if base is None else f"{row['MB'] - base:.0f}"
        print(f"{waiters:8,}", *(f"{value:16,.2f}" for value in row.values()), f"{over:>10}")
        if waiters in GOALS:
            lag, processor, memory, connections = GOALS[waiters]
            print(
                f"    goals: lag < {lag} s, processor <= {processor:.0f} s, connections <= {connections}"
                + (f", MB over 1 <= {memory}" if waiters == 10_000 else "")
            )


if __name__ == "__main__":
    main()
