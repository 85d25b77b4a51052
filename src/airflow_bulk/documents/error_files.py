"""Read a platform's file of failed lines. Nobody documents its columns, so a row is read as it is and not understood here.

The file comes from another party: it may be anything. It is decoded without losing a byte, a row is bounded, and nothing in it is
ever used as a path. Which line of the source a row is about is proved in :mod:`airflow_bulk.documents.error_join`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, TextIO

import msgspec

#: The most characters of one cell: a line of the source may stand in one.
MOST_OF_A_CELL = 4 << 20
MOST_OF_A_LINE = 8 << 20
DELIMITERS = ",;\t"
#: Rows from which the delimiter is told, and the most characters of them.
FIRST_ROWS, FIRST_LOOK = 20, 256 << 10
MESSAGES = frozenset(
    {"message", "error_message", "error", "reason", "description", "error_description", "detail", "details"}
)
NUMBERS = frozenset(
    {"line_number", "line", "row", "row_number", "line_no", "lineno", "line_num", "linenumber", "rownumber"}
)
LINES = frozenset({"line", "raw", "raw_line", "document", "content", "input", "source_line"})
IDENTIFIERS = frozenset(
    {
        *("user_account_id", "account_id", "email_hash", "hash", "user_agent_id", "user_point_id"),
        *("identifier", "user_identifier", "external_id", "externalid"),
    }
)
OTHERS = frozenset({"error_id", "error_code", "code", "status", "type"})
_KNOWN = MESSAGES | NUMBERS | LINES | IDENTIFIERS | OTHERS
#: Cells that look like names of columns where none is known: a digit makes a cell a value, such as "crm-3".
_WORDS = re.compile(r"(?:[^\W\d]|\$)(?:[^\W\d]|[$ .-]){0,38}")
_NUMBER = re.compile(r"[\d.,+-]+")


class ErrorRow(NamedTuple):
    """One failed line, as a file of the platform tells it. Give one of the first three, or none if the row says none.

    :param line_number: its number, from 1, among the lines of the upload; the header of a CSV is no line.
    :param identifier: an identifier that stands in the line, such as its ``user_account_id``.
    :param raw: the line itself.
    :param message: why it failed.
    :param columns: what else the row says, by name.

    All but the number may hold personal data: no repr shows it.
    """

    line_number: int | None = None
    identifier: str | None = None
    raw: str | bytes | None = None
    message: str | None = None
    columns: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"ErrorRow(line_number={self.line_number!r})"


#: Reads a file of failed lines: bytes -> rows.
ErrorFileReader = Callable[[BinaryIO], Iterable[ErrorRow]]


class ErrorFileUnreadable(ValueError):
    """A file of failed lines cannot be read, from some row on. The message holds nothing of the file."""


def checked_row(row: object) -> ErrorRow:
    """Take a row of a reader that a user wrote: what is returned can be compared and stored.

    :raises ErrorFileUnreadable: it is no ErrorRow, a field is of another type or cannot be written, or the row is too long.
    """
    if not isinstance(row, ErrorRow):
        raise ErrorFileUnreadable(f"error_file_reader gave a {type(row).__name__} and no ErrorRow")
    fits = {
        "line_number": row.line_number is None or type(row.line_number) is int,
        "identifier": isinstance(row.identifier, str | None),
        "raw": isinstance(row.raw, str | bytes | None),
        "message": isinstance(row.message, str | None),
        "columns": isinstance(row.columns, Mapping)
        and all(isinstance(one, str) for pair in row.columns.items() for one in pair),
    }
    if wrong := [name for name, right in fits.items() if not right]:
        raise ErrorFileUnreadable(f"error_file_reader gave an ErrorRow with another type of {wrong[0]}")
    columns = {_plain(name, "columns"): _plain(value, "columns") for name, value in row.columns.items()}
    plain = ErrorRow(
        line_number=row.line_number,
        identifier=None if row.identifier is None else _plain(row.identifier, "identifier"),
        raw=_plain(row.raw, "raw") if isinstance(row.raw, str) else row.raw,
        message=None if row.message is None else _plain(row.message, "message"),
        columns=columns,
    )
    texts = (plain.identifier, plain.raw, plain.message, *columns, *columns.values())
    if sum(len(one) for one in texts if one) > MOST_OF_A_LINE:
        raise ErrorFileUnreadable(
            f"error_file_reader gave an ErrorRow of more than {MOST_OF_A_LINE} characters"
        )
    return plain


def _plain(text: str, field: str) -> str:
    """Text that was decoded without losing a byte, as it is; half a surrogate pair is no text that a file can hold."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeError:
        raise ErrorFileUnreadable(
            f"error_file_reader gave an ErrorRow with half a surrogate pair in {field}"
        ) from None


def read_error_rows(file: BinaryIO) -> Iterator[ErrorRow]:
    """Read rows of CSV or of NDJSON; what a column means is not decided here, but for the message.

    :param file: an open file that can seek.
    :raises ErrorFileUnreadable: from some row on it is neither.
    """
    start = file.tell()
    first = file.read(FIRST_LOOK).decode("utf-8-sig", "surrogateescape")
    line = first.lstrip()
    if "\n" not in line:  # a row with a long message, or with a line of the source
        line += file.read(MOST_OF_A_LINE).decode("utf-8", "surrogateescape")
    file.seek(start)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="\n")
    try:
        if _object(line.partition("\n")[0]) is not None:
            yield from _json_rows(_lines(text))
        else:
            yield from _csv_rows(_lines(text), first)
    finally:
        text.detach()


def _lines(text: TextIO) -> Iterator[str]:
    number = 0
    while line := text.readline(MOST_OF_A_LINE):
        number += 1
        if len(line) == MOST_OF_A_LINE and not line.endswith("\n"):
            raise ErrorFileUnreadable(f"line {number} is longer than {MOST_OF_A_LINE} characters")
        yield line


def _csv_rows(lines: Iterator[str], first: str) -> Iterator[ErrorRow]:
    # For the whole process: csv knows no other way, and a larger limit takes nothing from anybody.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_OF_A_CELL))
    delimiter = _delimiter(first)
    rows = csv.reader(lines, delimiter=delimiter, strict=False)
    names: list[str] | None = None
    number = 0
    while True:
        number += 1
        try:
            cells = next(rows, None)
        except csv.Error:
            raise ErrorFileUnreadable(f"it is no CSV from row {number} on") from None
        if cells is None:
            return
        if not any(cells):
            continue
        if names is None:
            names = _header(cells, _second(first, delimiter))
            if names:
                continue
        yield _row(cells, names)


def _delimiter(first: str) -> str:
    """The delimiter that makes equally wide rows of the first ones, and the most cells."""
    whole = first.splitlines()
    sample = (whole[:-1] or whole)[:FIRST_ROWS]  # the first look may cut its last line

    def fits(delimiter: str) -> tuple[bool, int]:
        try:
            widths = {len(row) for row in csv.reader(sample, delimiter=delimiter) if row}
        except csv.Error:
            return False, 0
        return len(widths) == 1 and max(widths) > 1, max(widths, default=0)

    return max(DELIMITERS, key=fits)


@lru_cache(maxsize=1_000)
def normal(name: str) -> str:
    """A column's name as names are compared: without case, blanks and the mark of the platform's own properties."""
    return re.sub(r"[\s.-]+", "_", name.strip().removeprefix("$").lower())


def _second(first: str, delimiter: str) -> list[str]:
    """The second row, as far as the first look goes."""
    try:
        rows = (row for row in csv.reader(io.StringIO(first, newline=""), delimiter=delimiter) if any(row))
        next(rows, None)
        return next(rows, [])
    except csv.Error:
        return []


def _header(cells: list[str], second: list[str]) -> list[str]:
    """The names of the columns if the first row is a header; empty if it is none.

    One known name is enough. But a column that says "error" in the second row as well has it for a value, and no column is named
    by a number.
    """
    if len(set(cells)) < len(cells) or any(_NUMBER.fullmatch(cell.strip()) for cell in cells):
        return []
    known = [place for place, cell in enumerate(cells) if normal(cell) in _KNOWN]
    if known:
        return cells if any(second[place : place + 1] != [cells[place]] for place in known) else []
    return cells if all(_WORDS.fullmatch(cell.strip()) for cell in cells) else []


def _row(cells: list[str], names: list[str] | None) -> ErrorRow:
    columns: dict[str, str] = {}
    message = None
    for place, cell in enumerate(cells):
        name = names[place] if names and place < len(names) else f"column_{place + 1}"
        if message is None and normal(name) in MESSAGES:
            message = cell
        else:
            columns[name] = cell
    return ErrorRow(message=message, columns=columns)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(line.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json_rows(lines: Iterator[str]) -> Iterator[ErrorRow]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _object(line)
        if found is None:
            raise ErrorFileUnreadable(f"line {number} is no JSON object")
        columns = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in found.items()
            if value is not None
        }
        said = next((name for name in columns if normal(name) in MESSAGES), None)
        message = None if said is None else columns.pop(said)
        yield ErrorRow(message=message, columns=columns)
