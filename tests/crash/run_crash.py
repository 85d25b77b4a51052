"""``make crash``: blow an import at every write of its record, on a real Airflow, and count what is lost, doubled, leaked.

The writes are those that a whole run has made, counted, and no list. ``CRASH_ARGS="--blow child --mode sync"`` cuts it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / name) for name in ("demo", "tests/crash", "tests/dags", "tests/operators", "tests")
]

from stage import BLOWS, Stage, end, left, stage

#: These strike one task; the others strike all, so nothing else may be under way.
ALONE = ("child", "supervisor")
ROW = "{:34} {:6} {:9} {:23} {:>5} {:>8} {:>7}  {}"


def steps(on: Stage, mode: str) -> list[str]:
    """The writes of a whole run, in order."""
    story = on.story(mode)
    story.write(300)
    story.begin()
    end(story)
    assert left(story) == (0, 0, 0)
    return (story.folder / "writes").read_text().splitlines()


def blown(on: Stage, mode: str, number: int, when: str, blow: str) -> tuple[int, int, int, str]:
    """Blow one run; return what is lost, doubled and leaked, and what went wrong besides."""
    story = on.story(mode)
    story.write(300)
    story.begin(stop=f"{when} {number}", settle="1")
    try:
        if mode == "deferred":
            story.wait("the stop or the deferral", lambda: _stopped_or_fed(story))
        on.strike(blow, story, story.stopped())
        end(story)
    except Exception as error:
        return *left(story), f"{type(error).__name__}: {str(error)[:200]}"
    return *left(story), ""


def _stopped_or_fed(story) -> bool:  # type: ignore[no-untyped-def]
    story.finish_executions()
    return (story.folder / "stopped").exists()


def main() -> int:
    """Print a row a blow; return 1 where anything was lost, doubled or leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=("sync", "deferred"), action="append")
    parser.add_argument("--blow", choices=BLOWS, action="append")
    parser.add_argument("--write", type=int, action="append", help="only the n-th write, from 1")
    parser.add_argument("--when", choices=("before", "after"), action="append")
    chosen = parser.parse_args()
    bad = rows = 0
    print(ROW.format("write", "mode", "when", "blow", "lost", "doubled", "leaked", ""), flush=True)
    with stage(ROOT) as on, ThreadPoolExecutor(4) as pool:
        for mode in chosen.mode or ("sync", "deferred"):
            names = steps(on, mode)
            for blow in chosen.blow or BLOWS:
                cells = [
                    (number, name, when)
                    for number, name in enumerate(names, 1)
                    for when in chosen.when or ("before", "after")
                    if not chosen.write or number in chosen.write
                ]
                run = pool.map if blow in ALONE else map
                results = run(lambda cell: blown(on, mode, cell[0], cell[2], blow), cells)  # noqa: B023
                for (number, name, when), (*counts, wrong) in zip(cells, results, strict=True):
                    rows += 1
                    bad += any(counts) or bool(wrong)
                    step = f"{number} {name}"[:34]
                    print(ROW.format(step, mode, when, blow, *counts, wrong), flush=True)
    print(f"{rows} blows, {bad} with a fault")
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
