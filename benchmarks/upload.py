"""File in, bodies out: the pool's plan, check and send beside ``split`` + ``curl``, which check nothing.

Every case runs in a process of its own over generated USER_PROFILE lines (mean 353 bytes) in the page cache: all with
one kind of identifier, as one system exports them, or with three kinds mixed line by line. The cases of a round are
interleaved; printed are medians and ratios of one run. The receiver (a process of
its own, on the same cores) counts the lines of each body and looks at its last byte; a wrong count fails the run.
Type rules and content hashes are on. Memory is the proportional set size of all processes of a case over that of a
bare interpreter; temporary bytes are files with and without a name.

``python benchmarks/upload.py --size 1000000000 --rounds 5``; with ``--wait 60`` every case waits up to so many seconds
for a machine on which nothing else runs (foreign work shifts the ratios: one side uses one core, the other two).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from check_lines import naive_rules
from process_memory import Watch, idle_memory
from upload_sink import receive
from upload_sources import make_certificate, make_sources

PART = 100_000_000
SPLIT = "100MB"  # 100,000,000 bytes, so that both sides send equally large bodies
TARGETS = {
    ("two passes", "2 workers", "plain"): (1.2, "curl"),
    ("two passes", "2 workers", "TLS"): (1.3, "curl TLS"),
    ("overlap", "2 workers", "plain"): (1.3, "curl"),
    ("overlap", "2 workers", "TLS"): (1.4, "curl TLS"),
    ("two passes", "1 worker", "plain"): (0.75, "curl"),
    ("two passes", "1 worker", "TLS"): (0.8, "curl TLS"),
    ("overlap", "1 worker", "plain"): (0.85, "curl"),
    ("overlap", "1 worker", "TLS"): (1.0, "curl TLS"),
}


class Case(NamedTuple):
    """What one process does."""

    name: str
    source: str
    url: str
    workers: int = 0  # 0: the naive loop
    overlap: bool = False


class Run(NamedTuple):
    """What came of it."""

    seconds: float
    lines: int
    memory: int = 0
    temporary: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of the source")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only cases whose name holds this (and the baselines)")
    parser.add_argument(
        "--wait", type=float, default=0, help="seconds to wait for a quiet machine before a case"
    )
    parser.add_argument("--folder", help="where the source lives (default: a temporary folder)")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--sink", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        work(Case(**json.loads(options.case)))
    elif options.sink:
        receive(*options.sink)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as folder:
            bench(Path(folder), options.size, options.rounds, options.only, options.wait)


# One case, in its own process.


class Gate:
    """Lets everything pass, and adds up."""

    def __init__(self) -> None:
        self.parts, self.lines = [], 0

    def checked(self, part, findings) -> None:
        self.parts.append(part)

    def may_begin(self, part) -> None:
        """The operator writes its intent here: 9 ms, which are not what is measured."""

    may_finish = may_begin

    def answered(self, part, answer) -> None:
        got = json.loads(answer.body)
        if got["lines"] != part.lines or not got["ends_line"]:
            raise SystemExit(f"part {part.index}: the receiver counted {got}, not {part.lines} lines")
        self.lines += got["lines"]

    def lost(self, part, error) -> None:
        raise SystemExit(f"part {part.index}: {error}")


def work(case: Case) -> None:
    if not case.workers:
        print(json.dumps(naive(case)))
        return
    from airflow_bulk.documents.source.cuts import Layout
    from airflow_bulk.documents.source.files import find_files
    from airflow_bulk.hooks.sending.pool import SenderPool
    from airflow_bulk.hooks.sending.protocol import Job, LineRules, Target

    begun = time.perf_counter()
    gate = Gate()
    target = Target(url=case.url, headers={"Content-Type": "application/x-ndjson"}, verify="cert.pem")
    layout = Layout(max_part_bytes=PART, workers=case.workers)
    rules = LineRules(document_type="USER_PROFILE")
    files = find_files(case.source)
    with SenderPool(files=files, rules=rules, layout=layout, workers=case.workers) as pool:
        pool.aim(target)
        pool.run(pool.first_pass(send=case.overlap), gate)
        if not case.overlap:
            todo = iter(gate.parts)
            pool.run(lambda in_flight: (part := next(todo, None)) and Job(part=part, check=False), gate)
    print(json.dumps([time.perf_counter() - begun, gate.lines]))


def naive(case: Case) -> list[float]:
    """The loop that anybody would write first."""
    import requests

    begun = time.perf_counter()
    total, taken, size = 0, [], 0
    session = requests.Session()

    def post() -> int:
        reply = session.post(case.url, data="".join(taken).encode(), verify="cert.pem", timeout=600)
        return reply.json()["lines"]

    with open(case.source, encoding="utf-8") as file:
        for line in file:
            if not naive_rules(json.loads(line)):
                continue
            if size + len(line) > PART:
                total += post()
                taken, size = [], 0
            taken.append(line)
            size += len(line)
    return [time.perf_counter() - begun, total + post()]


# The run as a whole.


def bench(folder: Path, size: int, rounds: int, only: str, wait: float) -> None:
    os.chdir(folder)
    lines = make_sources(size)
    make_certificate()
    print(
        f"{size / 1e9:.2f} GB, {lines['source.ndjson']:,} lines, {rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with sink("plain") as plain, sink("TLS") as tls:
        cases = [case for case in all_cases(plain, tls) if only in case.name]
        results: dict[str, list[Run]] = {}
        loud = 0
        for number in range(rounds):
            for name, url, source in (
                ("curl", plain, "source.ndjson"),
                ("curl TLS", tls, "source.ndjson"),
                ("gzip -d, curl", plain, "source.ndjson.gz"),
            ):
                loud += not quiet(wait)
                results.setdefault(name, []).append(split_and_curl(url, source))
            for case in cases:
                loud += not quiet(wait)
                run = run_case(case)
                if run.lines != lines[case.source]:
                    raise SystemExit(f"{case.name}: {run.lines} lines arrived, not {lines[case.source]}")
                results.setdefault(case.name, []).append(run)
            print(f"round {number + 1} of {rounds} done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    report(results, idle_memory())
    if loud:
        print(
            f"\n{loud} of {sum(map(len, results.values()))} cases began while something else used the machine"
        )


def quiet(most: float) -> bool:
    """Wait until the processors are idle; says whether they are."""
    end = time.monotonic() + most
    while True:
        before = processor_times()
        time.sleep(0.3)
        after = processor_times()
        spent = [now - then for now, then in zip(after, before, strict=True)]
        if (spent[3] + spent[4]) / sum(spent) > 0.9:  # idle, and waiting for disks
            return True
        if time.monotonic() > end:
            return False


def processor_times() -> list[int]:
    return [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def all_cases(plain: str, tls: str) -> list[Case]:
    found = [
        Case(
            f"{way}, {count} worker{'s' * (count > 1)}, {kind}", "source.ndjson", url, count, way == "overlap"
        )
        for kind, url in (("plain", plain), ("TLS", tls))
        for count in (1, 2)
        for way in ("two passes", "overlap")
    ]
    for way in ("two passes", "overlap"):
        found.append(Case(f"{way}, 2 workers, gzip", "source.ndjson.gz", plain, 2, way == "overlap"))
        for count in (1, 2):
            workers = f"{count} worker{'s' * (count > 1)}"
            for what, source in (("mixed kinds", "mixed.ndjson"), ("1 % bad", "bad.ndjson")):
                found.append(Case(f"{way}, {workers}, {what}", source, plain, count, way == "overlap"))
    return [*found, Case("naive loop", "source.ndjson", plain)]


@contextlib.contextmanager
def sink(kind: str):
    process = subprocess.Popen(
        [sys.executable, __file__, "--sink", kind, "."], stdout=subprocess.PIPE, text=True
    )
    try:
        port = process.stdout.readline().strip()
        yield f"{'https' if kind == 'TLS' else 'http'}://localhost:{port}/v1/executions"
    finally:
        process.kill()
        process.wait()


def split_and_curl(url: str, source: str) -> Run:
    """What people do: pieces on disk, one curl after the other."""
    unpack = "gzip -dc source.ndjson.gz > plain.ndjson && " if source.endswith(".gz") else ""
    plain = "plain.ndjson" if unpack else source
    script = (
        f"set -e; mkdir parts; {unpack} split -C {SPLIT} {plain} parts/p; for part in parts/p*; do "
        f"curl -sS --cacert cert.pem -H 'Content-Type: application/x-ndjson' --data-binary @$part {url}; done"
    )
    begun = time.perf_counter()
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    lines = sum(json.loads(answer)["lines"] for answer in done.stdout.replace("}{", "}\n{").splitlines())
    temporary = sum(path.stat().st_size for path in Path("parts").iterdir())
    shutil.rmtree("parts")
    if unpack:
        temporary += Path("plain.ndjson").stat().st_size
        Path("plain.ndjson").unlink()
    return Run(seconds, lines, 0, temporary)


def run_case(case: Case) -> Run:
    process = subprocess.Popen(
        [sys.executable, __file__, "--case", json.dumps(case._asdict())], stdout=subprocess.PIPE, text=True
    )
    watch = Watch(process.pid)
    seconds, lines = json.loads(process.communicate()[0])
    watch.stop()
    return Run(seconds, lines, watch.memory, watch.temporary)


def report(results: dict[str, list[Run]], idle: int) -> None:
    seconds = {name: statistics.median(run.seconds for run in runs) for name, runs in results.items()}
    print(f"\nan idle interpreter has {idle / 1e6:.0f} MB\n")
    print(
        f"{'case':38}{'s':>7}  {'spread':14}{'speed':>7}{'target':>8}{'MB over idle':>14}{'temporary MB':>14}"
    )
    for name, runs in results.items():
        base = "curl TLS" if "TLS" in name else "gzip -d, curl" if "gzip" in name else "curl"
        ratio = seconds[base] / seconds[name]
        target = TARGETS.get(tuple(name.split(", ")), ("",))[0]
        all_seconds = sorted(run.seconds for run in runs)
        spread = f"{all_seconds[0]:.2f}-{all_seconds[-1]:.2f}"
        memory = max(run.memory for run in runs)
        over = f"{(memory - idle) / 1e6:.0f}" if memory else ""
        temporary = max(run.temporary for run in runs) / 1e6
        print(
            f"{name:38}{seconds[name]:7.2f}  {spread:14}{ratio:7.2f}{target!s:>8}{over:>14}{temporary:14.0f}"
        )
    compare(seconds)


def compare(seconds: dict[str, float]) -> None:
    print()
    for way, most in (("two passes", 0.65), ("overlap", 0.6)):
        if name := f"{way}, 2 workers, gzip" if f"{way}, 2 workers, gzip" in seconds else "":
            share = seconds[name] / seconds["gzip -d, curl"]
            print(f"gzip, {way}: {share:.2f} of gzip -d + split + curl (target: <= {most})")
    for way, least in (("two passes", 6), ("overlap", 7)):
        name = f"{way}, 1 worker, plain"
        if name in seconds and "naive loop" in seconds:
            times = seconds["naive loop"] / seconds[name]
            print(f"one worker, {way}: {times:.1f} times the naive loop (target: >= {least})")


if __name__ == "__main__":
    main()
