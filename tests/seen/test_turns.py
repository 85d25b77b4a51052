"""Two or three imports that choose their files at once, in every order of reads and writes: one takes each file."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interleaving import Instance, Try, World

FILES = ["a", "b"]
#: Steps of a schedule; what is left after it goes on in turns, so that every import comes to an end.
SCHEDULE = st.lists(st.integers(0, 5), max_size=150)
#: Whether the imports are of one task, or of as many.
TASKS = st.sampled_from([("t", "t", "t"), ("t", "u", "v"), ("t", "u", "t")])
#: What happens to a try before which of its steps: it dies, or Airflow takes it for dead and begins the next one.
BLOWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 60), st.sampled_from(["killed", "superseded", "killed for good"])
    ),
    max_size=3,
)
#: More than any schedule needs: an import that waits for ever is found out.
LONG = 20_000


class Play:
    """A schedule, played to its end."""

    def __init__(self, count: int, tasks: tuple[str, ...]) -> None:
        # The runs' names give their order: the one who begins is now before, now behind the others.
        self.world = World([(tasks[n], f"r{n}", FILES) for n in range(count)])
        self.steps: Counter[tuple[int, int]] = Counter()

    def play(self, schedule: list[int], blows: list[tuple[int, int, str]]) -> None:
        instances = self.world.instances
        for one in instances:
            one.begin()
        turns = itertools.chain(schedule, itertools.cycle(range(6)))
        for _ in range(LONG):
            alive = self.world.alive()
            if not alive:
                return
            one = alive[next(turns) % len(alive)]
            instance = next(each for each in instances if one in each.tries)
            self._step(instance, one, blows)
        pytest.fail(f"somebody waits for ever: {str(self.world.values)[:2000]}")

    def _step(self, instance: Instance, one: Try, blows: list[tuple[int, int, str]]) -> None:
        number = self.world.instances.index(instance)
        place = (number, one.number)
        self.steps[place] += 1
        if one.number == 1 and (
            blow := next((b for b in blows if b[:2] == (number, self.steps[place])), None)
        ):
            self._strike(instance, one, blow[2])
        self.world.stage.let(one)

    def _strike(self, instance: Instance, one: Try, how: str) -> None:
        if instance.state != "running":
            return
        one.dead = how != "superseded"
        if how == "killed for good":
            instance.state = "failed"
        else:
            instance.begin()

    @property
    def sent(self) -> Counter[str]:
        """Of each file, how many imports have sent it: those that failed for good have brought nothing."""
        return Counter(name for one in self.world.instances if one.state != "failed" for name in one.sent)


@given(st.integers(2, 3), TASKS, SCHEDULE)
@settings(max_examples=150, deadline=None)
def test_one_import_takes_each_file(count: int, tasks: tuple[str, ...], schedule: list[int]) -> None:
    play = Play(count, tasks)
    play.play(schedule, [])
    assert play.sent == Counter(FILES)
    assert {one.state for one in play.world.instances} == {"success"}
    assert not [error for one in play.world.instances for each in one.tries if (error := each.error)]


@given(st.integers(2, 3), TASKS, SCHEDULE, BLOWS)
@example(2, ("t", "u", "v"), [0, 0, 1, 1, 1, 1], [(0, 46, "killed")])
@settings(max_examples=200, deadline=None)
def test_also_where_tries_die_or_live_on_too_long(
    count: int, tasks: tuple[str, ...], schedule: list[int], blows: list[tuple[int, int, str]]
) -> None:
    play = Play(count, tasks)
    play.play(schedule, blows)
    assert all(times == 1 for times in play.sent.values())
    errors = [each.error for one in play.world.instances for each in one.tries if each.error]
    assert all(isinstance(error, BrokenPipeError) for error in errors), errors
    # Whoever ended well has sent what it has chosen, and left nothing of its claim.
    for one in play.world.instances:
        if one.state == "success":
            assert one.sent == set(one.chosen or ())
    known = {key.removeprefix("known.") for key in play.world.values if key.startswith("known.")}
    assert set(play.sent) <= known


@pytest.mark.parametrize("at", range(1, 45))
@pytest.mark.parametrize("how", ["killed", "superseded", "killed for good"])
def test_one_dies_at_each_step_while_the_other_waits(at: int, how: str) -> None:
    play = Play(2, ("t", "t"))
    play.play([0] * 45 + [1] * 45, [(0, at, how)])
    assert all(times == 1 for times in play.sent.values())


@given(st.integers(2, 3), st.lists(st.integers(0, 5), max_size=60))
@settings(max_examples=100, deadline=None)
def test_tasks_that_begin_at_once_are_all_registered(count: int, schedule: list[int]) -> None:
    play = Play(count, ("t", "u", "v"))
    play.play(schedule, [])
    tasks = {value for key, value in play.world.values.items() if key.endswith(".task")}
    assert tasks == {f'["dag", "{task}"]' for task in ("t", "u", "v")[:count]}
