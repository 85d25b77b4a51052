"""USER_SEGMENT as CSV: a header, then one command a row.

No source describes header, separator or quoting (mediarithmics.md section 6.2). This is [assumed]: the header holds the
names of the properties, cells are quoted as in RFC 4180, the text is UTF-8, and an empty cell means that the property
is absent. Each physical line is one command. So a line break inside a quoted cell is refused: parts are cut on lines.

The rules of a row are those of the JSON line with the same properties.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from airflow_bulk.documents.lines import faults
from airflow_bulk.documents.lines.faults import REFUSALS
from airflow_bulk.documents.lines.formats import FORMATS, Narrowing
from airflow_bulk.documents.lines.hints import property_hints

DOCUMENT_TYPE = "USER_SEGMENT"
COLUMNS = (
    "operation",
    "user_account_id",
    "compartment_id",
    "email_hash",
    "user_agent_id",
    "segment_id",
    "segment_technical_name",
    "expiration_duration",
    "expiration_ts",
    "data_bag",
)
# The columns that a header needs, in groups: one column of each group is enough.
NEEDED = (
    ("operation",),
    ("user_account_id", "email_hash", "user_agent_id"),
    ("segment_id", "segment_technical_name"),
    ("expiration_duration",),
)
# What a spreadsheet writes above the header to name the delimiter; some add empty cells to it.
SEPARATOR_LINE = re.compile(rb'"?sep=.?"?[,;\t|]*', re.IGNORECASE)
_NUMBERS = frozenset({"expiration_duration", "expiration_ts"})
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def check_header(header: bytes, delimiter: str = ",") -> list[str]:
    """Return the reasons for which the whole file is refused.

    :param header: the first line, without BOM, with or without its line end.
    :param delimiter: the character between the cells; one ASCII character.
    :return: sentences that name known columns, and other columns only by their position; empty for a good header.
    :raises ValueError: the delimiter cannot be used.
    """
    cells, reasons = read_header(header, delimiter)
    if reasons:
        return reasons
    empty = [str(place) for place, name in enumerate(cells, 1) if not name.strip()]
    if empty:
        reasons.append(
            f"the CSV header's {_at(empty)} {'is' if len(empty) == 1 else 'are'} empty: a spreadsheet adds such "
            "columns; take them out of all lines"
        )
    unknown = [str(place) for place, name in enumerate(cells, 1) if name.strip() and name not in COLUMNS]
    if unknown:
        reasons.append(
            f"unknown column in the CSV header at position {', '.join(unknown[:10])}; known are {', '.join(COLUMNS)}"
        )
    if unknown and len(cells) == 1:
        reasons.append(f"the CSV header has a single column: is {delimiter!r} the delimiter of this file?")
    counts = Counter(cells)
    reasons += [f"the CSV header names {name} twice" for name in COLUMNS if counts[name] > 1]
    for group in NEEDED:
        if not any(counts[name] for name in group):
            reasons.append(f"the CSV header lacks {' or '.join(group)}")
    return reasons


def _at(places: list[str]) -> str:
    """Name cells by their positions, the first ten."""
    word = "cell at position" if len(places) == 1 else "cells at positions"
    return f"{word} {', '.join(places[:10])}"


class CsvReading:
    """The rules of USER_SEGMENT rows under one header.

    :param header: the header line.
    :param delimiter: the character between the cells; one ASCII character.
    :raises ValueError: ``check_header`` finds reasons against the header.
    """

    def __init__(self, header: bytes, delimiter: str = ",") -> None:
        reasons = check_header(header, delimiter)
        if reasons:
            raise ValueError("; ".join(reasons))
        self._delimiter = delimiter
        self._pattern = cell_pattern(delimiter)
        self._columns = _header_cells(header, delimiter)
        self._rows = _row_patterns(self._columns, delimiter)

    def suspects(self, lines: list[bytes]) -> list[int]:
        """Return the indexes of all rows that may be bad."""
        found = []
        rest = iter(lines)
        match, bags = self._rows[0].fullmatch, "data_bag" in self._columns
        for row in map(match, rest):
            if row is not None and not (bags and row["bag"] and not _holds_json(row["bag"])):
                continue
            number = len(lines) - operator.length_hint(rest) - 1
            if not self._other_pattern(lines[number]):
                found.append(number)
        return found

    def _other_pattern(self, line: bytes) -> bool:
        """Whether the row keeps the rules in another way; that way is tried first in the next block."""
        for place, pattern in enumerate(self._rows):
            row = pattern.fullmatch(line)
            if row is not None and (
                "data_bag" not in self._columns or not row["bag"] or _holds_json(row["bag"])
            ):
                self._rows.insert(0, self._rows.pop(place))
                return True
        return False

    def reasons(self, line: bytes) -> list[str]:
        """Read one row completely.

        :param line: bytes of a row that is not blank, without its newline.
        :return: all reasons against the row; none: it is good.
        """
        cells, found = read_cells(line, self._columns, self._pattern, self._delimiter)
        return found or faults.property_reasons(DOCUMENT_TYPE, self._properties(cells))

    def hints(self, line: bytes) -> Iterable[str]:
        """Return the kinds of hints on a good row."""
        cells = split(without_end(line).decode(), self._pattern, self._delimiter)
        return property_hints(DOCUMENT_TYPE, self._properties(cells)) if isinstance(cells, list) else ()

    def warnings(self, lines: Iterable[bytes]) -> Iterable[str]:
        """Return nothing: no hint of this type is counted on every row."""
        return ()

    def _properties(self, cells: list[str]) -> dict[str, Raw]:
        """Return the row as properties, as a JSON line with the same properties gives them."""
        return {name: _as_json(name, cell) for name, cell in zip(self._columns, cells, strict=True) if cell}


def _as_json(name: str, cell: str) -> Raw:
    if name in _NUMBERS and _NUMBER.fullmatch(cell):
        return Raw(cell.encode())
    return Raw(msgspec.json.encode(cell))


def read_cells(
    line: bytes, columns: list[str], pattern: re.Pattern[str], delimiter: str
) -> tuple[list[str], list[str]]:
    """Return the cells of a row, and the reasons for which it does not fit the header."""
    if found := faults.byte_reasons(line):
        return [], found
    cells = split(without_end(line).decode(), pattern, delimiter)
    if isinstance(cells, str):
        return [], [cells]
    if len(cells) != len(columns):
        return [], [
            f"the row has {len(cells)} cell{'s' * (len(cells) != 1)}, but the header has {len(columns)}"
        ]
    return cells, []


def read_header(header: bytes, delimiter: str) -> tuple[list[str], list[str]]:
    """Return the cells of a header line, and the reasons for which it cannot be read.

    :raises ValueError: the delimiter cannot be used.
    """
    pattern = cell_pattern(delimiter)
    line = without_end(header)
    if not line.strip():
        return [], [
            "the line is blank, but the CSV header has to stand there: take the blank lines above it out"
        ]
    if SEPARATOR_LINE.fullmatch(line):
        return [], [
            "the line `sep=` is one that a spreadsheet adds, but the CSV header has to stand there: take it out"
        ]
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return [], ["the CSV header is not valid UTF-8"]
    cells = split(text, pattern, delimiter)
    if isinstance(cells, str):
        return [], [f"the CSV header cannot be read: {cells}"]
    return cells, []


def without_end(line: bytes) -> bytes:
    """Return a line without its line end, LF or CRLF."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


@functools.lru_cache(maxsize=8)
def cell_pattern(delimiter: str) -> re.Pattern[str]:
    """Return a regular expression for one cell and the delimiter behind it.

    :raises ValueError: the delimiter cannot be used.
    """
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise ValueError(
            "the CSV delimiter has to be one ASCII character, and neither a quote nor a line end"
        )
    return re.compile(
        rf'(?:"([^"]*(?:""[^"]*)*)"|([^"{re.escape(delimiter)}]*))(?:{re.escape(delimiter)}|\Z)'
    )


def split(text: str, pattern: re.Pattern[str], delimiter: str) -> list[str] | str:
    """Cut a line into its cells (RFC 4180), or return why that is not possible."""
    if "\r" in text:
        return "a carriage return stands inside the line"
    if '"' not in text:
        return text.split(delimiter)
    if text.count('"') % 2:
        return "a quoted cell does not end on its line; each line is one command, so no cell may hold a line break"
    cells = []
    place = 0
    while place <= len(text):
        cell = pattern.match(text + delimiter, place)
        if cell is None:
            return "a quote stands where none may be: quote the whole cell and double the quotes inside"
        quoted, plain = cell.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        place = cell.end()
    return cells


def _header_cells(header: bytes, delimiter: str) -> list[str]:
    cells = split(without_end(header).decode(), cell_pattern(delimiter), delimiter)
    assert isinstance(cells, list)  # noqa: S101 - check_header was called before
    return cells


# -- The fast reading: one regular expression a row, for each way to keep the rules of several properties ---------


def _row_patterns(columns: list[str], delimiter: str) -> list[re.Pattern[bytes]]:
    ways = itertools.product(*(tuple(choice.ways()) for choice in FORMATS[DOCUMENT_TYPE].choices))
    possible = [
        way for way in ways if all(name in columns for narrowing in way for name in narrowing.present)
    ]
    return [_row_pattern(columns, delimiter, way) for way in possible]


def _row_pattern(columns: list[str], delimiter: str, way: tuple[Narrowing, ...]) -> re.Pattern[bytes]:
    present = {name for narrowing in way for name in narrowing.present}
    absent = {name for narrowing in way for name in narrowing.absent}
    mark = re.escape(delimiter)
    whole = r"(?:0|[1-9][0-9]{0,17})"
    cells = []
    for name in columns:
        if name == "operation":
            cell = r'(?:UPDATE|DELETE|"UPDATE"|"DELETE")'
        elif name == "expiration_duration":
            cell = rf'(?:{whole}|"{whole}")'
        elif name == "expiration_ts":
            cell = rf'(?:{whole}|"{whole}"|"")?'
        elif name == "data_bag":
            cell = rf'(?P<bag>[^"{mark}\r\n\0]+|"[^"\r\n\0]*(?:""[^"\r\n\0]*)*")?'
        elif name in absent:
            cell = r'(?:"")?'
        elif name in present:
            cell = rf'(?:[^"{mark}\r\n\0]+|"(?:[^"\r\n\0]|"")[^"\r\n\0]*(?:""[^"\r\n\0]*)*")'
        else:
            cell = rf'(?:[^"{mark}\r\n\0]+|"[^"\r\n\0]*(?:""[^"\r\n\0]*)*")?'
        cells.append(cell)
    return re.compile((mark.join(cells) + r"\r?").encode())


def _holds_json(cell: bytes) -> bool:
    text = cell[1:-1].replace(b'""', b'"') if cell[:1] == b'"' else cell
    if not text:
        return True
    try:
        faults.ANY_JSON.decode(text)
    except REFUSALS:
        return False
    return True
