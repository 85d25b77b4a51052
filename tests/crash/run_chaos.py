"""``make chaos SEED=n RUNS=n``: imports of random files under random faults, blows and clears, on a real Airflow.

What a run imports is files, with a results file or without, or beside another run that finds the same files, the records of a function, or the bad lines of an import once more. A run follows from its seed alone, and has a platform of its own: ``make chaos SEED=17 RUNS=1`` plays the seventeenth again.
Runs whose blow strikes a component stand together, and one blow strikes them all. The end of each: every good line is held
exactly once, the sum closes, nothing is left to run.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import logging
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("demo", "tests/crash", "tests/centrapay", "tests/dags", "tests/operators")
sys.path[:0] = [str(ROOT / name) for name in FOLDERS]

from blown_imports import BlownImport, BlownRecords, BlownResend, BlownResults, BlownSeen
from blown_run import Left, in_short
from stage import BLOWS, LAST_WORDS, TOGETHER, Stage, lane, side_by_side, stage
from task_run import lives

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
KINDS = {one.kind: one for one in (BlownImport, BlownResults, BlownRecords, BlownResend, BlownSeen)}
DAGS = [f"blown_{kind}_{mode}" for kind in KINDS for mode in ("sync", "deferred")]
#: How the platform's error files tell a line.
LAYOUTS = ("line_number", "identifier", "line")
#: The last write at which a run is struck; a resend has some rounds of them.
LAST_STOP, LAST_STOP_OF_RESEND = 14, 45
ROW = "{:>5} {:8} {:8} {:60} {:>5} {:>4} {:>5} {:>5} {:>8} {:>7}  {}"
HEAD = ROW.format("seed", "kind", "mode", "what", "lines", "bad", "parts", "lost", "doubled", "leaked", "")


@dataclass
class Plan:
    """What a seed says.

    :param sizes: good lines of each file.
    :param bad: bad lines, spread over the files.
    :param border: where the limit of a part lies: bytes beyond the end of this line of the first file.
    :param failing: the platform fails every so-many-th line of so many uploads, where the kind has something to do with it.
    :param layout: of the platform's error files.
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
    kind: str = "import"
    failing: tuple[int, int] = (0, 0)
    layout: str = LAYOUTS[0]

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Draw a plan."""
        draw = random.Random(seed)
        sizes = [draw.randint(1, 250) for _ in range(draw.choice((1, 1, 2, 3)))]
        mode = draw.choice(("sync", "deferred"))
        blows = [one for one in BLOWS if mode == "deferred" or "triggerer" not in one]
        blow = draw.choice(("", *blows))
        workers = draw.choice((1, 2))
        plan = cls(
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
            stop=f"{draw.choice(('before', 'after'))} {draw.randint(1, LAST_STOP)}" if blow else "before 0",
            clear=draw.random() < 0.3,
        )
        # What came later is drawn last, so that the older fields of a seed stay what they were.
        plan.kind = draw.choice(("import", "results", "records", "resend"))
        plan.failing = draw.randint(2, 30), draw.randint(1, 3)
        plan.layout = draw.choice(LAYOUTS)
        if blow and plan.kind == "resend":
            plan.stop = f"{plan.stop.partition(' ')[0]} {draw.randint(1, LAST_STOP_OF_RESEND)}"
        if plan.kind == "import" and draw.random() < 0.5:
            plan.kind = "seen"
        return plan

    def __str__(self) -> str:
        faults = "+".join(f"{one['name']}@{what}" for what, one in self.faults)
        told = [self.stop if self.blow else "", self.blow, "clear" if self.clear else "", faults]
        return ", ".join(filter(None, told)) or "nothing"


@dataclass(frozen=True)
class Outcome:
    """How a plan's run ended.

    :param result: of the task.
    :param wrong: what went wrong besides what is lost, doubled and leaked.
    """

    left: Left
    result: dict[str, Any]
    wrong: str

    @property
    def good(self) -> bool:
        """Whether every good line is held once, and nothing is left to run."""
        return self.left == (0, 0, 0) and not self.wrong


class Play:
    """A plan's run, from its beginning to its end.

    :param plan: what the seed says.
    """

    def __init__(self, on: Stage, plan: Plan) -> None:
        self.on, self.plan, self.pid, self.wrong = on, plan, 0, ""
        self.run = KINDS[plan.kind](*on.place(plan.mode))

    def attempt(self, step: Callable[[], None]) -> None:
        """Do one step of it, unless an earlier one went wrong."""
        try:
            if not self.wrong:
                step()
        except Exception as error:
            self.wrong = in_short(error)

    def begin(self) -> None:
        """Write the files, ask for the faults, trigger the run."""
        self.run.part_bytes, self.run.source = _write(self.run, self.plan), "lines.*"
        self.run.failing = self.plan.failing
        self.run.emulator.settings(error_file_layout=self.plan.layout)
        self.run.prepare()
        for what, fault in self.plan.faults:
            self.run.fault(what=what, **fault)
        self.run.begin(
            stop=self.plan.stop,
            workers=str(self.plan.workers),
            overlap=str(self.plan.overlap).lower(),
            settle="2",
        )

    def stand(self) -> None:
        """Wait until it stands at its write, or is over without coming to it."""
        path = self.run.folder / "stopped"
        if self.plan.blow:
            self.run.wait("the stop, or the end", lambda: path.exists() or self.run.writes_no_more())
            self.pid = int(path.read_text()) if path.exists() else 0

    def finish(self) -> None:
        """Clear it where the plan says so, wait for the end, and compare the result with the files."""
        self.run.go()
        if self.plan.clear and self.run.task()["state"] in ("running", "deferred", "up_for_retry", "queued"):
            self.run.clear()
        self.run.wait("the end", self.run.over)
        if self.pid:
            self.run.wait("the old try to end", lambda: not lives(self.pid), LAST_WORDS)

    def outcome(self) -> Outcome:
        """What has become of it; its platform is given back."""
        result: dict[str, Any] = {}
        with contextlib.suppress(Exception):
            result = self.run.result()
        left = self.run.left()
        self.wrong = self.wrong or self.run.wrong(result)
        if left.leaked:
            self.wrong = "; ".join(filter(None, [self.wrong, *self.run.acts]))
        found_out = Outcome(left, result, self.wrong)
        self.on.give_back(self.run, clean=found_out.good)
        return found_out


def play(on: Stage, plan: Plan) -> Outcome:
    """Play a plan whose blow, if it has one, strikes its run alone."""
    one = Play(on, plan)
    one.attempt(one.begin)
    one.attempt(one.stand)
    if one.pid:
        one.attempt(lambda: on.strike_alone(plan.blow, one.run, one.pid))
    one.attempt(one.finish)
    return one.outcome()


def play_together(on: Stage, plans: list[Plan], blow: str) -> list[Outcome]:
    """Play plans that have the same blow to a component: all stand, it strikes them, all go on."""
    plays = list(side_by_side(lambda plan: Play(on, plan), plans, len(plans)))

    def until_it_stands(one: Play) -> None:
        one.attempt(one.begin)
        one.attempt(one.stand)

    def until_it_ends(one: Play) -> Outcome:
        one.attempt(one.finish)
        return one.outcome()

    list(side_by_side(until_it_stands, plays, len(plays)))
    if standing := {one.run: one.pid for one in plays if one.pid}:
        on.strike_together(blow, standing)
    outcomes = list(side_by_side(until_it_ends, plays, len(plays)))
    on.sweep()
    return outcomes


def _write(story: Any, plan: Plan) -> int:
    """Write the files; return the limit of a part."""
    draw = random.Random(plan.seed + 1)
    bad = [draw.randrange(len(plan.sizes)) for _ in range(plan.bad)]
    for number, count in enumerate(plan.sizes):
        before = len(story.lines)
        story.write(count, name=f"written.{number}")
        lines = story.lines[before:]
        for _ in range(bad.count(number)):
            lines.insert(draw.randint(0, len(lines)), story.bad_line())
        body = ("\n".join(lines) + "\n").encode()
        ending = "ndjson.gz" if plan.zipped else "ndjson"
        path = story.folder / f"lines.{number}.{ending}"
        path.write_bytes(gzip.compress(body) if plan.zipped else body)
    return _limit(story.lines, plan)


def _limit(lines: list[str], plan: Plan) -> int:
    """Where the plan has it: at the end of a line of the first file, or a byte beside it; parts are at most some sixteen."""
    line, beside = plan.border
    least = max(1_500, sum(len(one) + 1 for one in lines) // 16)
    ends = list(itertools.accumulate(len(one) + 1 for one in lines[: plan.sizes[0]]))
    return next((end for end in ends[line - 1 :] if end >= least), least) + beside


def row(plan: Plan, outcome: Outcome) -> str:
    """One row of the table."""
    lines, parts = sum(plan.sizes), outcome.result.get("parts", "-")
    sent = outcome.result.get("rounds")
    told = outcome.wrong or (f"in {len(sent)} rounds" if sent else "")
    return ROW.format(
        plan.seed, plan.kind, plan.mode, str(plan)[:60], lines, plan.bad, parts, *outcome.left, told
    )


def rounds(seeds: Iterable[int], at_once: int) -> Iterator[tuple[str, list[Plan]]]:
    """Seeds in the order in which they are played: those that one blow to a component strikes together, with that blow."""
    alone: list[Plan] = []
    waves: dict[str, list[Plan]] = {}
    for plan in map(Plan.of, seeds):
        together = plan.blow in TOGETHER
        waiting = waves.setdefault(plan.blow, []) if together else alone
        waiting.append(plan)
        if len(waiting) == (at_once if together else 4 * at_once):
            yield plan.blow if together else "", list(waiting)
            waiting.clear()
    yield from ((blow, plans) for blow, plans in {"": alone, **waves}.items() if plans)


def main() -> int:
    """Print a row a run; return 1 where one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=4, help="runs under way at once")
    chosen = parser.parse_args()
    # An import that is made in this process tells what it does; the table stays readable.
    logging.disable(logging.WARNING)
    failed, began = [], time.monotonic()
    with stage(ROOT, DAGS, chosen.at_once) as on:
        print(HEAD, flush=True)
        for blow, plans in rounds(range(chosen.seed, chosen.seed + chosen.runs), on.at_once):
            if blow:
                outcomes: Iterable[Outcome] = play_together(on, plans, blow)
            else:
                outcomes = side_by_side(lambda plan: play(on, plan), plans, on.at_once)
            for plan, outcome in zip(plans, outcomes, strict=True):
                print(row(plan, outcome), flush=True)
                failed += [] if outcome.good else [plan.seed]
    print(f"{chosen.runs} runs in {time.monotonic() - began:.0f} s, {len(failed)} with a fault")
    for seed in failed:
        print(f"again: make chaos{lane()} SEED={seed} RUNS=1")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
