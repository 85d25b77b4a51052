"""The rate budget on a clock of its own."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.hooks.limits.rate import (
    LONGEST_HOLD,
    ON_THE_WAY,
    RateBudget,
    budget_for,
    reserve_bytes,
)
from airflow_bulk.hooks.limits.store import ProcessStore


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def budget_on(clock: Clock, limit: int | None) -> RateBudget:
    return RateBudget(limit, ProcessStore(clock))


def departures(budget: RateBudget, clock: Clock, pauses: list[float]) -> list[float]:
    """When requests leave that come so many seconds after one another, each waiting as long as it is told."""
    left = []
    for pause in pauses:
        clock.now += pause
        left.append(clock.now + budget.reserve().wait)
    return left


@given(
    st.integers(1, 6000),
    st.lists(st.floats(0, 100), min_size=1, max_size=200),
    st.lists(st.floats(0, ON_THE_WAY), min_size=200, max_size=200),
)
def test_no_minute_holds_more_than_agreed(limit: int, pauses: list[float], on_the_way: list[float]) -> None:
    clock = Clock()
    left = departures(budget_on(clock, limit), clock, pauses)
    assert left == sorted(left)
    # However the network shifts them, by up to a second.
    arrived = sorted(time + late for time, late in zip(left, on_the_way, strict=False))
    for first, begin in enumerate(arrived):
        assert sum(time < begin + 60 - 1e-6 for time in arrived[first:]) <= limit


@pytest.mark.parametrize("limit", [1, 5, 59, 60, 61, 200, 600])
def test_a_busy_minute_holds_nearly_all_of_it(limit: int) -> None:
    clock = Clock()
    left = departures(budget_on(clock, limit), clock, [0.0] * (2 * limit + 1))
    in_a_minute = max(sum(begin <= time < begin + 60 for time in left) for begin in left)
    assert limit * 58 / 60 - 1 <= in_a_minute <= limit


@given(st.integers(1, 600), st.floats(0, LONGEST_HOLD), st.integers(1, 50))
def test_nothing_leaves_before_the_platform_allows_it(limit: int, asked: float, count: int) -> None:
    clock = Clock()
    budget = budget_on(clock, limit)
    budget.retry_after(asked)
    left = departures(budget, clock, [0.0] * count)
    assert min(left) >= clock.now + asked - 1e-6
    assert left == sorted(left)


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    assert departures(budget_on(clock, None), clock, [0.0] * 100) == [5000.0] * 100


def test_whoever_has_no_patience_takes_no_place() -> None:
    clock = Clock()
    budget = budget_on(clock, 60)
    assert budget.reserve() == (0, True)
    for _ in range(1000):
        wait, taken = budget.reserve(patience=0.1)
        assert not taken
        assert 0.1 < wait < 2
    assert budget.reserve() == (pytest.approx(wait), True)


def test_whoever_does_not_wait_for_the_platform_takes_no_place() -> None:
    clock = Clock()
    budget = budget_on(clock, 60)
    budget.retry_after(100)
    assert budget.reserve(longest_hold=99) == (100, False)
    assert budget.reserve(longest_hold=101) == (100, True)


def test_the_longer_wait_holds_and_ends() -> None:
    clock = Clock()
    budget = budget_on(clock, None)
    budget.retry_after(100)
    budget.retry_after(10)
    assert budget.held == 100
    clock.now += 101
    assert (budget.held, budget.reserve()) == (0, (0, True))


def test_no_answer_silences_a_connection_for_ever() -> None:
    budget = budget_on(Clock(), None)
    budget.retry_after(10.0**12)
    assert budget.held == LONGEST_HOLD


def test_a_clock_that_went_back_holds_nobody_back() -> None:
    clock = Clock()
    budget = budget_on(clock, 60)
    clock.now = 10.0**9
    budget.reserve()
    waited = budget.reserve().wait
    budget.retry_after(50)
    clock.now = 5000.0
    assert budget.held == pytest.approx(50)
    clock.now += 50
    assert budget.held == 0
    assert budget.reserve().wait <= waited + 2


def test_a_queue_of_more_than_an_hour_takes_no_more(clock: Clock) -> None:
    budget = budget_on(clock, 1)
    places = [budget.reserve() for _ in range(100)]
    taken = [place.wait for place in places if place.taken]
    assert 58 <= len(taken) <= 60
    assert taken == sorted(taken)
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(taken))
    assert all(place.wait > LONGEST_HOLD for place in places if not place.taken)


def test_who_has_no_time_takes_a_place_before_those_who_wait(clock: Clock) -> None:
    budget = budget_on(clock, 60)
    waits = [budget.reserve().wait for _ in range(10)]
    assert budget.reserve_at_once(1.0, 2.0) == (0, True)
    assert budget.reserve().wait >= waits[-1] + 2
    budget.retry_after(3)
    assert budget.reserve_at_once(1.0, 2.0) == (3, False)
    assert budget.reserve_at_once(1.0, 5.0) == (3, True)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 10**6)), min_size=1, max_size=50))
def test_bytes_never_run_ahead_of_their_rate(blocks: list[tuple[float, int]]) -> None:
    clock = Clock()
    store = ProcessStore(clock)
    begun, sent = clock.now, 0
    for pause, count in blocks:
        clock.now += pause
        leaves = clock.now + reserve_bytes(store, "bytes", count, 1e5)
        sent += count
        assert sent <= (leaves - begun) * 1e5 + 1e-3


def test_one_budget_a_connection() -> None:
    assert budget_for(("one_of_its_kind",), 60) is budget_for(("one_of_its_kind",), 60)
    assert budget_for(("one_of_its_kind",), 60) is not budget_for(("another",), 60)
