"""Apply a plan to the destination: updates, creates, deletes, then the references that had to wait for a create.

Records are written one at a time, so that at most one write is in doubt when a worker dies. ``permit`` is called before
each write; it raises in a superseded try. The next try reads the destination first, and so finds what was written
already: nothing is created twice. extract_load.md section 2.2 e to g.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load.deletions import DeletionLimit, check_limit
from airflow_bulk.extract_load.endpoints import DESTINATION_ID, Destination
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.planning import ApplyPlan, Pair, scope_of

_RESERVED = (DESTINATION_ID,)


class BadAnswer(Exception):
    """A destination stored another record than the one that was sent."""


class OutsideScope(Exception):
    """A record was created that no later reading finds, so that another try would create it again."""


@dataclass
class Applied:
    """What an apply did.

    :param kept_orphans: how many records without a counterpart stay.
    :param would_delete: the same number, where deletions are on and were refused.
    :param deletions_refused: why orphans were kept; ``None`` if they were deleted, or there were none.
    :param second_writes: how many updates filled references to records that the same apply created.
    :param unresolved_references: how many references name records that neither side knows; their fields are null.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    kept_orphans: int = 0
    would_delete: int = 0
    out_of_scope: int = 0
    second_writes: int = 0
    unresolved_references: int = 0
    deletions_refused: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as a task's result."""
        return dict(vars(self))


@dataclass
class Outcome:
    """What an apply did, and which records in scope the destination holds afterwards."""

    applied: Applied
    records: list[Record] = field(default_factory=list)


def carry_out(
    load: str,
    mapping: LoadMapping,
    plan: ApplyPlan,
    destination: Destination,
    *,
    limit: DeletionLimit,
    refused: str | None,
    permit: Callable[[], None] = lambda: None,
) -> Outcome:
    """Write the changes of *plan*.

    :param refused: why orphans are kept, from :func:`airflow_bulk.extract_load.deletions.refusal`.
    :param permit: called before each write; when it raises, the apply stops.
    :raises TooManyDeletions: before the first write.
    """
    if refused is None:
        check_limit(load, limit, len(plan.orphans), plan.existing)
    return _Writer(load, mapping, destination, permit).write(plan, refused if plan.orphans else None)


class _Writer:
    def __init__(
        self, load: str, mapping: LoadMapping, destination: Destination, permit: Callable[[], None]
    ) -> None:
        self._load = load
        self._mapping = mapping
        self._destination = destination
        self._permit = permit
        self._in_scope = scope_of(mapping)
        self._done = Applied()

    def write(self, plan: ApplyPlan, refused: str | None) -> Outcome:
        done = self._done
        done.unchanged, done.out_of_scope = len(plan.unchanged), plan.out_of_scope
        done.unresolved_references, done.deletions_refused = plan.unresolved, refused
        pending: list[Pair] = [pair for pair in plan.unchanged if pair.pending]
        records = [pair.current for pair in plan.unchanged if not pair.pending]
        for pair in plan.updates:
            stored = self._update(pair.current, pair.wanted)
            done.updated += 1
            _sort(Pair(pair.wanted, stored, pair.pending), pending, records)
        for wanted, waiting in plan.creates:
            _sort(Pair(wanted, self._create(wanted), waiting), pending, records)
        if refused is None:
            self._delete(plan.orphans)
        else:
            done.kept_orphans = done.would_delete = len(plan.orphans)
            records.extend(plan.orphans)
        self._fix_references(pending, records)
        return Outcome(done, records)

    def _update(self, current: Record, wanted: Mapping[str, Any]) -> Record:
        self._permit()
        merged = {key: value for key, value in {**current, **wanted}.items() if key not in _RESERVED}
        stored = self._destination.update(self._load, current[DESTINATION_ID], merged)
        return {**current, **wanted, **stored}

    def _create(self, wanted: Record) -> Record:
        self._permit()
        stored = self._destination.create(self._load, wanted)
        self._done.created += 1
        if stored.get(DESTINATION_ID) in (None, ""):
            raise BadAnswer(
                f"load {self._load}: a record was created, but the answer names no {DESTINATION_ID}"
            )
        record = {**wanted, **stored}
        if not self._in_scope(record):
            raise OutsideScope(
                f"load {self._load}: a record was created outside the mapping's own scope. A retry is left out: it would"
                " not find the record and create it again, and so would the next run. Delete it at the destination, let `fields`"
                " fill what `scope` asks for, and clear this task."
            )
        return record

    def _delete(self, orphans: list[Record]) -> None:
        for record in orphans:
            self._permit()
            self._destination.delete(self._load, record[DESTINATION_ID])
            self._done.deleted += 1

    def _fix_references(self, pending: list[Pair], records: list[Record]) -> None:
        """Fill the references to records that this apply itself has created (section 2.2 f)."""
        name = self._mapping.match_fields[0]
        known = {str(record.get(name)): record.get(DESTINATION_ID) for record in records}
        known |= {str(pair.current.get(name)): pair.current.get(DESTINATION_ID) for pair in pending}
        for pair in pending:
            resolved = {field: known.get(source_id) for field, source_id in pair.pending.items()}
            if any(pair.current.get(field) != value for field, value in resolved.items()):
                records.append(self._update(pair.current, resolved))
                self._done.second_writes += 1
            else:
                records.append(pair.current)


def _sort(pair: Pair, pending: list[Pair], records: list[Record]) -> None:
    if pair.pending:
        pending.append(pair)
    else:
        records.append(pair.current)
