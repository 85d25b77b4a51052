"""Random files, faults and blows of three fixed seeds (``make chaos`` plays more): each line is held exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from run_chaos import Plan, play, row
from run_crash import ALONE
from stage import Stage, emulated

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

#: Both modes, gz and plain, overlap, a clear, lost answers; no blow to a component that other tests need.
SEEDS = (17, 28, 52)


@pytest.fixture
def on(airflow_stack: AirflowStack, tmp_path: Path) -> Iterator[Stage]:
    with emulated(airflow_stack) as platforms:
        yield Stage(airflow_stack, platforms, tmp_path)


def test_each_good_line_once(on: Stage) -> None:
    plans = [Plan.of(seed) for seed in SEEDS]
    assert {plan.blow for plan in plans} <= {"", *ALONE}
    with ThreadPoolExecutor(len(plans)) as pool:
        outcomes = list(pool.map(lambda plan: play(on, plan), plans))
    for plan, (result, counts, wrong) in zip(plans, outcomes, strict=True):
        assert counts == (0, 0, 0) and not wrong, row(plan, result, counts, wrong)


def test_a_plan_follows_from_its_seed_alone() -> None:
    assert Plan.of(7) == Plan.of(7)
    assert len({str(Plan.of(seed)) for seed in range(50)}) > 30
