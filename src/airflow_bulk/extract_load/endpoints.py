"""The protocols of the two systems of an extract/load batch: the source and the destination.

Any object with these methods can be used. The package has REST and SQL sources, and REST and document-import
destinations.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol, runtime_checkable

from airflow_bulk.extract_load.mapping import Record

#: The destination's own id of a record (extract_load.md section 8).
DESTINATION_ID = "id"


class UnfilterableBound(ValueError):
    """A source cannot filter by a bound that was given. Nothing was read; a retry would fail in the same way."""


@runtime_checkable
class Source(Protocol):
    """The system from which records are read."""

    def extract(
        self, name: str, *, since: datetime | None, updated_since: datetime | None, grain: str | None
    ) -> Iterator[Record]:
        """Read the records of one object.

        :param since: read only records whose own time is not before this.
        :param updated_since: read only records that were changed at this time or later.
        :param grain: the report's grain, if any.
        :raises UnfilterableBound: this source cannot filter by a bound that was given; it then reads nothing.
        """

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return when *record* was last changed, for the watermark; ``None`` if it does not say."""


@runtime_checkable
class Destination(Protocol):
    """The system to which records are written. A record's own id stands in :data:`DESTINATION_ID`."""

    def snapshot(self, name: str) -> Iterator[Record]:
        """Read all records of one object."""

    def create(self, name: str, record: Record) -> Record:
        """Create a record and return it as stored, with its id."""

    def update(self, name: str, record_id: object, record: Record) -> Record:
        """Replace a record and return it as stored."""

    def delete(self, name: str, record_id: object) -> None:
        """Delete a record."""
