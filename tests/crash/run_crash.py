"""``make crash``: blow every kind of run at every write of its record, on a real Airflow; count what is lost, doubled, leaked.

The writes are those that a whole run has made, counted, and no list. Runs stand at their writes together, and a blow to a
component strikes all of them at once. ``CRASH_ARGS="--kind import --mode sync --blow child --write 3 --when before"`` plays
one alone.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("demo", "tests/crash", "tests/centrapay", "tests/dags", "tests/operators")
sys.path[:0] = [str(ROOT / name) for name in FOLDERS]

from blown_kinds import KINDS
from blown_run import BlownRun, Left, clock_offset, in_short
from stage import ALONE, AT_ONCE, BLOWS, LAST_WORDS, STANDS_STILL, Stage, lane, side_by_side, stage
from task_run import lives

ROW = "{:10} {:36} {:8} {:6} {:22} {:>5} {:>4} {:>7} {:>6}  {}"
HEAD = ROW.format("kind", "write", "mode", "when", "blow", "tries", "lost", "doubled", "leaked", "")
#: The write of a cell that stands while its task is deferred, at no write at all.
DEFERRED = 0


class Cell(NamedTuple):
    """One moment at which one kind of run is struck.

    :param number: of the write, from 1; 0 while the task is deferred.
    :param name: of the write, as a whole run has it.
    """

    kind: str
    mode: str
    number: int
    name: str
    when: str


class Outcome(NamedTuple):
    """What a blow has led to.

    :param tries: of the task: more than one where the blow ended a try.
    :param told: what went wrong besides, or what a person had to do.
    :param good: nothing was lost, doubled or leaked, and all came to an end.
    """

    tries: int
    left: Left
    told: str
    good: bool


def whole_run(on: Stage, kind: str, mode: str) -> tuple[list[Cell], int]:
    """The moments of a kind of run, from a run that nothing strikes; and how many were left out, since they are the same.

    To be struck before a write is the same as to be struck after the one before it where nothing was asked of the platform
    between them.
    """
    run = KINDS[kind](*on.place(mode))
    run.begin()
    run.wait("the whole run", run.over)
    run.wait("its last write", lambda: _is_written(run))
    left = run.left()
    assert left == (0, 0, 0) and not run.acts, f"{kind} {mode}, struck by nothing: {left}, {run.acts}"
    begun = [line.split(" ", 1) for line in (run.folder / "begun").read_text().splitlines()]
    ended = [float(line.split()[1]) for line in (run.folder / "ended").read_text().splitlines()]
    calls = _calls(run)
    on.give_back(run, clean=True)
    cells, equal = [], 0
    for number, (at, name) in enumerate(begun, 1):
        asked = number == 1 or any(first < float(at) and last > ended[number - 2] for first, last in calls)
        cells += [Cell(kind, mode, number, name, "before")] if asked else []
        equal += not asked
        cells.append(Cell(kind, mode, number, name, "after"))
    return cells, equal


def _is_written(run: BlownRun) -> bool:
    """Whether the success callback, which comes after the end that Airflow knows of, has made its writes."""
    begun, ended = (len((run.folder / name).read_text().splitlines()) for name in ("begun", "ended"))
    return begun == ended and not lives(run.task()["pid"])


def _calls(run: BlownRun) -> list[tuple[float, float]]:
    """When each call to the platform was under way, by our own clock and a millisecond longer."""
    offset, now, spans = clock_offset(run.emulator), time.time(), []
    for one in run.emulator.requests():
        at = one["at"] / 1000
        at -= offset if at > now else 0
        spans.append((at, at + one["seconds"] + 0.002))
    return spans


def begin(on: Stage, cell: Cell) -> BlownRun:
    """Begin the run of a cell."""
    run = KINDS[cell.kind](*on.place(cell.mode))
    stop = f"{cell.when} {cell.number}" if cell.number else "before 0"
    run.begin(stop=stop, settle="1")
    return run


def stand(cell: Cell, run: BlownRun) -> int:
    """Wait until the run stands at its write; return the pid of its task's process, 0 while it is deferred."""

    def look() -> bool:
        if (run.folder / "stopped").exists():
            return True
        if cell.number == DEFERRED:
            # The triggerer has it: it has looked at the platform since.
            before.append(len(run.emulator.requests()))
            return before[0] < before[-1]
        over = run.writes_no_more()
        stands = (run.folder / "stopped").exists()
        assert stands or not over, "the run was over before that write"
        return stands

    before: list[int] = []
    if cell.number == DEFERRED:
        run.wait("the deferral", lambda: run.state_now() == "deferred")
    run.wait("the stop", look)
    if cell.number == DEFERRED:
        return 0
    lines = (run.folder / "begun").read_text().splitlines()
    name = lines[cell.number - 1].split(" ", 1)[1]
    assert name == cell.name, f"write {cell.number} is {name} now"
    return int((run.folder / "stopped").read_text())


def finish(run: BlownRun, pid: int) -> None:
    """Wait for the end, and for the old try to end, whose writes would come after it."""
    run.wait("the end", run.over)
    if pid:
        run.wait("the old try to end", lambda: not lives(pid), LAST_WORDS)


def struck_alone(on: Stage, cell: Cell, blow: str) -> Outcome:
    """Play a cell whose blow strikes it alone."""
    run = begin(on, cell)
    try:
        pid = stand(cell, run)
        on.strike_alone(blow, run, pid)
        finish(run, pid)
    except Exception as error:
        return _judged(on, run, error)
    return _judged(on, run)


def struck_together(on: Stage, cells: list[Cell], blow: str) -> Iterator[Outcome]:
    """Play a wave: all stand, one blow strikes them, all go on."""
    runs = list(side_by_side(lambda cell: begin(on, cell), cells, len(cells)))
    standing: dict[BlownRun, int] = {}
    errors: dict[BlownRun, Exception] = {}

    def until_it_stands(number: int) -> None:
        try:
            standing[runs[number]] = stand(cells[number], runs[number])
        except Exception as error:
            errors[runs[number]] = error

    def until_it_ends(run: BlownRun) -> Outcome:
        if run in errors:
            return _judged(on, run, errors[run])
        try:
            finish(run, standing[run])
            assert blow != STANDS_STILL or not run.canceled(), (
                f"{run.canceled()} cancelled, and nobody has stopped it"
            )
        except Exception as error:
            return _judged(on, run, error)
        return _judged(on, run)

    list(side_by_side(until_it_stands, list(range(len(runs))), len(runs)))
    on.strike_together(blow, standing)
    yield from list(side_by_side(until_it_ends, runs, len(runs)))
    on.sweep()


def _judged(on: Stage, run: BlownRun, error: Exception | None = None) -> Outcome:
    run.go()
    left, tries = run.left(), run.task()["try_number"]
    told = [in_short(error)] if error else []
    on.give_back(run, clean=error is None and left == (0, 0, 0))
    return Outcome(tries, left, "; ".join([*told, *run.acts]), error is None and left == (0, 0, 0))


def cells_of(on: Stage, chosen: argparse.Namespace) -> list[Cell]:
    """All cells that were asked for; what is left out as the same is told."""
    ways = [
        (kind, mode)
        for kind in chosen.kind or KINDS
        for mode in KINDS[kind].modes
        if not chosen.mode or mode in chosen.mode
    ]
    found: list[Cell] = []
    for (kind, mode), (cells, equal) in zip(
        ways, side_by_side(lambda way: whole_run(on, *way), ways, on.at_once), strict=True
    ):
        writes = max(cell.number for cell in cells)
        print(
            f"# {kind}, {mode}: {writes} writes; {equal} moments before a write are the same as after the last"
        )
        found += [Cell(kind, mode, DEFERRED, "(the task is deferred)", "while")] if mode == "deferred" else []
        found += cells
    return [
        cell
        for cell in found
        if (not chosen.write or cell.number in chosen.write) and (not chosen.when or cell.when in chosen.when)
    ]


def strikes(blow: str, cell: Cell, chosen: argparse.Namespace) -> bool:
    """Whether a blow can strike a cell: a run that is never deferred never meets a triggerer, unless it is asked for."""
    if cell.number == DEFERRED:
        return blow not in ALONE
    return cell.mode == "deferred" or "triggerer" not in blow or bool(chosen.mode and chosen.blow)


def outcomes(on: Stage, cells: list[Cell], blow: str) -> Iterator[tuple[Cell, Outcome]]:
    """Play all cells of a blow, side by side."""
    if blow in ALONE:
        yield from zip(
            cells, side_by_side(lambda cell: struck_alone(on, cell, blow), cells, on.at_once), strict=True
        )
        return
    for wave in itertools.batched(cells, on.at_once) if sys.version_info >= (3, 12) else _batched(cells, on):
        began = time.monotonic()
        yield from zip(wave, struck_together(on, list(wave), blow), strict=True)
        print(f"# a wave of {len(wave)} took {time.monotonic() - began:.0f} s", flush=True)


def _batched(cells: list[Cell], on: Stage) -> Iterator[tuple[Cell, ...]]:
    for first in range(0, len(cells), on.at_once):
        yield tuple(cells[first : first + on.at_once])


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--mode", choices=("sync", "deferred"), action="append")
    parser.add_argument("--blow", choices=BLOWS, action="append")
    parser.add_argument("--write", type=int, action="append", help="only the n-th write; 0: while deferred")
    parser.add_argument("--when", choices=("before", "after", "while"), action="append")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="runs under way at once")
    return parser.parse_args()


def main() -> int:
    """Print a row a blow; return 1 where anything was lost, doubled or leaked."""
    # An import that is made in this process tells what it does; the table stays readable.
    logging.disable(logging.WARNING)
    chosen = arguments()
    ways = [f"blown_{kind}_{mode}" for kind in chosen.kind or KINDS for mode in KINDS[kind].modes]
    rows, failed = 0, []
    with stage(ROOT, ways, chosen.at_once) as on:
        all_cells = cells_of(on, chosen)
        print(
            "# an apply has no deferred mode; a sync run never meets a triggerer, so none is struck by its blows"
        )
        print(HEAD, flush=True)
        for blow in chosen.blow or BLOWS:
            began, struck = time.monotonic(), [one for one in all_cells if strikes(blow, one, chosen)]
            for cell, outcome in outcomes(on, struck, blow):
                rows += 1
                print(row(cell, blow, outcome), flush=True)
                failed += [] if outcome.good else [again(cell, blow)]
            print(f"# {blow}: {len(struck)} blows in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{rows} blows, {len(failed)} with a fault")
    for line in failed:
        print(line)
    return 1 if failed or not rows else 0


def row(cell: Cell, blow: str, outcome: Outcome) -> str:
    """One row of the table."""
    write = f"{cell.number} {cell.name}"[:36]
    return ROW.format(
        cell.kind, write, cell.mode, cell.when, blow, outcome.tries, *outcome.left, outcome.told
    )


def again(cell: Cell, blow: str) -> str:
    """The command that plays a cell alone."""
    when = f"--write {cell.number} --when {cell.when}"
    return f"again: make crash{lane()} CRASH_ARGS='--kind {cell.kind} --mode {cell.mode} --blow \"{blow}\" {when}'"


if __name__ == "__main__":
    sys.exit(main())
