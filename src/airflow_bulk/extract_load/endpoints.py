"""The protocols of the two systems of an extract/load batch: the source and the destination.

Any object with these methods can be used. The package has REST and SQL sources, and REST and document-import
destinations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
        """Read the records of one object, all of them or with an error.

        A :class:`airflow_bulk.extract_load.readings.RecordReading` also says what shows that these are all; without one nothing
        is deleted that this reading lacks.

        :param since: read only records whose own time is not before this.
        :param updated_since: read only records that were changed at this time or later.
        :param grain: the report's grain, if any.
        :raises UnfilterableBound: this source cannot filter by a bound that was given; it then reads nothing.
        :raises PagesMoved: (while it is read) the list changed meanwhile; it is then read again.
        """

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return when *record* was last changed, for the watermark; ``None`` if it does not say."""


@runtime_checkable
class Destination(Protocol):
    """The system to which records are written. A record's own id stands in :data:`DESTINATION_ID`.

    With ``writes_at_once`` above 1, ``create``, ``update`` and ``delete`` are called by several threads at once, and must
    be safe for that. ``snapshot`` and the rest are called by one thread.
    """

    def snapshot(self, name: str) -> Iterator[Record]:
        """Read all records of one object: one that is left out would be created again. What ``extract`` returns will do, too."""

    def create(self, name: str, record: Record) -> Record:
        """Create a record and return it as stored, with its id."""

    def update(self, name: str, record_id: object, record: Record) -> Record:
        """Replace a record and return it as stored."""

    def delete(self, name: str, record_id: object) -> None:
        """Delete a record."""


@runtime_checkable
class PreparedDestination(Protocol):
    """A destination that makes ready what its threads share: optional."""

    def prepare_writes(self, writes_at_once: int) -> None:
        """Read the connection and open what is shared, before several threads write; called by the task's own thread."""


@dataclass(frozen=True, slots=True)
class NotCreated:
    """What became of a record that a bulk destination has not created.

    :param why: the reason in general words. It stands in logs: nothing of the record may be in it.
    :param passing: whether a retry may help.
    """

    why: str
    passing: bool = False


@runtime_checkable
class BulkDestination(Protocol):
    """A destination that creates many records in one call: optional, beside the methods of :class:`Destination`.

    :ivar creates_at_once: how many records one call takes. So many times ``writes_at_once`` records are in doubt when a try
        is killed.
    """

    creates_at_once: int

    def create_many(self, name: str, records: Sequence[Record]) -> Sequence[Record | NotCreated]:
        """Create records; with ``writes_at_once`` above 1, several threads call this at once.

        :returns: for each record, in the same order: the record as stored, with its id, or why it was not created.
        :raises Exception: nobody knows what was created; the try ends, and the next one reads the destination.
        """
