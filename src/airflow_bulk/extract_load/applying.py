"""Apply a plan to the destination: updates, creates, deletes, then the references that had to wait for a create.

These are stages: one begins when all writes of the one before have ended. Within a stage ``writes_at_once`` records are
written at once, one by default, so that never more writes are in doubt when a worker dies. ``permit`` is called before each
write; it raises in a superseded try. The next try reads the destination first, and so finds what was written already:
nothing is created twice. extract_load.md section 2.2 e to g.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load.deletions import DeletionLimit, check_limit
from airflow_bulk.extract_load.endpoints import DESTINATION_ID, Destination
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.planning import ApplyPlan, Pair, scope_of
from airflow_bulk.extract_load.writing import OrderedWrites

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
    writes_at_once: int = 1,
) -> Outcome:
    """Write the changes of *plan*.

    :param refused: why orphans are kept, from :func:`airflow_bulk.extract_load.deletions.refusal`.
    :param permit: called before each write; when it raises, the apply stops.
    :param writes_at_once: how many writes of a stage may be under way; above 1 they come from several threads.
    :raises TooManyDeletions: before the first write.
    """
    if refused is None:
        check_limit(load, limit, len(plan.orphans), plan.existing)
    with OrderedWrites(writes_at_once, permit) as writes:
        return _Writer(load, mapping, destination, writes).write(plan, refused if plan.orphans else None)


class _Writer:
    """The stages of an apply. What runs in threads when several writes are under way: ``_put``, ``_post``, ``_remove``."""

    def __init__(
        self, load: str, mapping: LoadMapping, destination: Destination, writes: OrderedWrites
    ) -> None:
        self._load = load
        self._mapping = mapping
        self._destination = destination
        self._writes = writes
        self._in_scope = scope_of(mapping)
        self._done = Applied()
        self._outside: OutsideScope | None = None

    def write(self, plan: ApplyPlan, refused: str | None) -> Outcome:
        try:
            return self._write(plan, refused)
        except Exception:
            if (
                self._outside is not None
            ):  # whatever else failed beside it, a retry would create that record again
                raise self._outside from None
            raise

    def _write(self, plan: ApplyPlan, refused: str | None) -> Outcome:
        done, in_order = self._done, self._writes.in_order
        done.unchanged, done.out_of_scope = len(plan.unchanged), plan.out_of_scope
        done.unresolved_references, done.deletions_refused = plan.unresolved, refused
        pending: list[Pair] = [pair for pair in plan.unchanged if pair.pending]
        records = [pair.current for pair in plan.unchanged if not pair.pending]
        for pair in in_order(plan.updates, self._put, self._updated):
            _sort(pair, pending, records)
        for pair in in_order(plan.creates, self._post, self._created):
            _sort(pair, pending, records)
        if refused is None:
            for _ in in_order(plan.orphans, self._remove, self._deleted):
                pass
        else:
            done.kept_orphans = done.would_delete = len(plan.orphans)
            records.extend(plan.orphans)
        self._fix_references(pending, records)
        return Outcome(done, records)

    def _put(self, pair: Pair) -> Record:
        merged = {
            key: value for key, value in {**pair.current, **pair.wanted}.items() if key not in _RESERVED
        }
        return self._destination.update(self._load, pair.current[DESTINATION_ID], merged)

    def _updated(self, pair: Pair, stored: Record) -> Pair:
        self._done.updated += 1
        return Pair(pair.wanted, {**pair.current, **pair.wanted, **stored}, pair.pending)

    def _post(self, create: tuple[Record, Mapping[str, str]]) -> Record:
        return self._destination.create(self._load, create[0])

    def _created(self, create: tuple[Record, dict[str, str]], stored: Record) -> Pair:
        wanted, waiting = create
        self._done.created += 1
        if stored.get(DESTINATION_ID) in (None, ""):
            raise BadAnswer(
                f"load {self._load}: a record was created, but the answer names no {DESTINATION_ID}"
            )
        record = {**wanted, **stored}
        if not self._in_scope(record):
            self._outside = OutsideScope(
                f"load {self._load}: a record was created outside the mapping's own scope. A retry is left out: it would"
                " not find the record and create it again, and so would the next run. Delete it at the destination, let `fields`"
                " fill what `scope` asks for, and clear this task."
            )
            raise self._outside
        return Pair(wanted, record, waiting)

    def _remove(self, record: Record) -> None:
        self._destination.delete(self._load, record[DESTINATION_ID])

    def _deleted(self, record: Record, answer: None) -> None:
        self._done.deleted += 1

    def _fix_references(self, pending: list[Pair], records: list[Record]) -> None:
        """Fill the references to records that this apply itself has created (section 2.2 f)."""
        name = self._mapping.match_fields[0]
        known = {str(record.get(name)): record.get(DESTINATION_ID) for record in records}
        known |= {str(pair.current.get(name)): pair.current.get(DESTINATION_ID) for pair in pending}

        def resolved(pair: Pair) -> Pair:
            found = {field: known.get(source_id) for field, source_id in pair.pending.items()}
            return Pair(found, pair.current)

        filled = map(resolved, pending)
        records += self._writes.in_order(filled, self._put, self._filled, needed=lambda pair: pair.differs)

    def _filled(self, pair: Pair, stored: Record | None) -> Record:
        if stored is None:
            return pair.current  # the references are there already
        self._done.second_writes += 1
        return {**pair.current, **pair.wanted, **stored}


def _sort(pair: Pair, pending: list[Pair], records: list[Record]) -> None:
    if pair.pending:
        pending.append(pair)
    else:
        records.append(pair.current)
