"""A task that an older version has begun is gone on with by today's: from any moment, with everything done exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from killed_runs import go_on
from one_task import AssetState, Killed, Task, dies_at_outcome, importing, once, write_profiles
from stored import Sample, brought_back, chosen
from taking import PLAIN

from airflow_bulk.emulator.handle import Emulator

#: Kinds whose next try does something again, and may say so: nothing keeps their results.
DONE_AGAIN = ("applies", "ensured_batches", "paused_batches")
#: Kinds that a clear makes begin anew, so that all of it is there twice.
CLEARED = ("imports", "batch_runs", "centrapay_batches", "delegated")
#: Kinds that die every day; the others do in ``make test-slow``.
EVERY_DAY = (*PLAIN, "records_of_a_function", "results", "seen")


@pytest.mark.parametrize("sample", chosen("died", EVERY_DAY))
def test_a_record_is_gone_on_with(sample: Sample, tmp_path: Path) -> None:
    """A retry finds the task's state; on Airflow 3.4 it was cleared, and the copy is found."""
    with brought_back(sample, tmp_path) as (one, kind, plain):
        go_on(one, kind, clear=plain["copy"] is not None)


@pytest.mark.parametrize(
    "sample", [one for one in chosen("died", CLEARED) if one.values[0].plain["copy"] is None]
)
def test_a_record_of_airflow_3_3_is_gone_on_with_on_3_4(sample: Sample, tmp_path: Path) -> None:
    """Package and Airflow are upgraded at once: the first try copies what the record holds, and then a clear loses nothing."""
    with brought_back(sample, tmp_path) as (one, kind, _):
        one.asset_state = AssetState()
        go_on(one, kind, clear=False)
        assert one.asset_state.values


@pytest.mark.parametrize("sample", chosen("ended", CLEARED))
def test_a_recorded_end_stands(sample: Sample, tmp_path: Path) -> None:
    """A retry after the end returns what the older version has recorded, and a clear begins the next generation."""
    with brought_back(sample, tmp_path) as (one, kind, plain):
        kind.heal()
        if plain["copy"] is None:
            result = one.run()
            kind.check(plain["numbers"]["ended"])
            assert result == plain["result"] or sample.kind in DONE_AGAIN
        if sample.kind in CLEARED:
            one.clear()
            one.run()
            kind.check(plain["numbers"]["ended"] + 1)


@pytest.mark.parametrize("change", ["longer", "state"])
def test_a_record_of_a_newer_version_sends_nothing(emulator: Emulator, tmp_path: Path, change: str) -> None:
    """An older worker, in the middle of an upgrade: its try fails and sends nothing; a retry on a newer one goes on."""
    good = write_profiles(tmp_path / "p.ndjson", 300)
    one = Task(importing(tmp_path / "p.ndjson"))
    one.store.set = dies_at_outcome(one.store, 1)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        one.run()
    written = one.store.values["g1.parts.0"]
    rows = one.store.get("g1.parts.0")
    one.store.set("g1.parts.0", [[*row, "new"] if change == "longer" else _with_state(row) for row in rows])
    sent = emulator.held_totals()
    with pytest.raises(AirflowException, match="cannot read: a worker with another version"):
        one.run()
    assert emulator.held_totals() == sent
    one.store.values["g1.parts.0"] = written
    one.run()
    assert emulator.held() == once(good)


def _with_state(row: list[Any]) -> list[Any]:
    *facts, _, executions, given_up = row
    return [*facts, "unheard of", executions, given_up]
