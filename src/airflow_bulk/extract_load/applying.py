"""Apply a plan to the destination: updates, creates, deletes, then the references that had to wait for a create.

These are stages: one begins when all writes of the one before have ended. Within a stage ``writes_at_once`` records are
written at once, one by default, so that never more writes are in doubt when a worker dies. ``permit`` is called before each
write; it raises in a superseded try. The next try reads the destination first, and so finds what was written already:
nothing is created twice. extract_load.md section 2.2 e to g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from airflow_bulk.extract_load.bulk_creates import (
    RecordsNotCreated,
    numbered_slices,
    read_answers,
    read_creates_at_once,
)
from airflow_bulk.extract_load.deletions import DeletionLimit, check_limit
from airflow_bulk.extract_load.endpoints import (
    DESTINATION_ID,
    BulkDestination,
    Destination,
    NotCreated,
    PreparedDestination,
)
from airflow_bulk.extract_load.kept_records import KeptRecords
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.planning import ApplyPlan, Pair, scope_of
from airflow_bulk.extract_load.writing import OrderedWrites

_RESERVED = (DESTINATION_ID,)


#: A record to create, and its references that wait for a create of this apply.
Create = tuple[Record, dict[str, str]]


class BadAnswer(Exception):
    """A destination created a record, and its answer does not say which one."""


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
class ApplyProgress:
    """How far an apply is.

    :param stage: what it does now: ``updated``, ``created``, ``deleted`` or ``referenced`` (the second writes); empty before
        the first write.
    :param done: how many writes of the stage have ended well.
    :param total: how many writes the stage has, or for ``referenced`` may have.
    :param over: the stage is over.
    :param unanswered: of an apply that has ended early: the writes whose end nobody knows.
    """

    stage: str = ""
    done: int = 0
    total: int = 0
    over: bool = False
    unanswered: int = 0


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
    writes_at_once: int = 1,
    told: Callable[[ApplyProgress, Applied], None] = lambda progress, applied: None,
) -> Outcome:
    """Write the changes of *plan*.

    :param refused: why orphans are kept, from :func:`airflow_bulk.extract_load.deletions.refusal`.
    :param permit: called before each write; when it raises, the apply stops.
    :param writes_at_once: how many writes of a stage may be under way; above 1 they come from several threads.
    :param told: hears of each write that has ended, and of each stage's end; called by the calling thread.
    :raises TooManyDeletions: before the first write.
    """
    if refused is None:
        check_limit(load, limit, plan.orphaned, plan.existing)
    if writes_at_once > 1 and isinstance(destination, PreparedDestination):
        destination.prepare_writes(writes_at_once)
    writes = OrderedWrites(writes_at_once, permit)
    return _Writer(load, mapping, destination, writes, told).write(plan, refused if plan.orphaned else None)


class _Writer:
    """The stages of an apply.

    What several threads run when several writes are under way: ``_put``, ``_post``, ``_post_many`` and ``_remove``. All else
    is a matter of the calling thread.
    """

    def __init__(
        self,
        load: str,
        mapping: LoadMapping,
        destination: Destination,
        writes: OrderedWrites,
        told: Callable[[ApplyProgress, Applied], None],
    ) -> None:
        self._load = load
        self._mapping = mapping
        self._destination = destination
        self._writes = writes
        self._in_scope = scope_of(mapping)
        self._done = Applied()
        self._told = told
        self._progress = ApplyProgress()
        self._outside: OutsideScope | None = None
        self._not_created: list[tuple[int, NotCreated]] = []
        bulk = isinstance(destination, BulkDestination)
        self._slice = (
            read_creates_at_once(cast(BulkDestination, destination).creates_at_once) if bulk else None
        )

    def write(self, plan: ApplyPlan, refused: str | None) -> Outcome:
        try:
            with self._writes:
                return self._write(plan, refused)
        except BaseException as error:
            self._progress.unanswered = self._writes.under_way
            if (
                self._outside is not None
            ):  # whatever else failed beside it, a retry would create that record again
                raise self._outside from None
            if isinstance(error, RecordsNotCreated):  # other slices were under way
                raise self._records_not_created() from None
            raise

    def _write(self, plan: ApplyPlan, refused: str | None) -> Outcome:
        done, in_order = self._done, self._writes.in_order
        done.unchanged, done.out_of_scope = plan.equal, plan.out_of_scope
        done.unresolved_references, done.deletions_refused = plan.unresolved, refused
        kept = KeptRecords(plan, orphans_stay=refused is not None)
        with self._stage("updated", plan.differing):
            for pair in in_order(plan.updates(), self._put, self._updated):
                kept.keep(pair)
        with self._stage("created", plan.missing):
            for pair in self._create(plan.creates()):
                kept.keep(pair)
        if refused is None:
            with self._stage("deleted", plan.orphaned):
                for _ in in_order(plan.orphans(), self._remove, self._deleted):
                    pass
        else:
            done.kept_orphans = done.would_delete = plan.orphaned
        with self._stage("referenced", kept.waiting):
            # What refers to records that this apply itself has created (section 2.2 f).
            filled = kept.resolved(self._mapping.match_fields[0])
            for record in in_order(filled, self._put, self._filled, needed=lambda pair: pair.differs):
                kept.settle(record)
        return Outcome(done, kept.records())

    @contextmanager
    def _stage(self, name: str, total: int) -> Iterator[None]:
        """One stage: all its writes have ended before the next one begins."""
        self._progress = ApplyProgress(name, 0, total)
        yield
        self._progress.over = True
        if total:
            self._told(self._progress, self._done)

    def _ended(self) -> None:
        self._progress.done += 1
        self._told(self._progress, self._done)

    def _create(self, creates: Iterable[Create]) -> Iterator[Pair]:
        if self._slice is None:
            return self._writes.in_order(creates, self._post, self._created)
        slices = numbered_slices(creates, self._slice)
        return chain.from_iterable(self._writes.in_order(slices, self._post_many, self._created_many))

    def _put(self, pair: Pair) -> Record:
        merged = {
            key: value for key, value in {**pair.current, **pair.wanted}.items() if key not in _RESERVED
        }
        return self._destination.update(self._load, pair.current[DESTINATION_ID], merged)

    def _updated(self, pair: Pair, stored: Record) -> Pair:
        self._done.updated += 1
        self._ended()
        return Pair(pair.wanted, {**pair.current, **pair.wanted, **stored}, pair.pending)

    def _post(self, create: Create) -> Record:
        return self._destination.create(self._load, create[0])

    def _post_many(self, creates: list[tuple[int, Create]]) -> Any:
        bulk = cast(BulkDestination, self._destination)
        return bulk.create_many(self._load, [wanted for _, (wanted, _) in creates])

    def _created_many(self, creates: list[tuple[int, Create]], answers: Any) -> list[Pair]:
        """Judge the answers of a slice record by record: one that failed changes nothing about the others."""
        try:
            read = read_answers(self._load, answers, len(creates))
        except ValueError as error:
            raise BadAnswer(str(error)) from None
        pairs: list[Pair] = []
        bad: Exception | None = None
        failed = len(self._not_created)
        for (number, create), answer in zip(creates, read, strict=True):
            if isinstance(answer, NotCreated):
                self._not_created.append((number, answer))
                continue
            try:
                pairs.append(self._created(create, answer))
            except (BadAnswer, OutsideScope) as error:
                bad = bad or error
        if bad is not None:
            raise bad
        if len(self._not_created) > failed:
            raise self._records_not_created()
        return pairs

    def _records_not_created(self) -> RecordsNotCreated:
        return RecordsNotCreated(self._load, self._not_created, self._progress.total)

    def _created(self, create: Create, stored: Record) -> Pair:
        wanted, waiting = create
        self._done.created += 1
        self._ended()
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
        self._ended()

    def _filled(self, pair: Pair, stored: Record | None) -> Record:
        if stored is None:
            return pair.current  # the references are there already
        self._done.second_writes += 1
        self._ended()
        return {**pair.current, **pair.wanted, **stored}
