"""Random files, faults and blows of four fixed seeds (``make chaos`` plays more): each line is held exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from file_server import FileServer
from run_chaos import DAGS, KINDS, Plan, play, row
from stage import ALONE, Stage, side_by_side

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

#: Every kind but the plain import, both modes, gz and plain, overlap, a clear, lost answers; no blow to a component that other tests need.
SEEDS = (6, 61, 25, 44)


@pytest.fixture
def on(airflow_stack: AirflowStack, tmp_path: Path) -> Iterator[Stage]:
    with FileServer() as files:
        stage = Stage(airflow_stack, tmp_path, files, len(SEEDS))
        try:
            stage.open(DAGS)
            yield stage
        finally:
            stage.close()


def test_each_good_line_once(on: Stage) -> None:
    plans = [Plan.of(seed) for seed in SEEDS]
    assert {plan.blow for plan in plans} == {"", *ALONE}
    assert set(KINDS) - {plan.kind for plan in plans} == {"import"}, (
        "the plain import has no more than the others have"
    )
    assert {plan.mode for plan in plans} == {"sync", "deferred"}
    outcomes = list(side_by_side(lambda plan: play(on, plan), plans, len(plans)))
    for plan, outcome in zip(plans, outcomes, strict=True):
        assert outcome.good, row(plan, outcome)


def test_a_plan_follows_from_its_seed_alone() -> None:
    assert Plan.of(7) == Plan.of(7)
    assert len({str(Plan.of(seed)) for seed in range(50)}) > 30
