"""How the cost of an import grows: gigabytes and senders against seconds, memory, requests, rows and bytes of the record.

Every run is a process of its own: ``ImportDocumentsOperator`` over a task's state in memory that counts, against a platform that
counts lines (:mod:`counting_platform`). The source is one file of 1 GB under many names (hard links), so 50 GB take 1 GB of disk
and are read as if they were all there. Lines have a mean of 353 bytes, as in ``benchmarks/upload.py``; parts have 100 MB.
The runs of a round are interleaved; short ones are repeated more often, and medians are printed.

A write of the record costs nothing here. On a real Airflow it takes 15 to 20 ms, three times a part (docs/proof.md, at the
borders, has that).

``python benchmarks/scale.py --sizes 1 10 50 --senders 1 2 4``. With ``--keep results.json`` each run is added to that file, so
that the whole can be measured in pieces; ``--report`` then only prints what the file holds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Behind this folder: it has a module of the same name.
sys.path.append(str(ROOT / "tests/operators"))

import airflow_home
from counting_platform import TOKEN, CountingPlatform
from process_memory import Watch
from upload import quiet
from upload_sources import write_source

GIGABYTE = 1_000_000_000
#: How often a size is run, unless it is said: a spread of some seconds is much of a short run, and nothing of a long one.
ROUNDS = {1: 5, 10: 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 50], help="GB of the source")
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 2, 4], help="worker processes")
    parser.add_argument("--rounds", type=int, help="of each size (default: 5 of 1 GB, 3 of 10, else 1)")
    parser.add_argument("--wait", type=float, default=30, help="seconds to wait for a quiet machine")
    parser.add_argument("--folder", help="where the source lives (default: a temporary folder)")
    parser.add_argument("--keep", type=Path, help="a file that holds the runs, to which these are added")
    parser.add_argument("--report", action="store_true", help="run nothing, print what --keep holds")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--platform", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.platform:
        CountingPlatform().serve()
    elif options.case:
        print(json.dumps(run_import(**json.loads(options.case))))
    else:
        kept = options.keep
        runs = json.loads(kept.read_text()) if kept is not None and kept.exists() else []
        if not options.report:
            with tempfile.TemporaryDirectory(dir=options.folder, prefix="scale-") as folder:
                measure(Path(folder), options, runs)
        report(runs)


# One run, in its own process.


def run_import(source: str, senders: int) -> dict[str, Any]:
    """Import a source; return what it has cost."""
    from one_task import MemoryStore, Task, importing

    from airflow_bulk.arguments import SendingOptions

    class CountedStore(MemoryStore):
        writes = written = 0

        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            super().set(key, value, retention=retention)
            self.writes += 1
            self.written += len(self.values[key])

    store = CountedStore()
    sending = SendingOptions(workers=senders)
    task = Task(importing(source, sending=sending, poll_interval=30), store, run_id="scale")
    begun = time.perf_counter()
    result = task.run()
    sizes = [len(value) for value in store.values.values()]
    return {
        "seconds": time.perf_counter() - begun,
        "lines": result["lines_accepted"],
        "parts": result["parts"],
        "rows": len(sizes),
        "held": sum(sizes),
        "longest": max(sizes),
        "writes": store.writes,
        "written": store.written,
    }


# All runs.


def measure(folder: Path, options: argparse.Namespace, runs: list[dict[str, Any]]) -> None:
    """Run every size with every number of senders, in rounds."""
    lines = write_source(folder / "file", GIGABYTE)
    rounds = {size: options.rounds or ROUNDS.get(size, 1) for size in options.sizes}
    for number in range(max(rounds.values())):
        for size in (one for one in options.sizes if number < rounds[one]):
            for senders in options.senders:
                calm = quiet(options.wait)
                run = run_case(source_of(folder, size), senders)
                if run["lines"] != lines * size:
                    raise SystemExit(f"{run['lines']} lines arrived, not {lines * size}")
                runs.append({"size": size, "senders": senders, "quiet": calm, **run})
                if options.keep is not None:
                    options.keep.write_text(json.dumps(runs, indent=1) + "\n")
                said = f"{size} GB, {senders} senders: {run['seconds']:.1f} s"
                print(said, "" if calm else "(something else used the machine)", file=sys.stderr, flush=True)


def source_of(folder: Path, size: int) -> str:
    """A pattern of as many names of the one file as give this size."""
    names = folder / f"{size}"
    if not names.exists():
        names.mkdir()
        for number in range(size):
            (names / f"{number:04}.ndjson").hardlink_to(folder / "file")
    return f"{names}/*.ndjson"


def run_case(source: str, senders: int) -> dict[str, Any]:
    """Run one import against a platform of its own."""
    with platform() as url, tempfile.TemporaryDirectory() as home:
        connection = {"conn_type": "mediarithmics", "host": url, "password": TOKEN}
        connection["extra"] = {"datamart_id": 1, "organisation_id": 1}
        environment = {
            **airflow_home.environment(home),
            "AIRFLOW_CONN_MEDIARITHMICS_DEFAULT": json.dumps(connection),
        }
        case = json.dumps({"source": source, "senders": senders})
        process = subprocess.Popen(
            [sys.executable, __file__, "--case", case], stdout=subprocess.PIPE, text=True, env=environment
        )
        watch = Watch(process.pid)
        told = process.communicate()[0]
        watch.stop()
        if process.returncode:
            raise SystemExit(f"the import ended with {process.returncode}")
        with urllib.request.urlopen(f"{url}/calls", timeout=60) as answer:
            calls = json.loads(answer.read())
    # Airflow's own lines come first, where it has any.
    return {**json.loads(told.splitlines()[-1]), "memory": watch.memory, "calls": calls}


@contextlib.contextmanager
def platform() -> Iterator[str]:
    """A counting platform in a process of its own; its address."""
    process = subprocess.Popen([sys.executable, __file__, "--platform"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


# What is printed.


def report(runs: list[dict[str, Any]]) -> None:
    """Print the medians of each size and number of senders, and the lines through them."""
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["size"], run["senders"]].append(run)
    loud = sum(not run["quiet"] for run in runs)
    print(f"{len(runs)} runs, {loud} began while something else used the machine, {os.cpu_count()} cores\n")
    print(
        "| GB, senders | runs | s | spread | MB | parts | requests | rows | bytes held | longest | writes |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (size, senders), found in sorted(groups.items()):
        seconds = sorted(run["seconds"] for run in found)
        one = found[-1]
        cells = [
            f"{size}, {senders}",
            len(found),
            f"{statistics.median(seconds):.1f}",
            f"{seconds[0]:.1f} to {seconds[-1]:.1f}",
            f"{max(run['memory'] for run in found) / 1e6:.0f}",
            *(f"{number:,}" for number in (one["parts"], sum(one["calls"].values()), one["rows"])),
            *(f"{one[name]:,}" for name in ("held", "longest", "writes")),
        ]
        print(f"| {' | '.join(map(str, cells))} |")
    print()
    for senders in sorted({senders for _, senders in groups}):
        fit(
            f"{senders} senders, seconds",
            "GB",
            [run for run in runs if run["senders"] == senders],
            "size",
            _seconds,
        )
        fit(
            f"{senders} senders, MB",
            "GB",
            [run for run in runs if run["senders"] == senders],
            "size",
            _memory,
        )
    for name in ("rows", "held", "writes"):
        fit(name, "part", runs, "parts", lambda run, name=name: run[name])
    fit("requests", "part", runs, "parts", lambda run: sum(run["calls"].values()))


def _seconds(run: dict[str, Any]) -> float:
    return float(run["seconds"])


def _memory(run: dict[str, Any]) -> float:
    return float(run["memory"]) / 1e6


def fit(what: str, unit: str, runs: list[dict[str, Any]], over: str, value: Any) -> None:
    """Print the line through the medians, each size once; nothing where there is one size alone."""
    by_place: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        by_place[run[over]].append(value(run))
    if len(by_place) < 2:
        return
    places = sorted(by_place)
    values = [statistics.median(by_place[place]) for place in places]
    line = statistics.linear_regression(places, values)
    off = max(abs(line.intercept + line.slope * x - y) for x, y in zip(places, values, strict=True))
    print(
        f"{what} = {line.intercept:.2f} + {line.slope:.3f} x {unit}; no median is further off than {off:.2f}"
    )


if __name__ == "__main__":
    main()
