"""A run that dies at any write of its record, and goes on: what dies, what goes on, and what a kind of run has to say of itself.

It dies in this process: an exception that nobody catches ends the try, and cuts what is being sent. Real SIGKILLs of real
processes are in ``tests/crash``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import record_writes
from airflow.sdk.exceptions import TaskDeferred
from one_task import AssetState, Killed, MemoryStore, Task

if TYPE_CHECKING:
    from killed_world import World


class Death:
    """Dies at one write of any store, before or after it counts; at none where ``at`` is 0.

    :param situation: all that tells two moments apart but for the record, or None while something is under way; asked only
        where nobody dies.
    :ivar lines: of the code that every write so far came from.
    :ivar unknown: writes that come from no place that the search in the code has found.
    """

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at, self.after, self.writes = at, after, 0
        self.situation: Callable[[], Any] = lambda: None
        self.lines: set[tuple[Path, int]] = set()
        self.unknown: list[str] = []
        self._copies: set[int] = set()
        self._way: list[Any] = []
        self._found: dict[int, Any] = {}
        self._left: dict[int, Any] = {}

    def copy(self, write: Callable[..., None], key: str, *value: Any) -> None:
        """A write to the copy: the task state's follows at once, so to die after the one is to die before the other."""
        self._count(record_writes.lines_on_the_stack(), "copy")
        self._copies.add(self.writes)
        if self.writes == self.at:
            raise Killed
        write(key, *value)

    def write(self, write: Callable[..., None], key: str, *value: Any) -> None:
        """A write to the task's state."""
        stack = record_writes.lines_on_the_stack()
        outside = _outside(stack)
        if outside and not record_writes.reached({outside}) and not record_writes.is_read(stack):
            self.unknown.append(f"{outside[0].name}:{outside[1]} writes {key}")
        self._count(stack, "state")
        if self.writes == self.at and not self.after:
            raise Killed
        write(key, *value)
        if self.writes == self.at:
            raise Killed
        if not self.at:
            self._left[self.writes] = self.situation()

    def _count(self, stack: list[tuple[Path, int]], what: str) -> None:
        self.writes += 1
        self.lines |= set(stack)
        if not self.at:
            self._found[self.writes] = found = self.situation()
            self._way.append((what, stack[0], _outside(stack), found))

    def moments(self, *, every: bool, discarded: bool, like: Death | None) -> list[tuple[int, bool]]:
        """When to die: before and after a write, but not twice where the record that counts and all else are the same.

        :param every: at every write, else at the first one of each place in the code.
        :param discarded: only the copies count then.
        :param like: another kind of run, which dies at every write: not at what was the same up to there.
        """
        shared = self._shared(like) if like else 0
        numbers = range(1, self.writes + 1) if every else self._first_of_each_place(shared)
        chosen: dict[Any, tuple[int, bool]] = {}
        for at in numbers:
            copied = sum(one <= at for one in self._copies)
            before, after = (copied - (at in self._copies), copied) if discarded else (at - 1, at)
            if at > shared:
                chosen.setdefault((before, self._found[at] or (at, False)), (at, False))
            if at in self._copies:  # after a write to the copy is before the one to the state
                continue
            if not (like and at <= shared and self._left[at] == like._left[at]):
                chosen.setdefault((after, self._left[at] or (at, True)), (at, True))
        return list(chosen.values())

    def _first_of_each_place(self, shared: int) -> list[int]:
        """The first write that each place in the code makes to the state, and to the copy, after so many writes."""
        first: dict[Any, int] = {}
        for number, (what, _, outside, _) in enumerate(self._way, 1):
            if number >= shared:
                first.setdefault((what, outside), number)
        return list(first.values())

    def _shared(self, other: Death) -> int:
        """How many writes were the same, and came in the same situation."""
        pairs = list(zip(self._way, other._way, strict=False))
        return next((number for number, (one, two) in enumerate(pairs) if one != two), len(pairs))


def _outside(stack: list[tuple[Path, int]]) -> tuple[Path, int] | None:
    return next((line for line in stack if line[0] not in record_writes.RECORD), None)


class MortalTask(Task):
    """One task instance whose stores are mortal; a deferral is followed by its end, in the same try unless it was cleared.

    :param clears_discard: a clear deletes the task state, as from Airflow 3.4 on.
    :param meanwhile: what happens while it is deferred.
    :ivar ended: how often Airflow has heard of a success.
    :ivar deferrals: how often it was deferred.
    """

    def __init__(
        self, make: Any, death: Death, *, clears_discard: bool, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(make, clears_discard=clears_discard)
        self.meanwhile, self.ended, self.deferrals = meanwhile, 0, 0

        class TaskState(MemoryStore):
            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                death.write(super().set, key, value)

        class Copies(AssetState):
            def set(self, key: str, value: Any) -> None:
                death.copy(super().set, key, value)

            def delete(self, key: str) -> None:
                death.copy(super().delete, key)

        self.store = TaskState()
        if clears_discard:
            self.asset_state = Copies()

    def run(self, **params: Any) -> Any:
        clears = self.clear_number
        try:
            result = super().run(**params)
        except TaskDeferred:
            self.meanwhile()
            self.deferrals += 1
            self.try_number -= self.clear_number == clears  # a clear begins another try
            return self.run(**params)
        except Killed:
            self.ended += self.state == "success"
            raise
        self.ended += 1
        return result


@dataclass
class Kind:
    """One kind of run, in one set of circumstances.

    :param make: builds the operator.
    :param check: asserts that the platform holds what so many ends of the work leave there, and that nothing runs.
    :param steps: what happens to the task; any of them may die.
    :param meanwhile: what happens while it is deferred.
    :param heal: the circumstances end; called before the try after the death.
    :param asks: words of the error that asks a person where the platform cannot tell; none: it always can.
    :param asked: asserts that nothing is doubled after that error.
    :param like: the kind of run that it is until its own circumstances begin; that one dies at every write.
    :param varies: two workers end in no fixed order, and so one play may make a few writes less than another.
    """

    make: Callable[[], Any]
    check: Callable[[int], None]
    steps: list[Callable[[MortalTask], Any]] = field(default_factory=lambda: [MortalTask.run])
    meanwhile: Callable[[], None] = lambda: None
    heal: Callable[[], None] = lambda: None
    asks: str = ""
    asked: Callable[[], None] = lambda: None
    varies: bool = False
    like: Named | None = None


Named = Callable[["World"], Kind]


def play(named: Named, world: World, death: Death, *, clear: bool, clears_discard: bool) -> bool:
    """Play a kind of run to its death, let the next try go on, and check; return whether it died.

    :param clear: a person clears the task before the next try.
    """
    kind = named(world)
    one = MortalTask(kind.make, death, clears_discard=clears_discard, meanwhile=kind.meanwhile)
    death.situation = lambda: _situation(one, world)
    try:
        for step in kind.steps:
            step(one)
    except Killed:
        if one.state != "success":
            go_on(one, kind, clear=clear)
            return True
        # Airflow knows of the success: there is no next try, and a clear would rightly do the work again.
        kind.check(one.ended)
        return True
    kind.check(one.ended)
    return False


def _situation(one: MortalTask, world: World) -> Any:
    acts = [call for call in world.emulator.requests() if call["method"] != "GET"]
    if not all(call["done"] for call in acts):
        return None
    files = frozenset(str(path.relative_to(world.folder)) for path in world.folder.rglob("*"))
    return len(acts), one.deferrals, one.try_number, one.clear_number, one.state, files


#: The plays to the end so far, by kind and whether a clear deletes the task state.
_whole: dict[tuple[str, bool], Death] = {}


def whole(named: Named, worlds: Callable[[], World], *, discard: bool) -> Death:
    """Play a kind of run to its end, once in this process; return what was written, and where."""
    key = named.__name__, discard
    if key not in _whole:
        death = Death()
        assert not play(named, worlds(), death, clear=False, clears_discard=discard)
        _whole[key] = death
    return _whole[key]


def die_everywhere(
    named: Named, worlds: Callable[[], World], *, every: bool, clear: bool, discard: bool
) -> None:
    """Die at the writes of a kind of run, each time in a new world, and go on.

    :param every: at every write, else at the first one of each place in the code.
    :param clear: a person clears the task before it goes on.
    :param discard: a clear deletes the task state.
    """
    kind = named(worlds())
    like = whole(kind.like, worlds, discard=discard) if kind.like else None
    moments = whole(named, worlds, discard=discard).moments(
        every=every, discarded=clear and discard, like=like
    )
    died = [
        play(named, worlds(), Death(at, after=after), clear=clear, clears_discard=discard)
        for at, after in moments
    ]
    assert len(died) >= 2
    assert died.count(False) <= (4 if kind.varies else 0)


def go_on(one: MortalTask, kind: Kind, *, clear: bool) -> None:
    """Let the circumstances end, the next try go on, and check what the platform holds.

    :param clear: a person clears the task before.
    """
    kind.heal()
    if clear:
        one.clear()
    try:
        one.run()
    except Exception as error:
        if not kind.asks or kind.asks not in str(error):
            raise
        kind.asked()
        with contextlib.suppress(type(error)):
            one.run()  # asked again, it does nothing either
        kind.asked()
        return
    kind.check(one.ended)
