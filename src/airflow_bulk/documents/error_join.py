"""Which line of a part does each row of the platform's error file mean? Only what can be proved is joined.

Nobody documents the columns of an error file, so the rows are compared with the part as it was sent. A column is taken for the
line itself, or for an identifier of it, only if the first 1,000 rows all hold one that stands in the part; for the number of
the line only if its header says so, all numbers are different ones of the part, and they are more than a count of the rows. A value that stands in k lines is joined only
if exactly k rows name it. Two columns that contradict each other join nothing. Where the rows are more than the lines that
failed, the file is about something else, and nothing of it is joined.

Part and rows may have a million lines: they lie in a private temporary database, so that memory stays flat.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, groupby, islice
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from airflow_bulk.documents import error_tables as tables
from airflow_bulk.documents.error_files import (
    IDENTIFIERS,
    LINES,
    NUMBERS,
    ErrorFileUnreadable,
    ErrorRow,
    normal,
)
from airflow_bulk.documents.line_keys import as_bytes, key_of, line_key
from airflow_bulk.documents.sent_lines import SentLine

SAMPLE = 1_000  # rows by which a column is proved
MOST_COLUMNS = 20  # columns of a row that are compared
MOST_TEXT = 4_000  # characters of a message
SEVERAL = 5  # messages of one line
MOST_COUNTED = 100  # lines and rows of one value that are counted for a reason
NO_LINE = 1 << 60  # in the place of a number that no line can have
LEAST_TELLING = 4  # characters: a shorter value may be met by chance
NUMBER = re.compile(r"[0-9]{1,15}")
PLAIN_NUMBER = re.compile(r"[-+]?[0-9.,]+")

#: How a row was joined.
BY_NUMBER, BY_IDENTIFIER, BY_LINE = "number", "identifier", "line"


class FailedLine(NamedTuple):
    """A line of the part that failed.

    :param place: file, line, offset and length in the source.
    :param key: of its content.
    :param messages: what the platform says, each once.
    """

    file: int
    line: int
    offset: int
    length: int
    key: bytes
    messages: list[str]
    columns: dict[str, str]

    def __repr__(self) -> str:
        return f"FailedLine(file={self.file}, line={self.line}, offset={self.offset}, length={self.length})"


class UnjoinedRow(NamedTuple):
    """A row of the error file whose line could not be told.

    :param why: a sentence without content.
    """

    message: str
    columns: dict[str, str]
    why: str

    def __repr__(self) -> str:
        return f"UnjoinedRow(why={self.why!r})"


class Column(NamedTuple):
    """A column that was proved on the sample: as what, and by which number its claims are found."""

    way: str
    source: int


class PartJoin:
    """The failed lines of one part. Close it, for its database may be large.

    :param failed: how many lines failed, as the platform counts.
    :param has_header: the lines are CSV: whether a number counts the header has to be proved, too.
    :param identifiers: the keys of the identifiers of a line.
    :param numbers_alone: join by a column of numbers if nothing else of the row stands in that line. Numbers from 0 look like
        numbers from 1 while no 0 occurs: False where a wrong line would do harm. A reader of the user is taken at its word.
    :ivar why: why nothing could be joined, or not all of it; empty where everything was.
    :ivar ways: how many lines were joined, by the way.
    """

    def __init__(
        self,
        failed: int,
        *,
        has_header: bool = False,
        identifiers: Callable[[SentLine], Iterable[bytes]],
        keep_columns: bool = True,
        numbers_alone: bool = True,
    ) -> None:
        self.failed, self._has_header, self._identifiers = failed, has_header, identifiers
        self._keep_columns, self._numbers_alone = keep_columns, numbers_alone
        self.why = ""
        self.ways: dict[str, int] = {}
        self._lines = self._rows = 0
        self._numbers_why = ""
        self._forgotten = ""
        self._trusted = True
        self._counts = lru_cache(maxsize=1_000)(self._count)
        self._said = lru_cache(maxsize=1_000)(self._messages_of)
        self._db = tables.open_tables()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    # The part.

    def read_part(self, lines: Iterable[SentLine]) -> None:
        """Take the lines of the part.

        :raises SourceError: from ``lines``: the part is not what was sent.
        """
        self._db.executemany(tables.ADD_LINE, self._noted(lines))
        for statement in tables.PART_IS_READ:
            self._db.execute(statement)

    def _noted(self, lines: Iterable[SentLine]) -> Iterator[tuple[object, ...]]:
        insert = self._db.cursor()
        for one in lines:
            self._lines = one.number
            insert.executemany(tables.ADD_NAME, [(key, one.number) for key in self._identifiers(one)])
            yield one.number, one.file, one.line, one.offset, len(one.raw), line_key(one.raw)

    def forget_part(self, why: str) -> None:
        """What was read is not what was sent: the rows that follow can only be told, and not be joined."""
        for statement in tables.FORGET_PART:
            self._db.execute(statement)
        self._lines, self.why, self._forgotten = 0, why, why

    # The rows.

    def read_rows(self, rows: Iterable[ErrorRow]) -> None:
        """Take the rows of the error file, and join them; of one that cannot be read to its end, the rows before."""
        each = self._readable(rows)
        sample = list(islice(each, SAMPLE))
        columns = self._prove(sample)
        insert = self._db.cursor()
        for row in chain(sample, each):
            self._take(insert, row, columns)
        self._join(columns)
        self.why = self.why or self._numbers_why

    def _readable(self, rows: Iterable[ErrorRow]) -> Iterator[ErrorRow]:
        try:
            yield from rows
        except ErrorFileUnreadable as error:
            self.why = f"the error file cannot be read: {error}"

    def _take(self, insert: sqlite3.Cursor, row: ErrorRow, columns: Mapping[str, Column]) -> None:
        self._rows += 1
        number = self._rows
        used = {name for name, one in columns.items() if one.way == BY_LINE}
        kept = {name: value for name, value in row.columns.items() if name not in used}
        insert.execute(
            tables.ADD_FAILED,
            (
                number,
                tellable(row.message or "")[:MOST_TEXT],
                msgspec.json.encode(
                    {tellable(name): tellable(value) for name, value in kept.items()}
                ).decode()
                if kept and self._keep_columns
                else "",
            ),
        )
        claims: list[tuple[str, int, int, object]] = []
        if row.line_number is not None:
            claims.append(
                (BY_NUMBER, -1, number, row.line_number if 0 < row.line_number < NO_LINE else NO_LINE)
            )
        if row.identifier is not None:
            claims.append((BY_IDENTIFIER, -2, number, key_of(as_bytes(row.identifier.strip()))))
        if row.raw is not None:
            raw = row.raw if isinstance(row.raw, bytes) else as_bytes(row.raw)
            claims.append((BY_LINE, -3, number, line_key(raw)))
        if not claims:
            for name, column in columns.items():
                if value := (row.columns.get(name) or "").strip():
                    claims.append((column.way, column.source, number, _claimed(column.way, value)))
        insert.executemany(tables.ADD_CLAIM, claims)

    # The proof.

    def _prove(self, sample: list[ErrorRow]) -> dict[str, Column]:
        """The columns by which lines can be told, of those rows that do not say it themselves."""
        rows = [row for row in sample if (row.line_number, row.identifier, row.raw) == (None, None, None)]
        names = list(dict.fromkeys(name for row in rows for name in row.columns))[:MOST_COLUMNS]
        proved: dict[str, Column] = {}
        if self._forgotten:
            return proved
        for place, name in enumerate(names):
            values = [value for row in rows if (value := (row.columns.get(name) or "").strip())]
            if way := self._way(normal(name), values):
                proved[name] = Column(way, place)
        return proved

    def _way(self, name: str, values: list[str]) -> str:
        if not values:
            return ""
        if name in NUMBERS and all(NUMBER.fullmatch(value) for value in values):
            return BY_NUMBER
        telling = _telling(values)
        keys = [as_bytes(value) for value in values]
        if (name in LINES or telling) and self._all_are(tables.HAS_LINE, map(line_key, keys)):
            return BY_LINE
        if (name in IDENTIFIERS or telling) and self._all_are(tables.HAS_NAME, map(key_of, keys)):
            return BY_IDENTIFIER
        return ""

    def _all_are(self, find: str, keys: Iterable[bytes]) -> bool:
        return all(self._db.execute(find, (key,)).fetchone() for key in keys)

    # The join.

    def _join(self, columns: Mapping[str, Column]) -> None:
        db = self._db
        for statement in tables.ROWS_ARE_READ:
            db.execute(statement)
        for way, source in [(BY_NUMBER, -1), (BY_IDENTIFIER, -2), (BY_LINE, -3), *columns.values()]:
            if way == BY_NUMBER:
                self._match_numbers(source)
            else:
                tables.match(db, source, by_line=way == BY_LINE)
        db.execute(tables.DROP_NUMBERS, {"alone": self._numbers_alone})
        db.execute(tables.FORGET_DROPPED)
        for statement in tables.JOIN:
            db.execute(statement)
        rows, lines = db.execute(tables.COUNT_JOINED).fetchone()
        if lines + self._rows - rows > self.failed:
            self.why = f"the error file has {self._rows} rows, but {self.failed} lines failed"
            db.execute(tables.FORGET_JOINED)
            self._trusted = False
            return
        self.ways = dict(db.execute(tables.WAYS).fetchall())

    def _match_numbers(self, source: int) -> None:
        """Take numbers of lines if all can be such; the user's own reader (source -1) is taken at its word, row by row."""
        count, different, least, most = self._db.execute(tables.NUMBERS, (source,)).fetchone()
        if not count:
            return
        before = 0
        if source >= 0:
            self._numbers_why = self._doubt(count, different, least, most)
            if self._numbers_why:
                return
            before = int(self._has_header and most > self._lines)
        self._db.execute(tables.TAKE_NUMBERS, {"before": before, "source": source, "lines": self._lines})

    def _doubt(self, count: int, different: int, least: int, most: int) -> str:
        """Why a column of numbers is not taken for the numbers of lines; empty where it is."""
        if least == 0:
            return "its line numbers begin at 0; give an error_file_reader"
        if different < count:
            return "its line numbers are not all different; give an error_file_reader"
        if most > self._lines + self._has_header:
            return "its line numbers are higher than the part has lines; give an error_file_reader"
        if most == count < self._lines:  # with the above: they are 1 to the count of the rows
            return "its line numbers only count its own rows; give an error_file_reader"
        if self._has_header and not (least == 1) ^ (most > self._lines):
            return "whether its line numbers count the CSV header cannot be told; give an error_file_reader"
        return ""

    # What came of it.

    @property
    def joined(self) -> int:
        """How many lines were joined."""
        return sum(self.ways.values())

    def failed_lines(self) -> Iterator[FailedLine]:
        """The joined lines, in the order of the part."""
        found = self._db.execute(tables.FAILED_LINES)
        for _, rows in groupby(found, key=lambda row: row[0]):
            first = next(rows)
            messages = self._messages(first[9]) if first[8] > 1 else [first[6]]
            messages += [row[6] for row in islice(rows, SEVERAL)]
            kept = [one for one in dict.fromkeys(messages) if one]
            yield FailedLine(first[1], first[2], first[3], first[4], first[5], kept, _columns(first[7]))

    def _messages(self, row: int) -> list[str]:
        """The messages of the rows that name the same value as one row: which of its lines each one means is not known."""
        claims = self._db.execute(tables.CLAIMS_OF, (row,)).fetchall()
        return [message for _, source, key in claims for message in self._said(source, key)][:SEVERAL]

    def _messages_of(self, source: int, key: object) -> list[str]:
        found = self._db.execute(tables.MESSAGES_OF, (source, key, MOST_COUNTED))
        return [message for (message,) in found]

    def unjoined_rows(self) -> Iterator[UnjoinedRow]:
        """The rows whose line could not be told, as many as failed lines are left; none where the file is not trusted."""
        if not self._trusted:
            return
        rows = self._db.execute(tables.UNJOINED, (self.failed - self.joined,))
        for number, message, columns in rows:
            yield UnjoinedRow(message, _columns(columns), self._why_unjoined(number))

    def _why_unjoined(self, row: int) -> str:
        if self._forgotten:
            return self._forgotten
        if self._db.execute(tables.LINES_OF, (row,)).fetchone()[0] > 1:
            return "two of its columns name different lines"
        claims = self._db.execute(tables.CLAIMS_OF, (row,)).fetchall()
        for way, source, key in claims:
            if way == BY_NUMBER:
                return self._numbers_why or self._why_no_number(
                    row, alone=all(one[0] == BY_NUMBER for one in claims)
                )
            lines, rows = self._counts(way, source, key)
            if lines:
                return f"its {way} stands in {lines} lines of the part, and {rows} rows of the error file name it"
        if claims:
            return f"no line of the part has its {claims[0][0]}"
        return self.why or "the error file does not say which line it is"

    def _why_no_number(self, row: int, *, alone: bool) -> str:
        if not self._db.execute(tables.WAS_DROPPED, (row,)).fetchone():
            return "the part has no line of this number"
        if alone:
            return "a line number alone is not believed where no line may be sent twice; give an error_file_reader"
        return "nothing else that it says stands in the line of its number"

    def _count(self, way: str, source: int, key: object) -> tuple[str, str]:
        """In how many lines a value stands (empty for none), and how many rows name it."""
        find = tables.COUNT_NAMES if way == BY_IDENTIFIER else tables.COUNT_LINES
        lines = self._db.execute(find, (key, MOST_COUNTED)).fetchone()[0]
        named = self._db.execute(tables.COUNT_CLAIMS, (source, key, MOST_COUNTED)).fetchone()[0]
        return (_at_most(lines) if lines else ""), _at_most(named)


def _at_most(count: int) -> str:
    return str(count) if count < MOST_COUNTED else f"{MOST_COUNTED}+"


def _claimed(way: str, value: str) -> object:
    if way == BY_NUMBER:
        return int(value) if NUMBER.fullmatch(value) else NO_LINE
    return line_key(as_bytes(value)) if way == BY_LINE else key_of(as_bytes(value))


def _telling(values: list[str]) -> bool:
    """Whether no value can be met by chance, as a short one or a plain number can."""
    return all(len(one) >= LEAST_TELLING and not PLAIN_NUMBER.fullmatch(one) for one in values)


def tellable(text: str) -> str:
    """Text as JSON can hold it: bytes that are no UTF-8 become a mark."""
    return as_bytes(text).decode("utf-8", "replace")


def _columns(stored: str) -> dict[str, str]:
    return msgspec.json.decode(stored, type=dict[str, str]) if stored else {}
