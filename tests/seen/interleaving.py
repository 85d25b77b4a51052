"""Imports of one ledger, one step at a time: a schedule says who makes the next read or write, and who dies at which.

Each try is a thread that waits for its turn before every call of a store and every question to Airflow. So a schedule, a
list of small numbers, is one interleaving, and the same list is the same interleaving again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from airflow_bulk.runs.seen.turns import Place, Turns


class Dead(BaseException):
    """SIGKILL: nothing of this try happens any more."""


class Stage:
    """Lets one thread make one step at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._may: Try | None = None
        self.current = threading.local()

    def step(self) -> None:
        """Wait until this thread may go on; the caller then makes one read or write."""
        one: Try = self.current.one
        with self._changed:
            one.waits = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._may is one)
            self._may = None
            one.waits = False
            if one.dead:
                raise Dead

    def let(self, one: Try) -> None:
        """Let a try make its next step, and wait until it stands before the one after that, or is over."""
        with self._changed:
            self._may = one
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._may is None and (one.waits or one.over))

    def begin(self, one: Try, work: Callable[[], None]) -> None:
        def run() -> None:
            self.current.one = one
            try:
                work()
            except Dead:
                pass
            except Exception as error:
                one.error = error
            with self._changed:
                one.over = True
                self._changed.notify_all()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        with self._changed:
            self._changed.wait_for(lambda: one.waits or one.over)


class Try:
    """One attempt of a task instance."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waits = self.over = self.dead = self.superseded = False
        self.error: Exception | None = None


class Instance:
    """A task instance over its tries."""

    def __init__(self, world: World, place: Place, wants: list[str]) -> None:
        self.world, self.place, self.wants = world, place, wants
        self.state = "queued"
        self.tries: list[Try] = []
        #: What its record holds: what was chosen, and what the claim says of it.
        self.chosen: list[str] | None = None
        self.held = (0, 0)
        self.sent: set[str] = set()

    def begin(self) -> Try:
        for former in self.tries:
            former.superseded = True
        one = Try(len(self.tries) + 1)
        self.tries.append(one)
        self.state = "running"
        self.world.stage.begin(one, lambda: self._work(one))
        return one

    def _fenced(self, one: Try) -> None:
        """A write into the task's own state."""
        self.world.stage.step()
        if one.superseded:
            raise BrokenPipeError("a newer try exists")

    def _work(self, one: Try) -> None:
        """What an import does, as far as others are concerned."""
        world = self.world
        turns = Turns(
            world.store,
            "ledger",
            self.place,
            life=f"life-{self.place.run_id}",
            try_number=one.number,
            states=world.states,
            held=self.held,
            sleep=lambda seconds: None,
        )
        turns.settle()
        with turns.turn():
            held = turns.held_by_others()
            # What this instance itself has brought is no conflict: an earlier try was killed between two entries.
            known = {
                name
                for name in self.wants
                if world.store.get(f"known.{name}") not in (None, self.place.run_id)
            }
            if self.chosen is None:
                taken = [name for name in self.wants if name not in known and name not in held]
            else:
                taken = self.chosen
                if known & set(taken) or set(held) & set(taken):
                    raise ValueError("taken by another import")
            turns.hold(taken)
        self._fenced(one)
        self.chosen, self.held = taken, turns.held
        if not turns.is_running():
            return
        for name in taken:
            self._fenced(one)  # the commit
            self.sent.add(name)
        self._fenced(one)
        for name in taken:
            world.store.set(f"known.{name}", self.place.run_id)
        self._fenced(one)  # the end
        self.state = "success"
        turns.leave()


class World:
    """The stores and Airflow's states."""

    def __init__(self, instances: list[tuple[str, str, list[str]]]) -> None:
        self.stage = Stage()
        self.values: dict[str, str] = {}
        self.store = SimpleNamespace(get=self._get, set=self._set, delete=self._delete)
        self.instances = [
            Instance(self, Place("dag", task_id, run_id, -1), wants) for task_id, run_id, wants in instances
        ]

    def _get(self, key: str, default: Any = None) -> Any:
        self.stage.step()
        return json.loads(self.values[key]) if key in self.values else default

    def _set(self, key: str, value: Any) -> None:
        self.stage.step()
        self.values[key] = json.dumps(value)

    def _delete(self, key: str) -> None:
        self.stage.step()
        self.values.pop(key, None)

    def states(self, dag_id: str, task_id: str, run_id: str | None) -> dict[str, dict[str, str | None]]:
        self.stage.step()
        return {
            one.place.run_id: {task_id: one.state}
            for one in self.instances
            if one.place.task_id == task_id and run_id in (None, one.place.run_id)
        }

    def alive(self) -> list[Try]:
        return [one for each in self.instances for one in each.tries if not one.over]
