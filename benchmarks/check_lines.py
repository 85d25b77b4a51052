"""How fast lines are checked, side by side with the loop that anybody would write first.

All cases run over the same USER_PROFILE lines (mean 353 bytes) in memory, in blocks of 256 kB, interleaved,
one process, one core; printed are medians in GB a second of CPU (all cases are pure computing, and a busy
machine then disturbs less) and multiples of the naive loop of the same data:

* naive: json.loads a line, then the rules of USER_PROFILE in Python;
* decode: msgspec decodes each line to Python objects and checks nothing;
* checker: ``LineChecker``, all rules.

``python benchmarks/check_lines.py --megabytes 100 --rounds 5``
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable

import msgspec

from airflow_bulk.documents.lines.checking import LineChecker

BLOCK = 256 * 1024
KINDS = ("user_account_id", "email_hash", "user_agent_id")
CITIES = ("Lyon", "Lille", "Nantes", "Paris", "Toulouse", "Bordeaux", "Rennes", "Nice")


def profile_line(number: int, kind: str, rng: random.Random, city: str = "") -> bytes:
    identifier = {
        "user_account_id": f"crm-{number:09d}",
        "email_hash": f"{rng.getrandbits(256):064x}",
        "user_agent_id": f"vec:{rng.getrandbits(63)}",
    }[kind]
    profile = {
        "first_name": rng.choice(("Ada", "Grace", "Alan", "Edsger", "Barbara")),
        "city": city or rng.choice(CITIES),
        "score": rng.randrange(1000),
        "basket": round(rng.random() * 300, 2),
        "newsletter": rng.random() < 0.5,
        "segments": [rng.choice(CITIES) for _ in range(rng.randrange(1, 6))],
        "address": {"street": f"{rng.randrange(300)} rue de la Paix", "zip": f"{rng.randrange(95000):05d}"},
    }
    line = {"operation": "UPSERT", "compartment_id": "4100", kind: identifier}
    line |= {"update_strategy": "PARTIAL_UPDATE", "user_profile": profile}
    # Free text makes up the mean of 353 bytes, and most of its spread.
    short = 353 - len(json.dumps(line, separators=(",", ":"))) - 10
    profile["note"] = "x" * max(0, short + rng.randrange(-40, 41))
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def corpus(size: int, kinds: tuple[str, ...], bad: float = 0.0, city: str = "") -> list[bytes]:
    """Return lines of about ``size`` bytes in all, a share of them without their profile."""
    rng = random.Random(20310402)
    pool = [profile_line(number, rng.choice(kinds), rng, city) for number in range(20_000)]
    broken = [line.replace(b'"user_profile"', b'"user_profil"') for line in pool]
    lines, total = [], 0
    while total < size:
        place = rng.randrange(len(pool))
        lines.append(broken[place] if rng.random() < bad else pool[place])
        total += len(lines[-1])
    return lines


def blocks(lines: list[bytes]) -> list[bytes]:
    """Cut whole lines into blocks as the reader does."""
    out, taken, size = [], [], 0
    for line in lines:
        if size + len(line) > BLOCK:
            out.append(b"".join(taken))
            taken, size = [], 0
        taken.append(line)
        size += len(line)
    return [*out, b"".join(taken)]


def naive(data: list[bytes]) -> int:
    bad = 0
    for block in data:
        for line in block.splitlines():
            try:
                bad += not naive_rules(json.loads(line))
            except ValueError:
                bad += 1
    return bad


def naive_rules(line: object) -> bool:
    if not isinstance(line, dict) or line.get("operation") not in ("UPSERT", "DELETE"):
        return False
    if sum(name in line for name in KINDS) != 1:
        return False
    for name in (*KINDS, "compartment_id"):
        if name in line and not (isinstance(line[name], str | int) and line[name] != ""):
            return False
    if "update_strategy" in line:
        if line["operation"] != "UPSERT" or "force_replace" in line or "merge_objects" in line:
            return False
        if line["update_strategy"] not in ("PARTIAL_UPDATE", "PARTIAL_DELETE", "FORCE_REPLACE"):
            return False
    return line["operation"] == "DELETE" or isinstance(line.get("user_profile"), dict)


def decode_only(data: list[bytes]) -> int:
    decode = msgspec.json.Decoder().decode
    for block in data:
        deque(map(decode, block.splitlines()), maxlen=0)
    return -1


def checker(data: list[bytes]) -> int:
    check = LineChecker("USER_PROFILE", max_line_bytes=100_000_000).check
    return sum(len(check(block).findings) for block in data)


def measure(size: int, rounds: int) -> None:
    data = {
        "one kind": blocks(corpus(size, KINDS[:1])),
        "three kinds mixed": blocks(corpus(size, KINDS)),
        "one kind, 1% bad": blocks(corpus(size, KINDS[:1], 0.01)),
        "mixed, 1% bad": blocks(corpus(size, KINDS, 0.01)),
        "one kind, not ASCII": blocks(corpus(size, KINDS[:1], city="Orléans")),
    }
    cases: dict[str, Callable[[list[bytes]], int]] = {
        "naive": naive,
        "decode": decode_only,
        "checker": checker,
    }
    speeds: dict[tuple[str, str], list[float]] = {}
    found: dict[str, set[int]] = {}
    for _ in range(rounds):
        for name, part in data.items():
            total = sum(map(len, part))
            for case, run in cases.items():
                began = time.process_time()
                bad = run(part)
                speeds.setdefault((name, case), []).append(total / (time.process_time() - began) / 1e9)
                if bad >= 0:
                    found.setdefault(name, set()).add(bad)
    disagreeing = [name for name, counts in found.items() if len(counts) > 1]
    if disagreeing:
        sys.exit(f"the naive loop and the checker count different bad lines in: {', '.join(disagreeing)}")
    report(list(data), speeds)


def report(names: list[str], speeds: dict[tuple[str, str], list[float]]) -> None:
    print(f"{'USER_PROFILE lines':22} {'naive':>12} {'decode, no checks':>20} {'checker':>18}")
    first = statistics.median(speeds[names[0], "checker"])
    for name in names:
        low, mid, high = (statistics.median(speeds[name, case]) for case in ("naive", "decode", "checker"))
        print(
            f"{name:22} {low:7.3f} GB/s {mid:7.3f} GB/s {mid / low:5.1f}x {high:7.3f} GB/s {high / low:5.1f}x"
            f"   {high / first:4.0%} of the first row"
        )


def main() -> None:
    """Read the options and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--megabytes", type=int, default=50, help="size of each data set")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    measure(chosen.megabytes * 1_000_000, chosen.rounds)


if __name__ == "__main__":
    main()
