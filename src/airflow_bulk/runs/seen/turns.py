"""One import at a time chooses its files, though all that imports share is a store of plain reads and writes.

Three pieces, each of which rests on reads and writes alone (ARCHITECTURE.md section 5.10):

* **The register** of tasks that use a ledger: a tree of slots. Two keys of each let at most one of any number of tasks in (the
  splitter of Lamport's fast mutual exclusion, in the tree of Moir and Anderson), and only that one writes its name there.
* **The turn.** The one-bit algorithm of Burns and Lamport: raise a flag, look at the flags of all others, step back for
  those before us, wait for those behind us. Airflow tells who the others are: the task instances of the registered tasks. A
  flag of an instance that nothing executes means nothing.
* **The claim.** What an unfinished import holds. Each try writes keys of its own, so that a superseded one writes over
  nothing; of the tries of an instance the newest that has written counts.

A superseded try may raise a flag, or hold files, in its own keys. It harms nobody: before anything is sent the task's own
state is written, and that write is refused to it.
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from airflow.sdk.exceptions import AirflowException

from airflow_bulk.runs.record_copy import identity_hash
from airflow_bulk.runs.seen.ledger import pages

if TYPE_CHECKING:
    from airflow_bulk.runs.record_copy import KeyValueStore

log = logging.getLogger(__name__)

#: States of a task instance that is over: it holds nothing any more.
OVER = frozenset(["success", "failed", "skipped", "upstream_failed", "removed"])
#: States in which a process may be at work.
EXECUTING = frozenset(["running", "restarting"])
#: Seconds between two looks at who is before us; and how long we wait for one import that chooses its files.
FIRST_PAUSE, LONGEST_PAUSE, PATIENCE = 0.1, 2.0, 600.0

#: Dag, task and run (None: all of them) -> run -> name of the instance, as Airflow's ``get_task_states`` has it -> state.
States = Callable[[str, str, str | None], dict[str, dict[str, str | None]]]


class Place(NamedTuple):
    """A task instance."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int

    def __str__(self) -> str:
        mapped = f", map index {self.map_index}" if self.map_index >= 0 else ""
        return f"DAG {self.dag_id}, task {self.task_id}, run {self.run_id}{mapped}"


class Claim(msgspec.Struct, frozen=True):
    """What a try of an import says to the others.

    :param asks: it wants to choose its files, or is choosing them.
    :param tried: the try that has written what is held.
    :param count: pages of what is held.
    """

    asks: bool
    tried: int = 0
    count: int = 0


class Turns:
    """The imports of one ledger, seen by one try of one of them.

    :param store: the state of the ledger's asset.
    :param prefix: the word that the ledger's keys begin with.
    :param me: this task instance.
    :param life: the word of this life of its run, the same in all its tries and written down before it is given here.
    :param try_number: of this try.
    :param states: asks Airflow.
    :param held: what an earlier try has been holding, as :attr:`held` had it.
    """

    def __init__(
        self,
        store: KeyValueStore,
        prefix: str,
        me: Place,
        *,
        life: str,
        try_number: int,
        states: States,
        held: tuple[int, int] = (0, 0),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self.me = me
        self._key = identity_hash(me)
        self._life = life
        self._try_number = try_number
        self._states = states
        self.held = held
        self._sleep = sleep
        self._joined = False

    # The register.

    def _registered(self) -> list[tuple[str, str]]:
        """The tasks that are registered."""
        tasks: list[tuple[str, str]] = []
        slots = ["0"]
        for slot in slots:
            if self._store.get(self._slot(slot, "entered")) is None:
                continue
            task = self._store.get(self._slot(slot, "task"))
            if task is not None:
                tasks.append((str(task[0]), str(task[1])))
            slots += [f"{slot}r", f"{slot}d"]
        return tasks

    def _slot(self, slot: str, name: str) -> str:
        return f"{self._prefix}.slot.{slot}.{name}"

    def _register(self) -> None:
        """Take a slot for this task, if it has none.

        Of those that come to a slot at once, at most one takes it, not all of the others go right, and not all go down. So
        each finds one, at most as many slots further as there are tasks.
        """
        mine = (self.me.dag_id, self.me.task_id)
        if mine in self._registered():
            return
        word, slot = uuid.uuid4().hex, "0"
        while True:
            self._store.set(self._slot(slot, "last"), word)
            if self._store.get(self._slot(slot, "entered")) is not None:
                slot += "r"
                continue
            self._store.set(self._slot(slot, "entered"), True)
            if self._store.get(self._slot(slot, "last")) == word:
                self._store.set(self._slot(slot, "task"), list(mine))
                return
            slot += "d"

    # Claims.

    def _chain(self, key: str, life: str, number: int) -> str:
        return f"{self._prefix}.claim.{key}.{life}.{number}"

    def _join(self) -> None:
        """Let the others find this try: its task, the life of its run, and no gap before its own claim."""
        if self._joined:
            return
        self._register()
        self._store.set(f"{self._prefix}.life.{self._key}", self._life)
        for number in range(1, self._try_number):
            # A try that was killed before it wrote anything; readers stop at the first one that is missing.
            if self._store.get(self._chain(self._key, self._life, number)) is None:
                self._store.set(
                    self._chain(self._key, self._life, number), msgspec.to_builtins(Claim(asks=False))
                )
        self._joined = True

    def settle(self) -> None:
        """Say what this try holds, and that it asks for nothing yet: an earlier one may have died with its flag raised."""
        self._join()
        self._say(asks=False)

    def _say(self, *, asks: bool) -> None:
        claim = Claim(asks, *self.held)
        self._store.set(self._chain(self._key, self._life, self._try_number), msgspec.to_builtins(claim))

    def _newest(self, key: str) -> tuple[str, Claim] | None:
        life = self._store.get(f"{self._prefix}.life.{key}")
        if life is None:
            return None
        claim = None
        for number in itertools.count(1):
            value = self._store.get(self._chain(key, life, number))
            if value is None:
                break
            claim = value
        return None if claim is None else (life, msgspec.convert(claim, Claim))

    def _page(self, key: str, life: str, tried: int, number: int) -> str:
        return f"{self._prefix}.held.{key}.{life}.{tried}.{number}"

    # Others.

    def _unfinished(self, run_id: str | None = None) -> Iterator[tuple[Place, bool]]:
        """Every instance of a registered task that is not over, but for this one, and whether a process may be at work."""
        for dag_id, task_id in dict.fromkeys(self._registered()):
            for run, states in self._states(dag_id, task_id, run_id).items():
                for name, state in states.items():
                    index = name.removeprefix(task_id).removeprefix("_")
                    place = Place(dag_id, task_id, run, int(index) if index.isdecimal() else -1)
                    if place != self.me and state not in OVER:
                        yield place, state in EXECUTING

    def _asking(self) -> list[Place]:
        """Who chooses its files now, or wants to."""
        asking = []
        for place, executing in self._unfinished():
            newest = self._newest(identity_hash(place)) if executing else None
            if newest is not None and newest[1].asks:
                asking.append(place)
        return asking

    def _still_asks(self, place: Place) -> bool:
        states = self._states(place.dag_id, place.task_id, place.run_id).get(place.run_id, {})
        name = place.task_id if place.map_index < 0 else f"{place.task_id}_{place.map_index}"
        if states.get(name) not in EXECUTING:
            return False
        newest = self._newest(identity_hash(place))
        return newest is not None and newest[1].asks

    def _wait_for(self, place: Place) -> None:
        pause, waited = FIRST_PAUSE, 0.0
        while self._still_asks(place):
            if waited >= PATIENCE:
                raise AirflowException(
                    f"Another import has been choosing its files for more than {PATIENCE / 60:.0f} minutes ({place}), so which "
                    "files are left for this one is not known. Nothing more was sent; a retry looks again."
                )
            if not waited:
                log.info("Another import chooses its files: %s. This one waits for it.", place)
            self._sleep(pause)
            waited += pause
            pause = min(LONGEST_PAUSE, pause * 1.5)

    # The turn.

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only import of the ledger that chooses files; what :meth:`hold` was given counts from the end on.

        :raises AirflowException: another import does not come to an end with its turn.
        """
        self._join()
        self._wait_for_turn()
        before = self.held
        try:
            yield
        except Exception:
            self.held = before
            raise
        finally:
            self._say(asks=False)

    def _wait_for_turn(self) -> None:
        while True:
            self._say(asks=True)
            try:
                asking = self._asking()
                before = next((one for one in asking if identity_hash(one) < self._key), None)
                if before is None:
                    for one in asking:
                        self._wait_for(one)
                    return
                self._say(asks=False)
                self._wait_for(before)
            except Exception:
                self._say(asks=False)
                raise

    def held_by_others(self) -> dict[str, Place]:
        """What unfinished imports hold, and which; exact only within the turn."""
        found: dict[str, Place] = {}
        for place, _ in self._unfinished():
            key = identity_hash(place)
            newest = self._newest(key)
            if newest is None:
                continue
            life, claim = newest
            for number in range(claim.count):
                for one in self._store.get(self._page(key, life, claim.tried, number)) or ():
                    found[one] = place
        return found

    def hold(self, hashes: Sequence[str]) -> None:
        """Hold these files, and no others, from the end of the turn on."""
        count = 0
        for count, page in enumerate(pages(hashes), 1):
            self._store.set(self._page(self._key, self._life, self._try_number, count - 1), page)
        self.held = (self._try_number, count)

    def is_running(self) -> bool:
        """Whether Airflow still wants this instance's work."""
        name = self.me.task_id if self.me.map_index < 0 else f"{self.me.task_id}_{self.me.map_index}"
        states = self._states(self.me.dag_id, self.me.task_id, self.me.run_id)
        return states.get(self.me.run_id, {}).get(name) in EXECUTING

    def leave(self) -> None:
        """Hold nothing any more, and leave nothing behind: the import is over, and what it brought is known."""
        self._store.delete(f"{self._prefix}.life.{self._key}")
        for tried in range(self._try_number, 0, -1):
            self._store.delete(self._chain(self._key, self._life, tried))
            for number in itertools.count():
                key = self._page(self._key, self._life, tried, number)
                if self._store.get(key) is None:
                    break
                self._store.delete(key)
        self.held, self._joined = (0, 0), False
