"""A copy of a task's record, where a clear does not reach.

From Airflow 3.4 on, clearing a task deletes its task state (airflow.md section 9.1). Of what Airflow keeps, only an asset's
state survives that, so the record of every task is copied into the state of one asset. Two things follow from what that
store is (ARCHITECTURE.md section 5.9):

* It takes the writes of a superseded try. So each try writes under its own number: what counted was written before the newer
  try began, and what is written too late replaces nothing of a newer try's.
* It keeps its values when a DAG run is deleted. So the keys hold a word that the run's first try wrote.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from importlib.metadata import version
from typing import Any, Protocol

log = logging.getLogger(__name__)

#: The asset's name and URI: its state is the copy of every task's record. Whoever renames it forgets all copies.
ASSET_NAME = "airflow-bulk-record"
ASSET_URI = "x-airflow-bulk://record"
#: The key in the task's state that says where its copies are; without it, nothing of the task's state can be trusted to be whole.
HEADER = "copies"
#: One of these is the first value that a run writes.
BEGUN_BY = ("generation", "g1.started", "g1.import", "g1.batch", "g1.before_pause", "g1.end")


class KeyValueStore(Protocol):
    """A store of JSON values by key."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value."""

    def set(self, key: str, value: Any) -> None:
        """Store a value."""

    def delete(self, key: str) -> None:
        """Forget a value, if it is there."""


@functools.cache
def clears_discard() -> bool:
    """Whether this Airflow deletes a task's state when the task is cleared: 3.4, task SDK 1.4 (airflow.md section 9.1)."""
    major, minor = version("apache-airflow-task-sdk").split(".")[:2]
    return (int(major), int(minor)) >= (1, 4)


def record_asset() -> Any:
    """The asset whose state holds the copies; an inlet of every task that keeps a record, so that Airflow knows it."""
    from airflow.sdk import Asset

    return Asset(name=ASSET_NAME, uri=ASSET_URI, group="airflow-bulk")


def identity_hash(ti: Any, *more: object) -> str:
    """Sixteen hexadecimal digits that follow from dag, run, task and map index, and in a loop (3.4) from the iteration.

    On Airflow 3.4 a mapped task has a region, too, whose id is chance: its map index tells as much, over every expansion.

    :param ti: the task instance.
    :param more: what else tells things of one task apart.
    """
    place: list[object] = [-1 if ti.map_index is None else int(ti.map_index)]
    region = getattr(ti, "region_id", None)
    # Every iteration of a loop has map index -1.
    if region is not None and region.int and (place[0] == -1 or is_in_loop(ti)):
        place += [region, ti.region_index]
    text = "\n".join(map(str, (ti.dag_id, ti.run_id, ti.task_id, *place, *more)))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def marker_of(identity: Any, generation: object) -> str:
    """The marker of a task's work.

    :param identity: ``ti``, or what names dag, run, task and map index as it does.
    :param generation: of the work.
    """
    return identity_hash(identity, generation)[:12]


def is_in_loop(ti: Any) -> bool:
    """Whether the task is inside a loop (3.4)."""
    group = getattr(getattr(ti, "task", None), "task_group", None)
    while group is not None and type(group).__name__ != "LoopTaskGroup":
        group = group.parent_group
    return group is not None


class RecordCopy:
    """The copies that the tries of one task have made of its record.

    :param store: the asset's state.
    :param owner: the key of this task.
    :param life: the word of this life of its run; the other keys begin with both.
    :param try_number: of this try; its copies bear it.
    :param run_after: the moment that the task's run is for.
    :param former: the newest try whose copies count; 0 where the task's own state is whole.
    :param fills: the task's state holds values that were never copied: copy what is read, too.
    """

    def __init__(
        self,
        store: KeyValueStore,
        owner: str,
        life: str,
        *,
        try_number: int,
        run_after: object,
        former: int,
        fills: bool = False,
    ) -> None:
        self._store = store
        self._run_after = run_after
        self._owner, self._life = owner, life
        self._try_number = try_number
        self._former = former
        self._fills = fills
        self._copied: set[str] = set()

    @classmethod
    def of(cls, context: Any, task_state: Any) -> RecordCopy | None:
        """Open the copies of a task; None where Airflow keeps no asset's state for it, as 3.3 need not.

        :param task_state: ``context["task_state_store"]``; gets the header that says where the copies are.
        """
        try:
            store: KeyValueStore = context["asset_state_store"][record_asset()]
        except KeyError:
            if clears_discard():
                log.warning("The inlet %s is missing: clearing this task will lose its record.", ASSET_NAME)
            return None
        ti = context["ti"]
        # The moment that a run is for tells it from one that was deleted and triggered again under its id.
        run_after = getattr(context.get("dag_run"), "run_after", "")
        owner = identity_hash(ti, run_after)
        try_number = int(ti.try_number or 1)
        header = task_state.get(HEADER)
        if header is None:
            header = cls._begin(store, owner, ti, try_number, task_state)
        return cls(
            store,
            owner,
            str(header["life"]),
            try_number=try_number,
            run_after=run_after,
            former=int(header["former"]),
            fills=bool(header["fills"]),
        )

    @staticmethod
    def _begin(store: KeyValueStore, owner: str, ti: Any, try_number: int, task_state: Any) -> dict[str, Any]:
        """Write the header: of a first try, of a task that was cleared, or of a record that was begun before Airflow 3.4."""
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        # A first try asks nobody: copies of its name are those of a run that was deleted.
        life = store.get(owner) if try_number > 1 else None
        # Asked where there are copies, too: a try that began to copy such a record may have died before its header.
        fills = any(task_state.get(key) is not None for key in BEGUN_BY)
        header = {"life": str(ti.id), "former": 0, "fills": fills}
        if life is not None:
            header |= {"life": life["life"], "former": try_number - 1}
        else:
            store.set(owner, {"life": header["life"]})
        task_state.set(HEADER, header, retention=NEVER_EXPIRE)
        return header

    def tell_work(self, work: str) -> None:
        """Note what this task works on beside the word of its life: every try of it notes the same."""
        value = {"life": self._life, "work": work}
        if self._store.get(self._owner) != value:
            self._store.set(self._owner, value)

    def work_of(self, other: Any) -> str | None:
        """What another task of this run works on, if it has noted that; named as ``ti`` names a task."""
        value = self._store.get(identity_hash(other, self._run_after)) or {}
        return value.get("work")

    def _key(self, try_number: int, key: str) -> str:
        return f"{self._owner}/{self._life}/{try_number}/{key}"

    def read(self, key: str) -> Any:
        """Return the newest copy that a former try has made of a value; None where there is none."""
        for number in range(self._former, 0, -1):
            value = self._store.get(self._key(number, key))
            if value is not None:
                return value
        return None

    def write(self, key: str, value: Any) -> None:
        """Copy a value; when it returns, a clear cannot take it."""
        self._store.set(self._key(self._try_number, key), value)
        self._copied.add(key)

    def note(self, key: str, value: Any) -> None:
        """Copy a value that was read, if it may never have been copied."""
        if self._fills and key not in self._copied:
            self.write(key, value)

    def forget(self, keys: set[str]) -> None:
        """Delete the copies that every try has made of these values."""
        for key in sorted(keys):
            for number in range(1, self._try_number + 1):
                self._store.delete(self._key(number, key))
