"""One of the tasks of a spread import killed at each write, stopped, cleared: each line once, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_task import DyingStore, Killed, MemoryStore, dies_at_outcome, killed_after, once, write_profiles
from spread_steps import Spread

from airflow_bulk.emulator.handle import Emulator


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("clears_discard", [False, True])
def test_killed_at_each_write_of_one_task(
    emulator: Emulator, tmp_path: Path, after: bool, clears_discard: bool
) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 400)
    survived = False
    for at in range(1, 60):
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        spread = Spread(tmp_path / "p.ndjson", 2, clears_discard=clears_discard)
        spread.before()
        store = DyingStore(at, after=after)
        one = spread.sender(1, store)
        try:
            one.run()
            survived = True
        except Killed:
            if one.state == "success":  # Airflow knew of it: nobody tries it again
                survived = True
            elif clears_discard and at % 3 == 0:
                one.clear()
        spread.send(0)
        if not survived:
            spread.send(1)
            assert spread.judge()["lines_accepted"] == 400, f"write {at}"
        assert emulator.held() == once(lines), f"write {at}"
        assert len(emulator.imports()) == 2, f"write {at}"
        if survived:
            break
    assert survived
    assert at > 10


def test_stopped_cancels_what_this_task_has_begun_and_nothing_else(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.settings(start_delay=3600, run_seconds=3600)
    write_profiles(tmp_path / "p.ndjson", 400)
    spread = Spread(tmp_path / "p.ndjson", 2)
    spread.before()
    for index in (0, 1):
        one = spread.sender(index, poll_interval=60)
        with killed_after(3.0, lambda one=one: one.operator.on_kill()):
            one.run()
        begun = {made["name"].partition(" [")[0]: made["id"] for made in emulator.imports()}
        mine = emulator.executions(begun[f"profiles ({index + 1} of 2)"])
        assert {execution["status"] for execution in mine} == {"CANCELED"}
        if not index:
            # Another group's is not touched by the next stop.
            emulator.settings(start_delay=0, run_seconds=0)
            spread.send(0)
            emulator.settings(start_delay=3600, run_seconds=3600)
    first = emulator.executions(begun["profiles (1 of 2)"])
    assert {execution["status"] for execution in first} == {"CANCELED", "SUCCEEDED"}


@pytest.mark.parametrize(("on_clear", "times"), [("import_again", 2), ("keep", 1)])
def test_a_clear_of_one_import_that_ended_well(
    emulator: Emulator, tmp_path: Path, on_clear: str, times: int
) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 400)
    spread = Spread(tmp_path / "p.ndjson", 2, on_clear=on_clear)
    spread.run()
    spread.sender(1).clear()
    spread.send(1)
    assert spread.judge()["lines_accepted"] == 400
    held_now = emulator.held()
    assert {held_now[line] for line in lines[:190]} == {1}
    assert {held_now[line] for line in lines[210:]} == {times}


def test_a_clear_of_the_whole_group_while_it_is_at_work_goes_on(emulator: Emulator, tmp_path: Path) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 400)
    spread = Spread(tmp_path / "p.ndjson", 2)
    spread.before()
    store = MemoryStore()
    store.set = dies_at_outcome(store, 1)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        spread.sender(1, store).run()
    spread.clear()
    assert spread.run()["lines_accepted"] == 400
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 2
