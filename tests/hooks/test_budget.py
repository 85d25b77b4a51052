"""The rate budget on a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.hooks.budget import LONGEST_HOLD, RateBudget, budget_for


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def departures(budget: RateBudget, clock: Clock, pauses: list[float]) -> list[float]:
    """When requests leave that come so many seconds after one another, each waiting as long as it is told."""
    left = []
    for pause in pauses:
        clock.now += pause
        left.append(clock.now + budget.reserve())
    return left


@given(st.integers(1, 6000), st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_no_minute_holds_more_than_agreed(limit: int, pauses: list[float]) -> None:
    clock = Clock()
    left = departures(RateBudget(limit, clock), clock, pauses)
    assert left == sorted(left)
    # A second's worth may leave at once; beyond it the pace is even.
    burst = max(1.0, limit / 60)
    for first in range(len(left)):
        for last in range(first, len(left)):
            assert last - first + 1 <= burst + 1 + (left[last] - left[first]) * limit / 60 + 1e-6


@given(st.integers(1, 600), st.floats(0, LONGEST_HOLD), st.integers(1, 50))
def test_nothing_leaves_before_the_platform_allows_it(limit: int, asked: float, count: int) -> None:
    clock = Clock()
    budget = RateBudget(limit, clock)
    budget.retry_after(asked)
    left = departures(budget, clock, [0.0] * count)
    assert min(left) >= clock.now + asked - 1e-6
    assert left == sorted(left)


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    assert departures(RateBudget(None, clock), clock, [0.0] * 100) == [5000.0] * 100


def test_whoever_has_no_patience_takes_no_place() -> None:
    clock = Clock()
    budget = RateBudget(60, clock)
    assert budget.reserve() == 0
    for _ in range(1000):
        assert budget.reserve(patience=0.1) == pytest.approx(1)
    assert budget.reserve() == pytest.approx(1)


def test_the_longer_wait_holds_and_ends() -> None:
    clock = Clock()
    budget = RateBudget(None, clock)
    budget.retry_after(100)
    budget.retry_after(10)
    assert budget.held == 100
    clock.now += 101
    assert (budget.held, budget.reserve()) == (0, 0)


def test_no_answer_silences_a_connection_for_ever() -> None:
    budget = RateBudget(None, Clock())
    budget.retry_after(10.0**12)
    assert budget.held == LONGEST_HOLD


def test_one_budget_a_connection() -> None:
    assert budget_for("one_of_its_kind", 60) is budget_for("one_of_its_kind", 60)
    assert budget_for("one_of_its_kind", 60) is not budget_for("another", 60)
