"""The clock, pure: it never runs back, stands while frozen, and is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.emulator.clock import Clock


class Memory:
    """What the database keeps, without one."""

    def __init__(self):
        self.kept = {}

    def remember(self, key, value):
        self.kept[key] = value

    def recall(self, key):
        return self.kept.get(key)


class Real:
    """A stand-in for real time."""

    def __init__(self):
        self.seconds = 1_900_000_000.0

    def __call__(self):
        return self.seconds


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["real", "advance", "freeze", "resume", "restart"]), st.integers(0, 10_000_000)
    ),
    max_size=30,
)


@given(STEPS)
def test_the_clock_follows_its_rules(steps):
    memory, real = Memory(), Real()
    clock = Clock(memory, real)
    expected, frozen = clock.now(), False
    for step, number in steps:
        if step == "real":
            real.seconds += number
            expected += 0 if frozen else number * 1000
        elif step == "advance":
            clock.advance(number)
            expected += number * 1000
        elif step == "freeze":
            clock.freeze()
            frozen = True
        elif step == "resume":
            clock.resume()
            frozen = False
        else:
            clock = Clock(memory, real)
        assert clock.now() == expected
        assert clock.state()["frozen"] is frozen


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
def test_it_never_goes_back(seconds):
    clock = Clock(Memory(), Real())
    with pytest.raises(ValueError, match="forward"):
        clock.advance(seconds)


def test_reset_is_real_time():
    real = Real()
    clock = Clock(Memory(), real)
    clock.freeze()
    clock.advance(5)
    clock.reset()
    assert clock.state() == {"now": int(real.seconds * 1000), "frozen": False, "offset": 0.0}
