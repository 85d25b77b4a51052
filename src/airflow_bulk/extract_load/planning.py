"""What has to change at the destination: wanted records are compared with the records that it holds.

extract_load.md section 2.2 b to d: reduce to the scope, match each wanted record with the first still unmatched
one, update what differs, create what has no counterpart, and call the rest orphans. Both sides stand in a work file,
so that memory does not grow with them. A key is wanted once: so its counterpart is the first record of that key, and all others
of the key are orphans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load import record_tables
from airflow_bulk.extract_load.endpoints import DESTINATION_ID
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.transforming import (
    MappingFailed,
    Wanted,
    WantedRecords,
    key_of,
    unpacked_wanted,
)
from airflow_bulk.extract_load.work_file import WorkFile, packed, stored_key, stored_text, unpacked

#: Load object -> (source id, the destination's id) of its records. Of two with one source id the first counts.
ReferenceTables = Mapping[str, Iterable[tuple[str, Any]]]


@dataclass(slots=True)
class Pair:
    """A wanted record and its counterpart.

    :param wanted: the record as it shall be, with the references that could be resolved.
    :param current: the record as it is.
    :param pending: field -> source id of references within this load that are not known yet.
    """

    wanted: Record
    current: Record
    pending: dict[str, str] = field(default_factory=dict)


class ApplyPlan:
    """All changes of one apply, before the first of them. They can be read as long as the work file is open.

    :param work: where the records are kept.
    """

    def __init__(self, work: WorkFile) -> None:
        self.work = work
        #: How many records in scope there are.
        self.existing = 0
        #: How many records are outside the scope, and stay as they are.
        self.out_of_scope = 0
        #: How many references name unknown records; their fields become null.
        self.unresolved = 0
        #: How many wanted records equal their counterpart.
        self.equal = 0
        #: How many records no wanted record matches.
        self.orphaned = 0

    def updates(self) -> Iterator[Pair]:
        """Yield the pairs that differ, in the order of the wanted records."""
        for wanted, current, pending in self.work.rows(record_tables.UPDATES, record_tables.UPDATE):
            yield Pair(unpacked(wanted), unpacked(current), unpacked_pending(pending))

    def creates(self) -> Iterator[tuple[Record, dict[str, str]]]:
        """Yield the wanted records without a counterpart and their pending references, in their order."""
        for wanted, pending in self.work.rows(record_tables.CREATES, record_tables.CREATE):
            yield unpacked(wanted), unpacked_pending(pending)

    def unchanged(self) -> Iterator[Record]:
        """Yield the counterparts of the records that are equal, in the order of the wanted records."""
        for (current,) in self.work.rows(record_tables.EQUALS, record_tables.UNCHANGED):
            yield unpacked(current)

    def unchanged_waiting(self) -> Iterator[tuple[Record, dict[str, str]]]:
        """Yield those that are equal but for references that are still pending; :meth:`unchanged` leaves them out."""
        for current, pending in self.work.rows(record_tables.EQUALS_WAITING, record_tables.UNCHANGED):
            yield unpacked(current), unpacked_pending(pending)

    def orphans(self) -> Iterator[Record]:
        """Yield the records in scope that no wanted record matches, in their order; those of one key together."""
        for (record,) in self.work.rows(record_tables.ORPHANS):
            yield unpacked(record)


def unpacked_pending(stored: bytes | None) -> dict[str, str]:
    """Return the pending references of a row; most have none."""
    return unpacked(stored) if stored is not None else {}


def make_plan(
    load: str,
    mapping: LoadMapping,
    wanted: WantedRecords,
    current: Iterable[Record],
    tables: ReferenceTables,
    *,
    deleting: bool = False,
) -> ApplyPlan:
    """Return the changes that make *current* hold *wanted*.

    :param load: the load object, also its own name in *tables*.
    :param wanted: kept in the work file that the plan goes on with.
    :param tables: for each referenced load object but *load* itself, from :func:`reference_table`.
    :param deleting: orphans will be deleted, so no record may keep a reference to them.
    :raises MappingFailed: the mapping makes records outside its own scope.
    """
    plan = ApplyPlan(wanted.work)
    _keep_current(mapping, current, plan)
    references = _References(load, mapping, plan.work, deleting=deleting)
    references.read(tables)
    comparing = _Comparing(mapping, references, plan)
    plan.work.fill(record_tables.ADD_PAIR, comparing.pairs())
    comparing.check_scope(load, wanted)
    plan.orphaned = plan.work.do(record_tables.FIND_ORPHANS)
    return plan


def _keep_current(mapping: LoadMapping, current: Iterable[Record], plan: ApplyPlan) -> None:
    in_scope = scope_of(mapping)
    fields = mapping.match_fields

    def in_scope_only() -> Iterator[tuple[bytes | None, bytes | None, bytes]]:
        for record in current:
            if in_scope(record):
                plan.existing += 1
                yield (*stored_key(key_of(record, fields)), packed(record))
            else:
                plan.out_of_scope += 1

    plan.work.fill(record_tables.ADD_CURRENT, in_scope_only())
    plan.work.do(record_tables.INDEX_CURRENT)


class _Comparing:
    """Compares each wanted record with its counterpart."""

    def __init__(self, mapping: LoadMapping, references: _References, plan: ApplyPlan) -> None:
        self._match_fields = mapping.match_fields
        self._references = references
        self._plan = plan
        self._mapping = mapping
        self._outside = 0

    def pairs(self) -> Iterator[tuple[int, int, int | None, bytes | None, bytes | None]]:
        """Yield the rows of the table ``pairs``."""
        plan = self._plan
        scoped = scope_of(self._mapping) if isinstance(self._mapping.scope, Mapping) else None
        for place, stored, counterpart, current in plan.work.rows(record_tables.MATCHES):
            entry = unpacked_wanted(stored)
            if scoped is not None:
                self._outside += not scoped(entry.record)
            pending, lost = self._references.resolve(entry)
            plan.unresolved += lost
            waiting = packed(pending) if pending else None
            resolved = entry.record
            if counterpart is None:
                yield place, record_tables.CREATE, None, packed(resolved), waiting
                continue
            for name in self._match_fields:  # compared as text: 7 there and "7" here are equal
                resolved.pop(name, None)
            if _differ(resolved, unpacked(current)):
                yield place, record_tables.UPDATE, counterpart, packed(resolved), waiting
            else:
                plan.equal += 1
                yield place, record_tables.UNCHANGED, counterpart, None, waiting

    def check_scope(self, load: str, wanted: WantedRecords) -> None:
        """Refuse records outside the mapping's own scope: the next run would not find them, and create them again."""
        if self._outside:
            names = ", ".join(self._mapping.scope)  # type: ignore[arg-type]  # counted for a dict alone
            raise MappingFailed(
                f"load {load}: {self._outside} of {len(wanted)} records that the mapping makes are outside its own scope"
                f" ({names}); the next run would not find them and create them again"
            )


def _differ(wanted: Record, current: Record) -> bool:
    """Whether an update is needed."""
    held = current.get
    for name, value in wanted.items():  # noqa: SIM110 - half the time of any() with a generator
        if held(name) != value:
            return True
    return False


class SourceIds:
    """Which id the destination has given to the record of a source id, in the table ``ids``.

    :param work: where they are kept; no two objects use one file at a time for the same owner.
    """

    def __init__(self, work: WorkFile) -> None:
        self._work = work

    def read(self, ids: Mapping[int, Iterable[tuple[str, Any]]]) -> None:
        """Keep ``(source id, destination's id)`` of each owner."""
        for owner, pairs in ids.items():
            rows = ((owner, stored_text(source_id), packed(record_id)) for source_id, record_id in pairs)
            self._work.fill(record_tables.ADD_ID, rows)
        self._work.do(record_tables.INDEX_IDS)

    def first(self, owner: int, source_id: str) -> Any:
        """Return the id that was read first; ``None`` if there is none."""
        return self._id(record_tables.FIRST_ID, owner, source_id)

    def last(self, owner: int, source_id: str) -> Any:
        """Return the id that was read last; ``None`` if there is none."""
        return self._id(record_tables.LAST_ID, owner, source_id)

    def _id(self, query: str, owner: int, source_id: str) -> Any:
        found = self._work.row(query, owner, stored_text(source_id))
        return None if found is None else unpacked(found[0])


class _References:
    """Finds the destination's ids of what wanted records refer to."""

    def __init__(self, load: str, mapping: LoadMapping, work: WorkFile, *, deleting: bool) -> None:
        self._targets = mapping.references
        self._load = load
        self._work = work
        self._deleting = deleting
        self._owners = {
            name: number for number, name in enumerate(sorted(set(self._targets.values()) - {load}))
        }
        self._others = SourceIds(work)
        if load in self._targets.values():
            work.do(record_tables.INDEX_CURRENT_SOURCE)

    def read(self, tables: ReferenceTables) -> None:
        """Keep the ids of the other loads."""
        self._others.read({owner: tables.get(name, ()) for name, owner in self._owners.items()})

    def resolve(self, entry: Wanted) -> tuple[dict[str, str], int]:
        """Fill the references of a record; return those that wait for a create, and how many are unknown."""
        pending: dict[str, str] = {}
        lost = 0
        for name, source_id in entry.references.items():
            if source_id is None:
                entry.record[name] = None
                continue
            target = self._targets[name]
            if target != self._load:
                found, to_come = self._others.first(self._owners[target], source_id), False
            else:
                found, to_come = self._own(source_id)
            if found is None and to_come:
                pending[name] = source_id
                continue
            entry.record[name] = found
            lost += found is None
        return pending, lost

    def _own(self, source_id: str) -> tuple[Any, bool]:
        """Return the id of this load's own record, and whether the record is wanted."""
        source = stored_text(source_id)
        to_come = self._work.row(record_tables.IS_WANTED, source) is not None
        if self._deleting and not to_come:
            return None, to_come
        held = self._work.row(record_tables.FIRST_OF_SOURCE, source)
        return (None if held is None else unpacked(held[0]).get(DESTINATION_ID)), to_come


def scope_of(mapping: LoadMapping) -> Callable[[Record], bool]:
    """Return the function that says whether a record is in the mapping's scope."""
    scope = mapping.scope
    if scope is None:
        return lambda record: True
    if isinstance(scope, Mapping):
        allowed = {
            name: value if isinstance(value, list | tuple | set) else (value,)
            for name, value in scope.items()
        }
        return lambda record: all(record.get(name) in values for name, values in allowed.items())
    if isinstance(scope, str):
        raise MappingFailed(f"the callable {scope} was not imported")
    test = scope
    return lambda record: bool(test(record))


def reference_table(mapping: LoadMapping, records: Iterable[Record]) -> Iterator[tuple[str, Any]]:
    """Yield source id and destination id of a load's records; the first matching field holds the source id."""
    name = mapping.match_fields[0]
    for record in records:
        value = record.get(name)
        if value is not None and value != "":
            yield str(value), record.get(DESTINATION_ID)
