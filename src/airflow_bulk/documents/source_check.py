"""What the checks of all parts found, in order; the reject file; and the check of a whole source in one process.

The parts come in order and without gaps, and a rejected line is named by its number in its file, whoever checked its
part and whenever. The reject file (NDJSON, one row for each line that was not sent) has its name only when it is complete,
and the same name at every try, so that a retry replaces it; a local file can be read by its owner alone, since lines are
personal data.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import msgspec

from airflow_bulk.documents.inspection import Inspected, PartChecker, Row
from airflow_bulk.documents.result_rows import line_row
from airflow_bulk.documents.source.bodies import HoleKeeper, Spill
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import Part, SourceError
from airflow_bulk.documents.source.reader import LineRules, SourceReader

FIRST_REJECTS = 10  # rejected lines of a source that are told one by one


class FirstReject(NamedTuple):
    """One of the first rejected lines: where, and why. Never its content."""

    uri: str
    line: int
    reasons: tuple[str, ...]


class CheckFindings(NamedTuple):
    """What the check of one part found beside the counts.

    :param first: the first rejected lines, at most 10.
    :param reasons: how many lines were rejected, by reason.
    :param hints: kind -> how often seen (never a reason to refuse).
    """

    first: list[FirstReject]
    reasons: dict[str, int]
    hints: dict[str, int]


class CheckTotals:
    """The findings of all parts so far.

    :ivar first: the first rejected lines, at most 10.
    """

    def __init__(self) -> None:
        self.first: list[FirstReject] = []
        self.reasons: Counter[str] = Counter()
        self.hints: Counter[str] = Counter()

    def add(self, findings: CheckFindings) -> None:
        """Add one part's findings."""
        self.first += findings.first[: FIRST_REJECTS - len(self.first)]
        self.reasons.update(findings.reasons)
        self.hints.update(findings.hints)


class PartOrder:
    """Numbers lines and hands facts on in the order of the parts.

    A part that begins in the middle of a file learns its first line from the part before it: until that one is
    checked, its rows wait here (:meth:`waiting` says how much), and so do its facts.

    :param rejects: where reject rows go; None: nowhere.
    :param take: given each part with its line number, and what its check found; in order, without gaps.
    """

    def __init__(
        self,
        files: Sequence[FoundFile],
        rejects: RejectRows | None,
        take: Callable[[Part, CheckFindings], None],
    ) -> None:
        self._files, self._rejects, self._take = files, rejects, take
        self._next = 0
        #: Number of the line behind the parts so far, in the file in which the last of them ends.
        self.line_behind = 1
        self._rows: dict[int, list[Row]] = {}
        self._bytes: dict[int, int] = {}
        self._found: dict[int, Inspected] = {}
        self._known: dict[int, Part] = {}

    def begin_pass(self, index: int, line_behind: int) -> None:
        """Expect this part next; say in which line the one before it ends."""
        self._next, self.line_behind = index, line_behind
        self._rows.clear()
        self._bytes.clear()
        self._found.clear()

    def recheck(self, part: Part) -> None:
        """Expect a check of a part whose facts are known: its rows need not wait, and nobody is given its facts."""
        self._known[part.index] = part

    def waiting(self, index: int) -> int:
        """Return about how many bytes of rows of a part wait here."""
        return self._bytes.get(index, 0)

    def rows(self, index: int, rows: list[Row]) -> None:
        """Take reject rows."""
        if index in self._known:
            self._write(index, rows, self._known[index].line)
        elif index == self._next:
            self._write(index, rows, self.line_behind)
        else:
            self._rows.setdefault(index, []).extend(rows)
            self._bytes[index] = self.waiting(index) + sum(
                200 + len(row.content or b"") + len(row.header) for row in rows
            )

    def checked(self, found: Inspected) -> None:
        """Take what a check found, and hand on all that is in order now."""
        if self._known.pop(found.part.index, None):
            return
        self._found[found.part.index] = found
        while self._next in self._found:
            self._hand_on(self._found.pop(self._next))

    def _hand_on(self, found: Inspected) -> None:
        before = self.line_behind
        part = msgspec.structs.replace(found.part, line=found.first_line or before)
        first = [
            FirstReject(
                self._files[row.file].record.shown, row.line + row.relative * before, tuple(row.reasons)
            )
            for row in found.first
        ]
        self._take(part, CheckFindings(first, found.reasons, found.hints))
        self.line_behind = found.last_line + found.relative * before
        self._next += 1
        self._bytes.pop(self._next, None)
        self._write(self._next, self._rows.pop(self._next, []), self.line_behind)

    def _write(self, index: int, rows: list[Row], before: int) -> None:
        if self._rejects is None:
            return
        for row in rows:
            record = self._files[row.file].record
            self._rejects.write(
                source=record.uri,
                version=record.mark,
                line=row.line + row.relative * before if record.knows_lines else None,
                part=index,
                reasons=row.reasons,
                offset=row.offset,
                length=row.length,
                raw=row.content,
                header=row.header,
            )


class RejectRows:
    """Rows of rejected lines in an open file, one a line.

    :param content: ``"line"`` or ``"position"`` (no content at all).
    """

    def __init__(self, file: IO[bytes] | None, content: Literal["line", "position"] = "line") -> None:
        self.content = content
        self._file: Any = file
        self._encoder = msgspec.json.Encoder()

    def write(
        self,
        *,
        source: str,
        version: str,
        line: int | None,
        part: int,
        reasons: Sequence[str],
        offset: int,
        length: int,
        raw: bytes | None,
        header: bytes = b"",
    ) -> None:
        """Add the row of a rejected line."""
        self.write_row(
            line_row(
                "rejected",
                source=source,
                version=version,
                line=line,
                part=part,
                execution=None,
                reasons=reasons,
                offset=offset,
                length=length,
                raw=raw if self.content == "line" else None,
                header=header if self.content == "line" else b"",
            )
        )

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Add a row as it is."""
        self._file.write(self._encoder.encode(row) + b"\n")


class RejectFile(RejectRows):
    """An NDJSON file of bad lines, one row a line, as :mod:`airflow_bulk.documents.result_rows` has them.

    With content ``"line"`` a row holds the line (not one of more than 1 MiB).

    :param folder: a folder: local path, ``file://`` URI, or universal path object.
    :param name: file name; the same name at every try, so that a retry replaces the file.
    :param content: ``"line"`` or ``"position"`` (no content at all).
    """

    def __init__(self, folder: Any, name: str, *, content: Literal["line", "position"] = "line") -> None:
        super().__init__(None, content)
        self._name = name
        self._folder = _local_folder(folder)
        self._remote: Any = folder
        self._partial = ""

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Add a row as it is; the first one makes the file."""
        if self._file is None:
            self._file = self._begin()
        super().write_row(row)

    def _begin(self) -> IO[bytes]:
        try:
            if self._folder is None:
                file: IO[bytes] = (self._remote / self._name).open("wb")
                return file
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_leftovers()
            handle, self._partial = tempfile.mkstemp(".partial", f".{self._name}.", self._folder)  # mode 0600
            return os.fdopen(handle, "wb")
        except OSError as error:
            raise SourceError(
                f"rejects_path {self._folder or 'in the store'}: no file can be written there "
                f"({error.strerror or type(error).__name__}). A retry tries again."
            ) from error

    def _forget_leftovers(self) -> None:
        """Remove what killed tries left: it is personal data that nobody would look for."""
        assert self._folder is not None  # noqa: S101
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name.startswith(f".{self._name}.") and path.name.endswith(".partial"):
                path.unlink(missing_ok=True)

    def finish(self) -> str:
        """Give the file its name.

        :return: its URI; empty when no line was rejected. A file of an earlier try is gone or replaced.
        """
        if self._file is None:
            if self._folder is not None and self._folder.is_dir():
                self._forget_leftovers()
                (self._folder / self._name).unlink(missing_ok=True)
            return ""
        self._file.close()
        self._file = None
        if self._folder is None:
            return str(self._remote / self._name)
        target = self._folder / self._name
        Path(self._partial).replace(target)
        return str(target)

    def discard(self) -> None:
        """Leave nothing behind, unless the file was finished."""
        if self._file is None:
            return
        abandon = getattr(self._file, "discard", None)
        if abandon is not None:
            abandon()
            self._file.closed = True  # fsspec: closing would make an object of it
        else:
            self._file.close()
        self._file = None
        if self._partial:
            Path(self._partial).unlink(missing_ok=True)


def _local_folder(folder: Any) -> Path | None:
    if isinstance(folder, Path):
        return folder
    if isinstance(folder, str):
        return Path(os.path.expanduser(folder.removeprefix("file://")))  # noqa: PTH111
    if getattr(folder, "protocol", "") in ("file", "local"):
        return Path(folder.path)
    return None


class SourceCheck:
    """Checks every line of a source in this process. Nothing is sent.

    :param files: what :func:`~airflow_bulk.documents.source.files.find_files` found, in order.
    :param rules: what a line may be.
    :param layout: how the source is cut: a longer line than a part is rejected.
    :param rejects: where reject rows go; the caller finishes or discards it.
    :param on_part: given each part as soon as it is checked.
    :ivar parts: the parts that were checked, with their facts.
    :ivar totals: what was found in them.
    """

    def __init__(
        self,
        files: Sequence[FoundFile],
        rules: LineRules,
        layout: Layout,
        *,
        rejects: RejectFile | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> None:
        self._files, self._rules, self._layout = files, rules, layout
        self._rejects, self._on_part = rejects, on_part
        self._checker: PartChecker | None = None
        self._stopped = False
        self.parts: list[Part] = []
        self.totals = CheckTotals()

    def run(self) -> None:
        """Read the source from its beginning to its end.

        :raises SourceError: it cannot be read, or is not what it was when it was found.
        :raises CheckStopped: :meth:`stop` was called.
        """
        order = PartOrder(self._files, self._rejects, self._take)
        want = self._rejects.content if self._rejects else ""
        with (
            SourceReader(self._files, self._rules, self._layout.max_part_bytes) as reader,
            contextlib.closing(Spill()) as spill,
        ):
            self._checker = PartChecker(order, reader, self._layout, HoleKeeper(0, spill.handle), want)
            if self._stopped:
                self._checker.stop()
            while self._checker.check(Part(index=len(self.parts), file=0, start=0, length=0)):
                pass

    def stop(self) -> None:
        """Stop for good. Safe in a signal handler."""
        self._stopped = True
        if self._checker is not None:
            self._checker.stop()

    def _take(self, part: Part, findings: CheckFindings) -> None:
        self.parts.append(part)
        self.totals.add(findings)
        if self._on_part is not None:
            self._on_part(part)
