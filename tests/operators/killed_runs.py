"""A run that dies at any write of its record, and goes on: what dies, what goes on, and what a kind of run has to say of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import record_writes
from airflow.sdk.exceptions import TaskDeferred
from one_task import AssetState, Killed, MemoryStore, Task


class Death:
    """Dies at one write of any store, before or after it counts; at none where ``at`` is 0.

    :ivar lines: of the code that every write so far came from.
    :ivar first: the first write of each place in the code, to the state and to the copy.
    :ivar copies: the writes that went to the copy.
    :ivar unknown: writes that come from no place that the search in the code has found.
    """

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at, self.after, self.writes = at, after, 0
        self.lines: set[tuple[Path, int]] = set()
        self.first: dict[tuple[str, tuple[Path, int] | None], int] = {}
        self.copies: set[int] = set()
        self.unknown: list[str] = []

    def copy(self, write: Callable[..., None], key: str, *value: Any) -> None:
        """A write to the copy: the task state's follows at once, so to die after the one is to die before the other."""
        self._count(record_writes.lines_on_the_stack(), "copy")
        self.copies.add(self.writes)
        if self.writes == self.at:
            raise Killed
        write(key, *value)

    def _count(self, stack: list[tuple[Path, int]], what: str) -> None:
        self.writes += 1
        self.lines |= set(stack)
        outside = next((line for line in stack if line[0] not in record_writes.RECORD), None)
        self.first.setdefault((what, outside), self.writes)

    def moments(self, *, every: bool) -> list[tuple[int, bool]]:
        """When to die: before and after a write.

        :param every: at every write, else at the first one of each place in the code.
        """
        numbers = range(1, self.writes + 1) if every else sorted(self.first.values())
        return [(at, after) for at in numbers for after in (False, True) if not (after and at in self.copies)]

    def write(self, write: Callable[..., None], key: str, *value: Any) -> None:
        stack = record_writes.lines_on_the_stack()
        outside = next((line for line in stack if line[0] not in record_writes.RECORD), None)
        if outside and not record_writes.reached({outside}) and not record_writes.is_read(stack):
            self.unknown.append(f"{outside[0].name}:{outside[1]} writes {key}")
        self._count(stack, "state")
        if self.writes == self.at and not self.after:
            raise Killed
        write(key, *value)
        if self.writes == self.at:
            raise Killed


class MortalTask(Task):
    """One task instance whose stores are mortal; a deferral is followed by its end, in the same try unless it was cleared.

    :param clears_discard: a clear deletes the task state, as from Airflow 3.4 on.
    :param meanwhile: what happens while it is deferred.
    :ivar ended: how often Airflow has heard of a success.
    """

    def __init__(
        self, make: Any, death: Death, *, clears_discard: bool, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(make, clears_discard=clears_discard)
        self.meanwhile, self.ended = meanwhile, 0

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
    """

    make: Callable[[], Any]
    check: Callable[[int], None]
    steps: list[Callable[[MortalTask], Any]] = field(default_factory=lambda: [MortalTask.run])
    meanwhile: Callable[[], None] = lambda: None
    heal: Callable[[], None] = lambda: None
    asks: str = ""
    asked: Callable[[], None] = lambda: None


def play(kind: Kind, death: Death, *, clear: bool, clears_discard: bool) -> bool:
    """Play a kind of run to its death, let the next try go on, and check; return whether it died.

    :param clear: a person clears the task before the next try.
    """
    one = MortalTask(kind.make, death, clears_discard=clears_discard, meanwhile=kind.meanwhile)
    try:
        for step in kind.steps:
            step(one)
    except Killed:
        if one.state != "success":
            _go_on(one, kind, clear=clear)
            return True
        # Airflow knows of the success: there is no next try, and a clear would rightly do the work again.
        kind.check(one.ended)
        return True
    kind.check(one.ended)
    return False


def _go_on(one: MortalTask, kind: Kind, *, clear: bool) -> None:
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
