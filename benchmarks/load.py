"""One load job of an extract/load batch (extract, snapshot, apply), beside a pandas merge and a MERGE in PostgreSQL.

All read the same two files of about 520 bytes a record: what the source has, and what the destination holds. Of the source's records a
tenth is new, a tenth of the others differs, and two in a hundred of those that are there have no counterpart and are deleted. The
destination counts what it gets and costs about 5 microseconds a write, so that what is measured is the work around it: to read, map, compare,
and to prepare the writes. Every side must find the same changes, or the benchmark ends with an error.

Every run is a process of its own, and the sides take turns. Memory is the most resident memory of the process; PostgreSQL works in a process
of the server, whose memory is told beside it where it is on this machine (with the pages of its shared buffers that it has used).

``python benchmarks/load.py --sizes 10000 100000 --runs 3``; ``make bench-load`` makes the environment of pandas, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Behind this folder: it must not hide a module of ours.
sys.path.append(str(ROOT / "demo"))

import airflow_home
from load_records import write_inputs
from load_sides import PHASES, SIDES

#: Bytes; the goal for the process of this package, at any size.
GOAL = 512_000_000
OURS, PANDAS, SQL = SIDES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="records")
    parser.add_argument("--runs", type=int, default=3, help="of each side at each size")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--wait", type=float, default=30, help="seconds to wait for a quiet machine")
    parser.add_argument("--folder", help="where the files live (default: a temporary folder)")
    parser.add_argument(
        "--pandas", default=str(ROOT / ".venv-pandas/bin/python"), help="the Python that has pandas"
    )
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        side, folder = options.case
        print(json.dumps(SIDES[side](Path(folder))))
        return 0
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="load-") as folder,
        server(Path(folder), SQL in options.sides) as url,
    ):
        runs = measure(Path(folder), options, url)
        print(f"{machine(options, url)}\n")
    return report(runs)


@contextlib.contextmanager
def server(folder: Path, wanted: bool) -> Iterator[str]:
    """The address of a PostgreSQL, found or started; empty where it is not asked for."""
    if not wanted:
        yield ""
        return
    from postgres_server import NoPostgres, postgres

    try:
        with postgres(folder / "postgres") as url:
            yield url
    except NoPostgres as error:
        raise SystemExit(f"No PostgreSQL: {error}") from None


def measure(folder: Path, options: argparse.Namespace, url: str) -> list[dict[str, Any]]:
    """Run every side at every size, in turn."""
    from upload import quiet

    runs = []
    for size in options.sizes:
        inputs = folder / str(size)
        expected = write_inputs(inputs, size)
        for _ in range(options.runs):
            for side in options.sides:
                calm = quiet(options.wait)
                python = options.pandas if side == PANDAS else sys.executable
                run = run_case(side, python, inputs, url)
                check(side, size, run, expected, runs)
                runs.append({"side": side, "size": size, "quiet": calm, **run})
                print(
                    f"{size:,} records, {side}: {sum(run['phases'].values()):.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
        shutil.rmtree(inputs)
    return runs


def run_case(side: str, python: str, inputs: Path, url: str) -> dict[str, Any]:
    """Run one side in a process of its own; its files are removed after it."""
    with tempfile.TemporaryDirectory(dir=inputs.parent) as home:
        environment = {
            **airflow_home.environment(home),
            "POSTGRES_URL": url,
            "TMPDIR": home,
        }
        case = [python, __file__, "--case", side, str(inputs)]
        try:
            done = subprocess.run(case, stdout=subprocess.PIPE, text=True, env=environment, check=False)
        except FileNotFoundError:
            raise SystemExit(
                f"{side}: there is no {python}; `make bench-load` makes the environment"
            ) from None
        finally:
            shutil.rmtree(inputs / "staged", ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{side}: its process ended with {done.returncode}")
    # Airflow's own lines come first, where it has any.
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def check(
    side: str, size: int, run: dict[str, Any], expected: dict[str, int], runs: list[dict[str, Any]]
) -> None:
    """End the benchmark where a side found, wrote or kept something else than it must."""
    if run["counts"] != expected:
        raise SystemExit(f"{side} found {run['counts']} in {size:,} records, not {expected}")
    if run["records"] not in (None, size):
        raise SystemExit(f"the result of {side} has {run['records']:,} records, not {size:,}")
    others = {one["check"] for one in runs if one["size"] == size and one["check"] is not None}
    if run["check"] is not None and others - {run["check"]}:
        raise SystemExit(f"{side} wrote other content than the sides before it, {size:,} records")


# What is printed.


def machine(options: argparse.Namespace, url: str) -> str:
    """The date, the machine, what ran on it, and the command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    parts = [
        f"{datetime.now(UTC):%d %B %Y}",
        f"{os.cpu_count()} cores",
        f"{memory / 1e9:.0f} GB",
        f"Python {platform.python_version()}",
        f"Airflow {version('apache-airflow-core')}",
    ]
    if PANDAS in options.sides:
        said = "import pandas, pyarrow; print(f'pandas {pandas.__version__}, pyarrow {pyarrow.__version__}')"
        parts.append(subprocess.check_output([options.pandas, "-c", said], text=True).strip())
    if url:
        import psycopg2

        with contextlib.closing(psycopg2.connect(url)) as connection:
            parts.append(f"PostgreSQL {connection.get_parameter_status('server_version').split()[0]}")
    command = shlex.join(["benchmarks/load.py", *sys.argv[1:]])
    return f"{', '.join(parts)}; `{command}`"


def report(runs: list[dict[str, Any]]) -> int:
    """Print the table: medians of the seconds, the most of the memory; judge the memory of this package."""
    loud = sum(not run["quiet"] for run in runs)
    print(
        f"{len(runs)} runs, {loud} began while something else used the machine; medians, and the most memory\n"
    )
    print("| records | by | read the source, s | read what is there, s | map and compare, s | write, s | result file, s | in all, s "
          "| processor, s | microseconds a record | most memory, MB |")  # fmt: skip
    print(f"|{' --- |' * 11}")
    for size, side in dict.fromkeys((run["size"], run["side"]) for run in runs):
        found = [run for run in runs if (run["size"], run["side"]) == (size, side)]
        cells = [f"{size:,}", side]
        for phase in PHASES:
            known = [run["phases"][phase] for run in found if phase in run["phases"]]
            cells.append(f"{statistics.median(known):.2f}" if known else "")
        whole = statistics.median(sum(run["phases"].values()) for run in found)
        processor = statistics.median(run["processor"] for run in found)
        memory = f"{max(run['memory'] for run in found) / 1e6:.0f}"
        if servers := [run["server"] for run in found if run["server"]]:
            memory += f", and {max(servers) / 1e6:.0f} of the server's process"
        elif side == SQL:
            memory += "; the server is not on this machine, and its memory and processor are not in this row"
        print(
            f"| {' | '.join([*cells, f'{whole:.2f}', f'{processor:.2f}', f'{whole / size * 1e6:.1f}', memory])} |"
        )
    print()
    for side in dict.fromkeys(run["side"] for run in runs):
        print(
            f"{side}: {max(run['before'] for run in runs if run['side'] == side) / 1e6:.0f} MB before the first record"
        )
    ours = [run["memory"] for run in runs if run["side"] == OURS]
    if not ours:
        return 0
    print(
        f"the goal of this package: at most {GOAL / 1e6:.0f} MB, {'kept' if max(ours) <= GOAL else 'not kept'}"
    )
    return int(max(ours) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
