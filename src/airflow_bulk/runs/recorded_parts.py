"""The parts of a source in the record, and how far each has come."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bulk.documents.source.parts import Part

if TYPE_CHECKING:
    from airflow_bulk.runs.record import Record

#: Parts in one value: about 13 kB, below the store's warning at 65,535 bytes (airflow.md section 1.5).
PAGE = 100


class PartState(enum.StrEnum):
    """How far a part has come."""

    CHECKED = "checked"  # not taken by anyone: send it
    INTENT = "intent"  # a POST has begun; without a commit it cannot have been taken
    COMMIT = "commit"  # the last block may have left; look before acting
    SENT = "sent"  # its execution is known


class RecordedPart(msgspec.Struct, kw_only=True):
    """One part in the record.

    :param executions: every execution that held it, oldest first; the last one counts.
    :param given_up: how many of them were cancelled or failed and sent again.
    """

    part: Part
    state: PartState = PartState.CHECKED
    executions: list[str] = []
    given_up: int = 0

    def plain(self) -> list[Any]:
        """Return the entry as stored."""
        return [
            *msgspec.structs.astuple(self.part),
            str(self.state),
            self.executions,
            self.given_up,
        ]

    @classmethod
    def read(cls, plain: list[Any]) -> RecordedPart:
        """Read a stored entry.

        :raises ValueError: another version of this package has written it, as in the middle of an upgrade.
        """
        try:
            *facts, state, executions, given_up = plain
            return cls(
                part=Part(**dict(zip(Part.__struct_fields__, facts, strict=True))),
                state=PartState(state),
                executions=list(executions),
                given_up=given_up,
            )
        except ValueError as error:
            raise ValueError(
                "This task's record has parts that this version of the package cannot read: a worker with another version "
                "has begun the task. Nothing more was sent; a retry on a worker with that version goes on from the record."
            ) from error


class RecordedParts:
    """The parts of the record, in pages of :data:`PAGE`.

    :param record: where they are kept.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.entries: list[RecordedPart] = []
        page = 0
        while stored := record.read(f"parts.{page}"):
            self.entries += [RecordedPart.read(plain) for plain in stored]
            page += 1

    @classmethod
    def empty(cls, record: Record) -> RecordedParts:
        """The parts of a generation that has no plan: pages of a try that died before its plan are not read."""
        recorded = cls.__new__(cls)
        recorded._record, recorded.entries = record, []
        return recorded

    def forget(self) -> None:
        """Begin with no part; pages of a try that died before its plan are emptied, the last one first.

        Left behind, they would follow on the pages of a plan of fewer parts, and be sent with them.
        """
        self.entries = []
        stale = 0
        while self._record.read(f"parts.{stale}"):
            stale += 1
        for page in reversed(range(max(stale, 1))):
            self._record.write(f"parts.{page}", [])

    def add(self, parts: list[Part]) -> None:
        """Add checked parts, each page written once."""
        first = len(self.entries) // PAGE
        self.entries += [RecordedPart(part=part) for part in parts]
        for page in range(first, (len(self.entries) + PAGE - 1) // PAGE):
            self._write(page)

    def save(self, entry: RecordedPart) -> None:
        """Write an entry's page; when it returns, the entry survives anything."""
        # An intent tells nothing that matters after a clear: without a commit nobody has taken the part.
        self._write(entry.part.index // PAGE, copied=entry.state is not PartState.INTENT)

    def _write(self, page: int, *, copied: bool = True) -> None:
        rows = [entry.plain() for entry in self.entries[page * PAGE : (page + 1) * PAGE]]
        self._record.write(f"parts.{page}", rows, copied=copied)

    def doubt(self) -> None:
        """The import holds what no record tells of: look for every part before it is sent."""
        for entry in self.entries:
            if entry.part.lines and entry.state in (PartState.CHECKED, PartState.INTENT):
                entry.state = PartState.COMMIT

    def hold(self) -> None:
        """Return only if this try is still the one that may act; see :meth:`Record.hold`."""
        self._record.hold()

    def in_state(self, *states: PartState) -> list[RecordedPart]:
        """Entries in one of these states, in order."""
        return [entry for entry in self.entries if entry.state in states]

    def known_executions(self) -> set[str]:
        """Every execution id that was ever recorded."""
        return {one for entry in self.entries for one in entry.executions}
