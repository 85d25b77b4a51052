"""What workers found, put in order: line numbers, reject rows, and the facts for the gate."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airflow_bulk.documents.inspection import Inspected, Row
from airflow_bulk.documents.rejects import RejectFile
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import Part
from airflow_bulk.hooks.sending.protocol import CheckFindings, FirstReject, Gate


class PartOrder:
    """Numbers lines and hands facts on in the order of the parts.

    A part that begins in the middle of a file learns its first line from the part before it: until that one is
    checked, its rows wait here (:meth:`waiting` says how much), and so do its facts.
    """

    def __init__(self, files: Sequence[FoundFile], rejects: RejectFile | None) -> None:
        self._files, self._rejects = files, rejects
        self._next = 0
        self._line_behind = 1  # in the file in which the part before the next one ends
        self._rows: dict[int, list[Row]] = {}
        self._bytes: dict[int, int] = {}
        self._found: dict[int, Inspected] = {}
        self._known: dict[int, Part] = {}

    def begin_pass(self, index: int, line_behind: int) -> None:
        """Expect this part next; say in which line the one before it ends."""
        self._next, self._line_behind = index, line_behind
        self._rows.clear()
        self._bytes.clear()
        self._found.clear()

    def recheck(self, part: Part) -> None:
        """Expect rows of a part whose facts are known; they need not wait."""
        self._known[part.index] = part

    def waiting(self, index: int) -> int:
        """Return about how many bytes of rows of a part wait here."""
        return self._bytes.get(index, 0)

    def rows(self, index: int, rows: list[Row]) -> None:
        """Take reject rows."""
        if index in self._known:
            self._write(index, rows, self._known[index].line)
        elif index == self._next:
            self._write(index, rows, self._line_behind)
        else:
            self._rows.setdefault(index, []).extend(rows)
            self._bytes[index] = self.waiting(index) + sum(200 + len(row.content or b"") for row in rows)

    def checked(self, found: Inspected, gate: Gate) -> list[Part]:
        """Take what a check found, and tell the gate all that is in order now.

        :return: the parts that the gate was told, complete with their line numbers.
        """
        if found.part.index in self._known:
            return [self._known.pop(found.part.index)]
        self._found[found.part.index] = found
        told = []
        while self._next in self._found:
            told.append(self._tell(self._found.pop(self._next), gate))
        return told

    def _tell(self, found: Inspected, gate: Gate) -> Part:
        before = self._line_behind
        part = msgspec.structs.replace(found.part, line=found.first_line or before)
        first = [
            FirstReject(
                self._files[row.file].record.uri, row.line + row.relative * before, tuple(row.reasons)
            )
            for row in found.first
        ]
        gate.checked(part, CheckFindings(first, found.reasons, found.hints))
        self._line_behind = found.last_line + found.relative * before
        self._next += 1
        self._bytes.pop(self._next, None)
        self._write(self._next, self._rows.pop(self._next, []), self._line_behind)
        return part

    def _write(self, index: int, rows: list[Row], before: int) -> None:
        if self._rejects is None:
            return
        for row in rows:
            self._rejects.write(
                source=self._files[row.file].record.uri,
                line=row.line + row.relative * before,
                part=index,
                reasons=row.reasons,
                offset=row.offset,
                length=row.length,
                raw=row.content,
            )
