"""Apply a plan to the destination: updates, creates, deletes, then the references that had to wait for a create.

Records are written one at a time, so that at most one write is in doubt when a worker dies. ``permit`` is called before
each write; it raises in a superseded try. The next try reads the destination first, and so finds what was written
already: nothing is created twice. extract_load.md section 2.2 e to g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from airflow_bulk.extract_load import record_tables
from airflow_bulk.extract_load.deletions import DeletionLimit, check_limit
from airflow_bulk.extract_load.endpoints import DESTINATION_ID, Destination
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.planning import ApplyPlan, keep_ids, scope_of, unpacked_pending
from airflow_bulk.extract_load.work_file import WorkFile, packed, stored_text, unpacked

_RESERVED = (DESTINATION_ID,)
_OWN = -1  # no number of another load


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
    """What an apply did, and which records in scope the destination holds afterwards.

    :param records: read once, while the plan's work file is open.
    """

    applied: Applied
    records: Iterable[Record] = ()


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
        check_limit(load, limit, plan.orphaned, plan.existing)
    return _Writer(load, mapping, destination, permit).write(plan, refused if plan.orphaned else None)


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
        done.unchanged, done.out_of_scope = plan.equal, plan.out_of_scope
        done.unresolved_references, done.deletions_refused = plan.unresolved, refused
        kept = _Kept(plan, orphans_stay=refused is not None)
        for pair in plan.updates():
            stored = self._update(pair.current, pair.wanted)
            done.updated += 1
            kept.keep(stored, pair.pending)
        for wanted, pending in plan.creates():
            kept.keep(self._create(wanted), pending)
        if refused is None:
            self._delete(plan.orphans())
        else:
            done.kept_orphans = done.would_delete = plan.orphaned
        self._fix_references(kept)
        return Outcome(done, kept.records())

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

    def _delete(self, orphans: Iterable[Record]) -> None:
        for record in orphans:
            self._permit()
            self._destination.delete(self._load, record[DESTINATION_ID])
            self._done.deleted += 1

    def _fix_references(self, kept: _Kept) -> None:
        """Fill the references to records that this apply itself has created (section 2.2 f)."""
        for record, resolved in kept.resolved(self._mapping.match_fields[0]):
            if any(record.get(field) != value for field, value in resolved.items()):
                kept.settle(self._update(record, resolved))
                self._done.second_writes += 1
            else:
                kept.settle(record)


class _Kept:
    """The records in scope that the destination holds after an apply; what was written is kept in the work file.

    :param orphans_stay: nothing deletes the orphans.
    """

    def __init__(self, plan: ApplyPlan, *, orphans_stay: bool) -> None:
        self._plan = plan
        self._work: WorkFile = plan.work
        self._orphans_stay = orphans_stay

    def keep(self, record: Record, pending: Mapping[str, str]) -> None:
        """Keep a record as the destination stored it, and which of its references are still pending."""
        self._add(record_tables.WRITTEN, record, packed(pending) if pending else None)

    def settle(self, record: Record) -> None:
        """Keep a record whose references were pending, as it is now."""
        self._add(record_tables.SETTLED, record, None)

    def _add(self, stage: int, record: Record, pending: bytes | None) -> None:
        self._work.do(record_tables.ADD_KEPT, stage, packed(record), pending)

    def records(self) -> Iterator[Record]:
        """Yield the records: unchanged, written, orphans that stay, and last those whose references were pending."""
        return chain(self._without_pending(), self._written(record_tables.SETTLED))

    def _without_pending(self) -> Iterator[Record]:
        orphans = self._plan.orphans() if self._orphans_stay else ()
        return chain(self._plan.unchanged(), self._written(record_tables.WRITTEN), orphans)

    def _written(self, stage: int) -> Iterator[Record]:
        return (unpacked(record) for (record,) in self._work.rows(record_tables.KEPT, stage))

    def _waiting(self) -> Iterator[tuple[Record, dict[str, str]]]:
        written = (
            (unpacked(one), unpacked_pending(pending))
            for one, pending in self._work.rows(record_tables.KEPT_WAITING)
        )
        return chain(self._plan.unchanged_waiting(), written)

    def resolved(self, source_field: str) -> Iterator[tuple[Record, dict[str, Any]]]:
        """Yield each record with pending references, and the ids that they have now.

        :param source_field: the field of a record that holds its source id.
        """
        if next(self._waiting(), None) is None:
            return
        records = chain(self._without_pending(), (record for record, _ in self._waiting()))
        keep_ids(
            self._work, {_OWN: ((str(one.get(source_field)), one.get(DESTINATION_ID)) for one in records)}
        )
        for record, pending in self._waiting():
            yield record, {field: self._last(source_id) for field, source_id in pending.items()}

    def _last(self, source_id: str) -> Any:
        found = self._work.row(record_tables.LAST_ID, _OWN, stored_text(source_id))
        return None if found is None else unpacked(found[0])
