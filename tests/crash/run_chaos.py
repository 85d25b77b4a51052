"""``make chaos SEED=n RUNS=n``: imports of random files under random faults, blows and clears, on a real Airflow.

A run follows from its seed alone: ``make chaos SEED=17 RUNS=1`` plays the seventeenth again. The end of each: every good line
is held exactly once, the sum closes, nothing is left to run.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("demo", "tests/crash", "tests/dags")]

from stage import BLOWS, Stage, end, left, stage

#: Faults that pass: a retry, or the same try, gets over each of them.
FAULTS: list[dict[str, Any]] = [
    {"name": "lost_answer"},
    {"name": "lost_answer", "how": "reset"},
    {"name": "late", "seconds": 0.3},
    {"name": "server_error", "when": "after", "status": 500},
    {"name": "server_error", "when": "before", "status": 503},
    {"name": "rate_limited", "retry_after": 1},
    {"name": "reset", "after": 500},
    {"name": "html_answer"},
    {"name": "empty_answer"},
]
ROW = "{:>5} {:8} {:46} {:>5} {:>4} {:>5} {:>5} {:>8} {:>7}  {}"
HEAD = ROW.format("seed", "mode", "what", "lines", "bad", "parts", "lost", "doubled", "leaked", "")


@dataclass
class Plan:
    """What a seed says.

    :param sizes: good lines of each file.
    :param bad: bad lines, spread over the files.
    :param border: where the limit of a part lies: bytes beyond the end of this line of the first file.
    """

    seed: int
    mode: str = ""
    sizes: list[int] = field(default_factory=list)
    bad: int = 0
    zipped: bool = False
    border: tuple[int, int] = (0, 0)
    workers: int = 1
    overlap: bool = False
    faults: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    blow: str = ""
    stop: str = "before 0"
    clear: bool = False

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Draw a plan."""
        draw = random.Random(seed)
        sizes = [draw.randint(1, 250) for _ in range(draw.choice((1, 1, 2, 3)))]
        mode = draw.choice(("sync", "deferred"))
        blows = [one for one in BLOWS if mode == "deferred" or "triggerer" not in one]
        blow = draw.choice(("", *blows))
        workers = draw.choice((1, 2))
        return cls(
            seed=seed,
            mode=mode,
            sizes=sizes,
            bad=draw.choice((0, 0, 1, draw.randint(2, 20))),
            zipped=draw.random() < 0.4,
            border=(draw.randint(1, sizes[0]), draw.choice((-1, 0, 1))),
            workers=workers,
            overlap=draw.random() < 0.5,
            faults=[
                (draw.choice(("upload", "upload", "creation")), draw.choice(FAULTS))
                for _ in range(draw.choice((0, 1, 2)))
            ],
            blow=blow,
            stop=f"{draw.choice(('before', 'after'))} {draw.randint(1, 14)}" if blow else "before 0",
            clear=draw.random() < 0.3,
        )

    def __str__(self) -> str:
        faults = "+".join(f"{one['name']}@{what}" for what, one in self.faults)
        told = [self.stop if self.blow else "", self.blow, "clear" if self.clear else "", faults]
        return ", ".join(filter(None, told)) or "nothing"


def play(on: Stage, plan: Plan) -> tuple[dict[str, Any], tuple[int, int, int], str]:
    """Play a plan; return the task's result, what is lost, doubled and leaked, and what went wrong besides."""
    story = on.story(plan.mode)
    limit = _write(story, plan)
    for what, fault in plan.faults:
        story.fault(what=what, **fault)
    result: dict[str, Any] = {}
    try:
        story.begin(
            source="lines.*",
            stop=plan.stop,
            max_part_bytes=str(limit),
            workers=str(plan.workers),
            overlap=str(plan.overlap).lower(),
            limit=str(plan.bad),
            settle="2",
        )
        if plan.blow:
            story.wait("the stop, or the end", lambda: _stopped_or_over(story))
            if (story.folder / "stopped").exists():
                on.strike(plan.blow, story, story.stopped())
        if plan.clear and story.task()["state"] in ("running", "deferred", "up_for_retry", "queued"):
            story.clear()
        result = end(story)
        found = (result["lines_read"], result["lines_accepted"], result["lines_rejected"])
        wanted = (len(story.lines) + plan.bad, len(story.lines), plan.bad)
        wrong = "" if found == wanted else f"read, accepted, rejected are {found}, not {wanted}"
    except Exception as error:
        wrong = f"{type(error).__name__}: {str(error)[:300]}"
    return result, left(story), wrong


def _write(story: Any, plan: Plan) -> int:
    """Write the files; return the limit of a part, which is at least 1 kB."""
    draw, limit = random.Random(plan.seed + 1), 0
    bad = [draw.randrange(len(plan.sizes)) for _ in range(plan.bad)]
    for number, count in enumerate(plan.sizes):
        before = len(story.lines)
        story.write(count, name=f"written.{number}")
        lines = story.lines[before:]
        if number == 0:
            border = sum(len(one) + 1 for one in lines[: plan.border[0]]) + plan.border[1]
            limit = max(1_500, border)
        for _ in range(bad.count(number)):
            lines = [*lines]
            lines.insert(draw.randint(0, len(lines)), story.bad_line())
        body = ("\n".join(lines) + "\n").encode()
        ending = "ndjson.gz" if plan.zipped else "ndjson"
        path = story.folder / f"lines.{number}.{ending}"
        path.write_bytes(gzip.compress(body) if plan.zipped else body)
    return limit


def _stopped_or_over(story: Any) -> bool:
    story.finish_executions()
    state = story.api.run(story.dag_id, story.run_id)["state"]
    return (story.folder / "stopped").exists() or state in ("success", "failed")


def row(plan: Plan, result: dict[str, Any], counts: tuple[int, int, int], wrong: str) -> str:
    """One row of the table."""
    lines, parts = sum(plan.sizes), result.get("parts", "-")
    return ROW.format(plan.seed, plan.mode, str(plan)[:46], lines, plan.bad, parts, *counts, wrong)


def main() -> int:
    """Print a row a run; return 1 where one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10)
    chosen = parser.parse_args()
    failed = []
    print(HEAD, flush=True)
    with stage(ROOT) as on:
        for seed in range(chosen.seed, chosen.seed + chosen.runs):
            plan = Plan.of(seed)
            outcome = play(on, plan)
            print(row(plan, *outcome), flush=True)
            if any(outcome[1]) or outcome[2]:
                failed.append(seed)
    for seed in failed:
        print(f"failed: make chaos SEED={seed} RUNS=1")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
