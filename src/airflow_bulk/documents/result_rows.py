"""The rows of a results file, and of a reject file: one schema, with its version in each row.

One row is one bad line, or, where the lines are not known one by one, so many lines of one part. The sum of ``lines`` over the
rows of a state is the count of that state in the result of the import. ``docs/results.md`` describes each field.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from airflow_bulk.documents.source.parts import SourceUnusable

#: The version of the schema; a reader refuses rows of a version that it does not know.
SCHEMA = 1

#: ``rejected``: a rule of ours refused the line, and it was not sent. ``failed``: the platform refused it.
#: ``unprocessed``: it was never sent, or nobody knows whether the platform took it.
State = Literal["rejected", "failed", "unprocessed"]

#: A stretch of the source: URI, number of its first line, byte offset and bytes in the uncompressed file, version of the file.
Stretch = tuple[str, int, int, int, str]

REJECTED, FAILED, UNPROCESSED = "rejected", "failed", "unprocessed"


def line_row(
    state: State,
    *,
    source: str,
    version: str,
    line: int | None,
    part: int,
    execution: str | None,
    reasons: Sequence[str],
    offset: int,
    length: int,
    raw: bytes | None = None,
    header: bytes = b"",
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A row about one line whose place in the source is known.

    :param version: what changes when the file does (:attr:`~airflow_bulk.documents.source.parts.SourceFile.mark`).
    :param line: its number in the file, from 1; None where it stands in a stretch whose lines are not numbered yet.
    :param part: 0-based number of the part in which it stands.
    :param length: its bytes, line end included.
    :param raw: its content, as it stands in the file; None where no content is wanted.
    :param header: of a CSV file, where content is wanted.
    :param columns: what else the platform says about it.
    """
    row = _row(state, source, line, 1, part, execution, reasons, offset, length) | {"version": version}
    if raw is not None:
        row |= content_of(raw)
    if header:
        row |= content_of(header, "header")
    if columns:
        row["columns"] = dict(columns)
    return row


def lines_row(
    state: State,
    *,
    source: str | None,
    lines: int,
    part: int,
    execution: str | None,
    reasons: Sequence[str],
    stretches: Sequence[Stretch] | None = None,
    part_lines: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A row about lines that are not known one by one.

    :param source: the file in which their part begins; None where that is not known.
    :param lines: for how many lines the row stands.
    :param stretches: where their part stands in the source; None where that is not known, or where an earlier row of the
        part says it.
    :param part_lines: how many lines of those stretches go out: all but the rejected and the blank ones.
    """
    row = _row(state, source, None, lines, part, execution, reasons, None, None)
    if stretches is not None:
        row["stretches"] = [list(one) for one in stretches]
        if part_lines is not None:
            row["part_lines"] = part_lines
    if columns:
        row["columns"] = dict(columns)
    return row


def content_of(raw: bytes, key: Literal["raw", "header"] = "raw") -> dict[str, str]:
    """The content of a line as a row holds it, without its line end; base64 where it is not UTF-8."""
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return {key: raw.decode()}
    except UnicodeDecodeError:
        return {f"{key}_base64": base64.b64encode(raw).decode()}


def _bytes_of(text: str | None, base64_text: str | None) -> Any:
    if text is not None:
        return text.encode()
    return None if base64_text is None else base64.b64decode(base64_text)


def _row(
    state: State,
    source: str | None,
    line: int | None,
    lines: int,
    part: int,
    execution: str | None,
    reasons: Sequence[str],
    offset: int | None,
    length: int | None,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "state": state,
        # Where nothing was sent, the platform has said nothing.
        "where": "check" if state == REJECTED else "platform",
        "source": source,
        "line": line,
        "lines": lines,
        "part": part,
        "execution": execution,
        "reasons": list(reasons),
        "offset": offset,
        "bytes": length,
    }


class ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it is read; see :func:`line_row` and :func:`lines_row`. No repr shows what the line or the platform says."""

    schema: int
    state: State
    part: int
    lines: int = 1
    source: str | None = None
    version: str = ""
    line: int | None = None
    execution: str | None = None
    reasons: list[str] = []
    offset: int | None = None
    bytes: int | None = None
    raw: str | None = None
    raw_base64: str | None = None
    header: str | None = None
    header_base64: str | None = None
    columns: dict[str, str] = {}
    stretches: list[Stretch] = []
    part_lines: int | None = None

    def __repr__(self) -> str:
        return f"ResultRow({self.state}, part={self.part}, lines={self.lines}, line={self.line!r})"

    @property
    def content(self) -> Any:
        """The line in bytes, without its line end; None where the row does not hold it."""
        return _bytes_of(self.raw, self.raw_base64)

    @property
    def header_line(self) -> Any:
        """The header of a CSV line in bytes, without its line end; None where the row does not hold it."""
        return _bytes_of(self.header, self.header_base64)

    def written(self, *, with_content: bool, reduced: Callable[[str], str]) -> dict[str, Any]:
        """The row as it is written into another file.

        :param with_content: with the line, and with what the platform says about it.
        :param reduced: makes the kind of a platform's message, which may quote the line; used where no content is wanted.
        """
        told = with_content or self.state == REJECTED  # the reasons of the check hold no content
        row = _row(
            self.state,
            self.source,
            self.line,
            self.lines,
            self.part,
            self.execution,
            self.reasons if told else list(map(reduced, self.reasons)),
            self.offset,
            self.bytes,
        )
        more: dict[str, Any] = {
            "version": self.version,
            "stretches": [list(one) for one in self.stretches],
            "part_lines": self.part_lines,
        }
        if with_content:
            more |= {"raw": self.raw, "raw_base64": self.raw_base64, "columns": self.columns}
            more |= {"header": self.header, "header_base64": self.header_base64}
        return row | {name: value for name, value in more.items() if value}


def read_rows(lines: Iterable[Any], name: str) -> Iterator[ResultRow]:
    """Read the rows of a results file or a reject file.

    :param lines: of the file, in bytes.
    :param name: the file, for errors.
    :raises SourceUnusable: a row is none, or is of another version of the schema.
    """
    read = msgspec.json.Decoder(ResultRow).decode
    for number, line in enumerate(lines, 1):
        try:
            row = read(line)
        except ValueError:
            raise SourceUnusable(
                f"{name}, line {number}: is no row of a results file: name the results_uri of an import."
            ) from None
        if row.schema != SCHEMA:
            raise SourceUnusable(
                f"{name}, line {number}: is a row of schema {row.schema}, and this version reads schema {SCHEMA}."
            )
        yield row
