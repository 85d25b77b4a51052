"""What has to change at the destination: wanted records are compared with the records that it holds.

extract_load.md section 2.2 b to d: reduce to the scope, match each wanted record with the first still unmatched
one, update what differs, create what has no counterpart, and call the rest orphans.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load.endpoints import DESTINATION_ID
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.transforming import Key, MappingFailed, Wanted, key_of

#: Load object -> source id -> the destination's id.
ReferenceTables = Mapping[str, Mapping[str, Any]]


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
        return any(self.current.get(name) != value for name, value in self.wanted.items())


@dataclass
class ApplyPlan:
    """All changes of one apply, before the first of them.

    :param creates: wanted records without a counterpart, and their pending references.
    :param updates: pairs that differ.
    :param unchanged: pairs that are equal.
    :param orphans: records in scope that no wanted record matches.
    :param existing: how many records in scope there are.
    :param out_of_scope: how many records are outside the scope, and stay as they are.
    :param unresolved: how many references name unknown records; their fields become null.
    """

    creates: list[tuple[Record, dict[str, str]]] = field(default_factory=list)
    updates: list[Pair] = field(default_factory=list)
    unchanged: list[Pair] = field(default_factory=list)
    orphans: list[Record] = field(default_factory=list)
    existing: int = 0
    out_of_scope: int = 0
    unresolved: int = 0


def make_plan(
    load: str,
    mapping: LoadMapping,
    wanted: Mapping[Key, Wanted],
    current: Iterable[Record],
    tables: ReferenceTables,
    *,
    deleting: bool = False,
) -> ApplyPlan:
    """Return the changes that make *current* hold *wanted*.

    :param load: the load object, also its own name in *tables*.
    :param tables: for each referenced load object but *load* itself, source id -> destination id.
    :param deleting: orphans will be deleted, so no record may keep a reference to them.
    :raises MappingFailed: the mapping makes records outside its own scope.
    """
    in_scope = scope_of(mapping)
    plan = ApplyPlan()
    unmatched: dict[Key | None, deque[Record]] = defaultdict(deque)
    own: dict[str, Any] = {}
    for record in current:
        if not in_scope(record):
            plan.out_of_scope += 1
            continue
        plan.existing += 1
        key = key_of(record, mapping.match_fields)
        unmatched[key].append(record)
        if key is not None:
            own.setdefault(key[0], record.get(DESTINATION_ID))
    _check_scope(load, mapping, wanted)
    to_come = {key[0] for key in wanted}
    if deleting:
        own = {source_id: record_id for source_id, record_id in own.items() if source_id in to_come}
    for key, entry in wanted.items():
        resolved, pending, lost = _resolve(load, mapping, entry, {**tables, load: own}, to_come)
        plan.unresolved += lost
        counterparts = unmatched.get(key)
        if not counterparts:
            plan.creates.append((resolved, pending))
            continue
        for name in mapping.match_fields:  # compared as text: 7 there and "7" here are equal
            resolved.pop(name, None)
        pair = Pair(resolved, counterparts.popleft(), pending)
        (plan.updates if pair.differs else plan.unchanged).append(pair)
    plan.orphans = [record for records in unmatched.values() for record in records]
    return plan


def _resolve(
    load: str, mapping: LoadMapping, entry: Wanted, tables: ReferenceTables, to_come: set[str]
) -> tuple[Record, dict[str, str], int]:
    """Return the record with resolved references, those that wait for a create, and how many are unknown."""
    resolved = dict(entry.record)
    pending: dict[str, str] = {}
    lost = 0
    for name, source_id in entry.references.items():
        target = mapping.references[name]
        if source_id is None:
            resolved[name] = None
        elif (found := tables.get(target, {}).get(source_id)) is not None:
            resolved[name] = found
        elif target == load and source_id in to_come:
            pending[name] = source_id
        else:
            resolved[name] = None
            lost += 1
    return resolved, pending, lost


def _check_scope(load: str, mapping: LoadMapping, wanted: Mapping[Key, Wanted]) -> None:
    """Refuse records outside the mapping's own scope: the next run would not find them, and create them again."""
    if not isinstance(mapping.scope, Mapping):
        return
    in_scope = scope_of(mapping)
    outside = sum(not in_scope(entry.record) for entry in wanted.values())
    if outside:
        names = ", ".join(mapping.scope)
        raise MappingFailed(
            f"load {load}: {outside} of {len(wanted)} records that the mapping makes are outside its own scope ({names});"
            " the next run would not find them and create them again"
        )


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


def reference_table(mapping: LoadMapping, records: Iterable[Record]) -> dict[str, Any]:
    """Return source id -> destination id of a load's records; the first matching field holds the source id."""
    name = mapping.match_fields[0]
    table: dict[str, Any] = {}
    for record in records:
        value = record.get(name)
        if value is not None and value != "":
            table.setdefault(str(value), record.get(DESTINATION_ID))
    return table
