"""What has to change at the destination: wanted records are compared with the records that it holds.

extract_load.md section 2.2 b to d: reduce to the scope, match each wanted record with the first still unmatched
one, update what differs, create what has no counterpart, and call the rest orphans. Both sides stand in a work file,
so that memory does not grow with them. A key is wanted once: so its counterpart is the first record of that key, and all others
of the key are orphans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load import record_tables
from airflow_bulk.extract_load.endpoints import DESTINATION_ID
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.transforming import (
    MappingFailed,
    WantedRecords,
    key_of,
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

    @property
    def differs(self) -> bool:
        """Whether an update is needed."""
        held = self.current.get
        for name, value in self.wanted.items():  # noqa: SIM110 - half the time of any() with a generator
            if held(name) != value:
                return True
        return False


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
        #: How many wanted records equal their counterpart, how many differ from it, and how many have none.
        self.equal = self.differing = self.missing = 0
        #: How many of the equal ones have references that are still pending.
        self.waiting = 0
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
    _keep_current(load, mapping, current, plan)
    others = sorted(set(mapping.references.values()) - {load})
    keep_ids(plan.work, {owner: tables.get(name, ()) for owner, name in enumerate(others)})
    comparing = _Comparing(load, mapping, plan, deleting=deleting)
    owners = [None if name == load else others.index(name) for name in mapping.references.values()]
    plan.work.fill(record_tables.ADD_PAIR, comparing.pairs(record_tables.matches(owners)))
    comparing.check_scope(len(wanted))
    plan.work.do(record_tables.INDEX_COUNTERPARTS)
    plan.orphaned = plan.work.do(record_tables.FIND_ORPHANS)
    return plan


def _keep_current(load: str, mapping: LoadMapping, current: Iterable[Record], plan: ApplyPlan) -> None:
    in_scope = scope_of(mapping)
    fields = mapping.match_fields
    referred = load in mapping.references.values()

    def in_scope_only() -> Iterator[tuple[bytes | None, ...]]:
        for record in current:
            if in_scope(record):
                plan.existing += 1
                source, rest = stored_key(key_of(record, fields))
                yield source, rest, packed(record.get(DESTINATION_ID)) if referred else None, packed(record)
            else:
                plan.out_of_scope += 1

    plan.work.fill(record_tables.ADD_CURRENT, in_scope_only())
    plan.work.do(record_tables.INDEX_CURRENT)
    if referred:
        plan.work.do(record_tables.INDEX_CURRENT_SOURCE)


class _Comparing:
    """Compares each wanted record with its counterpart."""

    def __init__(self, load: str, mapping: LoadMapping, plan: ApplyPlan, *, deleting: bool) -> None:
        self._load = load
        self._mapping = mapping
        self._plan = plan
        self._own = [target == load for target in mapping.references.values()]
        self._deleting = deleting
        self._outside = 0

    def pairs(self, matches: str) -> Iterator[tuple[int, int, int | None, bytes | None, bytes | None]]:
        """Yield the rows of the table ``pairs``.

        :param matches: from :func:`airflow_bulk.extract_load.record_tables.matches`.
        """
        plan, match_fields = self._plan, self._mapping.match_fields
        scoped = scope_of(self._mapping) if isinstance(self._mapping.scope, Mapping) else None
        for place, entry, counterpart, current, *found in plan.work.rows(matches):
            record, references, _, _ = unpacked(entry)
            if scoped is not None:
                self._outside += not scoped(record)
            pending = self._resolve(record, references, found) if references else None
            waiting = packed(pending) if pending else None
            if counterpart is None:
                plan.missing += 1
                yield place, record_tables.CREATE, None, packed(record), waiting
                continue
            for name in match_fields:  # compared as text: 7 there and "7" here are equal
                record.pop(name, None)
            if Pair(record, unpacked(current)).differs:
                plan.differing += 1
                yield place, record_tables.UPDATE, counterpart, packed(record), waiting
            else:
                plan.equal += 1
                plan.waiting += waiting is not None
                yield place, record_tables.UNCHANGED, counterpart, None, waiting

    def _resolve(
        self, record: Record, references: Mapping[str, str | None], found: Sequence[Any]
    ) -> dict[str, str]:
        """Fill the references of a record; return those that wait for a create.

        :param found: for each reference of the mapping the packed id, and whether the record is wanted of this load.
        """
        pending: dict[str, str] = {}
        for number, name in enumerate(self._mapping.references):
            if name not in references:
                continue
            source_id, stored, to_come = references[name], found[2 * number], found[2 * number + 1]
            if self._deleting and self._own[number] and not to_come:
                stored = None  # the record will be deleted
            record_id = None if stored is None else unpacked(stored)
            if record_id is None and source_id is not None and to_come:
                pending[name] = source_id
                continue
            record[name] = record_id
            self._plan.unresolved += record_id is None and source_id is not None
        return pending

    def check_scope(self, wanted: int) -> None:
        """Refuse records outside the mapping's own scope: the next run would not find them, and create them again."""
        if self._outside:
            names = ", ".join(self._mapping.scope)  # type: ignore[arg-type]  # counted for a dict alone
            raise MappingFailed(
                f"load {self._load}: {self._outside} of {wanted} records that the mapping makes are outside its own scope"
                f" ({names}); the next run would not find them and create them again"
            )


def keep_ids(work: WorkFile, ids: Mapping[int, Iterable[tuple[str, Any]]]) -> None:
    """Keep ``(source id, destination's id)`` in the table ``ids``.

    :param ids: by a number of the one who asks for them.
    """
    for owner, pairs in ids.items():
        rows = ((owner, stored_text(source_id), packed(record_id)) for source_id, record_id in pairs)
        work.fill(record_tables.ADD_ID, rows)
    work.do(record_tables.INDEX_IDS)


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
