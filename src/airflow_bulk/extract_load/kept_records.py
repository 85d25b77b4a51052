"""The records in scope that a destination holds after an apply, in its work file as far as the apply has written them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from airflow_bulk.extract_load import record_tables
from airflow_bulk.extract_load.endpoints import DESTINATION_ID
from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.planning import ApplyPlan, Pair, keep_ids, unpacked_pending
from airflow_bulk.extract_load.work_file import packed, stored_text, unpacked

_OWN = -1  # no number of another load


class KeptRecords:
    """Keeps what an apply has written beside what its plan leaves alone.

    :param orphans_stay: nothing deletes the orphans.
    """

    def __init__(self, plan: ApplyPlan, *, orphans_stay: bool) -> None:
        self._plan = plan
        self._work = plan.work
        self._orphans_stay = orphans_stay
        #: How many records have references that are still pending.
        self.waiting = plan.waiting

    def keep(self, pair: Pair) -> None:
        """Keep the record of a pair as the destination stored it, and which of its references are still pending."""
        self.waiting += bool(pair.pending)
        self._add(record_tables.WRITTEN, pair.current, packed(pair.pending) if pair.pending else None)

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
        rows = self._work.rows(record_tables.KEPT_WAITING)
        written = ((unpacked(record), unpacked_pending(pending)) for record, pending in rows)
        return chain(self._plan.unchanged_waiting(), written)

    def resolved(self, source_field: str) -> Iterator[Pair]:
        """Yield each record with pending references, and as wanted the ids that these have now.

        :param source_field: the field of a record that holds its source id.
        """
        if not self.waiting:
            return
        records = chain(self._without_pending(), (record for record, _ in self._waiting()))
        keep_ids(
            self._work, {_OWN: ((str(one.get(source_field)), one.get(DESTINATION_ID)) for one in records)}
        )
        for record, pending in self._waiting():
            yield Pair({field: self._id(source_id) for field, source_id in pending.items()}, record)

    def _id(self, source_id: str) -> Any:
        """The id of the record that was kept last with this source id; ``None`` if there is none."""
        found = self._work.row(record_tables.LAST_ID, _OWN, stored_text(source_id))
        return None if found is None else unpacked(found[0])
