"""The records in scope that a destination holds after an apply: its result, and where references find new records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from airflow_bulk.extract_load import record_tables
from airflow_bulk.extract_load.endpoints import DESTINATION_ID
from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.planning import ApplyPlan, keep_ids, unpacked_pending
from airflow_bulk.extract_load.work_file import WorkFile, packed, stored_text, unpacked

_OWN = -1  # no number of another load


class KeptRecords:
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
