"""The source once more, when an import is over: opened only if it is needed, and only if it is what was sent.

Whatever keeps it from being read is a reason that is told, and never an error: the import does not depend on it.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

import msgspec

from airflow_bulk.documents.inspection import PartChecker
from airflow_bulk.documents.result_rows import REJECTED, SCHEMA, Stretch, lines_row
from airflow_bulk.documents.sent_lines import stretches_of
from airflow_bulk.documents.source.bodies import HoleKeeper, Spill
from airflow_bulk.documents.source.parts import Part, SourceError, SourceFile
from airflow_bulk.documents.source.reader import SourceReader
from airflow_bulk.documents.source_check import PartOrder, RejectRows
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.upload import planning

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.files import FoundFile
    from airflow_bulk.runs.upload.planning import SourcePlan

log = logging.getLogger(__name__)

REJECTS_GONE = "the file of rejected lines is gone"
GONE = "the source has changed or is gone since it was sent"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SourceAgain:
    """The source of an import that is over.

    :param args: what was asked for.
    :param plan: what pass 1 has found.
    :param find: finds the files, if they are what they were.
    :ivar why: why the source cannot be read; empty while it can, or nobody has tried.
    """

    def __init__(
        self, args: UploadArguments, plan: SourcePlan, find: Callable[[], Sequence[FoundFile]]
    ) -> None:
        self._args, self._plan, self._find = args, plan, find
        self._reader: SourceReader | None = None
        self.why = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()

    def reader(self) -> SourceReader | None:
        """Open the source; None where it cannot be read, or is not what was sent."""
        if self._reader is None and not self.why:
            try:
                files = self._find()
                layout = planning.layout_of(self._args, self._plan)
                self._reader = SourceReader(files, planning.line_rules(self._args), layout.max_part_bytes)
            except TaskStopped:
                raise
            except Exception as error:  # noqa: BLE001  (a store may raise anything)
                log.warning("The source cannot be read again (%s): %s.", type(error).__name__, GONE)
                self.why = GONE
        return self._reader

    def name(self, part: Part) -> str | None:
        """The URI of the file in which a part begins; None where it is not known any more."""
        if part.file < len(self._plan.files):
            return self._plan.files[part.file][0]
        reader = self.reader()
        return None if reader is None else reader.files[part.file].record.uri

    def record(self, file: int) -> SourceFile:
        """A file of the source, which was opened."""
        assert self._reader is not None  # noqa: S101
        return self._reader.files[file].record

    def header(self, file: int) -> bytes:
        """The header of a file of the source, which was opened."""
        assert self._reader is not None  # noqa: S101
        return self._reader.beginning(file).header

    def stretches(self, part: Part) -> list[Stretch] | None:
        """Where a part stands in the source; None where that cannot be told."""
        reader = self.reader()
        if reader is None:
            return None
        try:
            return stretches_of(reader, part)
        except SourceError:
            return None

    def read(self, file: int, offset: int, length: int) -> bytes | None:
        """Read bytes of a file that was opened; None where they are not there any more."""
        assert self._reader is not None  # noqa: S101
        buffer = bytearray(length)
        try:
            count = self._reader.contents(file).readinto(memoryview(buffer), offset)
        except SourceError:
            return None
        return bytes(buffer) if count == length else None

    # Rejected lines.

    def rejected_rows(self, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
        """The rows of all rejected lines: from the reject file, else from the source, else their counts."""
        told = 0
        with tempfile.TemporaryFile() as held:
            if self._hold_rejects(held):
                yield from map(_row, held)
                return
        for part in parts:
            if part.rejected:
                told += part.rejected
                yield from self._rejected_again(part)
        if told != self._plan.rejected:  # a source without a line to send: its parts were not recorded
            yield _count_row(None, 0, self._plan.rejected - told, REJECTS_GONE)

    def _hold_rejects(self, held: BinaryIO) -> bool:
        """Copy the reject file; say whether it is whole, and what pass 1 has written."""
        rows = RejectRows(held, _content(self._args))
        count = 0
        try:
            for row in self._kept_rejects():
                rows.write_row(row)
                count += 1
        except TaskStopped:
            raise
        except Exception:  # noqa: BLE001  (a store may raise anything)
            return False
        held.seek(0)
        return count == self._plan.rejected

    def _kept_rejects(self) -> Iterator[dict[str, Any]]:
        uri = self._plan.rejects_uri
        if not uri:
            raise _NotAsWritten
        with planning.open_path(uri).open("rb") if "://" in uri else Path(uri).open("rb") as file:
            for line in file:
                row = _row(line)
                if row.get("schema") != SCHEMA or row.get("state") != REJECTED or row.get("lines") != 1:
                    raise _NotAsWritten
                if self._args.rejects_content == "position":
                    for key in ("raw", "raw_base64", "header", "header_base64"):
                        row.pop(key, None)
                yield row

    def _rejected_again(self, part: Part) -> Iterator[dict[str, Any]]:
        """Check a part once more; its rows count only if all is as it was."""
        reader, content = self.reader(), _content(self._args)
        if reader is not None:
            with tempfile.TemporaryFile() as held, contextlib.closing(Spill()) as spill:
                order = PartOrder(reader.files, RejectRows(held, content), _nothing)
                order.recheck(part)
                layout = planning.layout_of(self._args, self._plan)
                checker = PartChecker(order, reader, layout, HoleKeeper(0, spill.handle), content)
                with contextlib.suppress(SourceError):
                    checker.check(part)
                    held.seek(0)
                    yield from map(_row, held)
                    return
        why = f"{REJECTS_GONE}, and {GONE}"
        yield _count_row(self.name(part), part.index, part.rejected, why, self.stretches(part))


class _NotAsWritten(Exception):
    """The reject file is not there, or not what pass 1 has written."""


def _row(line: bytes) -> dict[str, Any]:
    return _decode(line)


def _content(args: UploadArguments) -> Literal["line", "position"]:
    return "position" if args.rejects_content == "position" else "line"


def _count_row(
    source: str | None, part: int, lines: int, why: str, stretches: list[Stretch] | None = None
) -> dict[str, Any]:
    return lines_row(
        "rejected",
        source=source,
        lines=lines,
        part=part,
        execution=None,
        reasons=[why],
        stretches=stretches,
    )


def _nothing(*_: object) -> None:
    return
