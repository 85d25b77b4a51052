"""Where one apply keeps its records while it compares them: a SQLite file without a name, gone when the apply ends.

Why SQLite and not sorted runs: an apply looks records up by three things (the matching fields, a reference's source id,
the place where a record was listed), and three indexes answer that in any order; runs would be sorted, written and
read again for each, and once more to bring back the order. What fits into the page cache stays in memory, larger input goes to
disk, and both are the same code.

The file is SQLite's own temporary one (https://www.sqlite.org/inmemorydb.html, "Temporary Databases"): made with mode 0600 and
unlinked as it is opened, so not even kill -9 leaves records behind. Each try makes its own, so it needs no journal and
no sync. One thread uses it: the one that opened it.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Self

from airflow_bulk.extract_load import record_tables


class WorkFileFailed(Exception):
    """The records of an apply cannot be kept on disk."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"The records of this apply cannot be kept on disk while they are compared ({type(error).__name__}: {error}). They go to a"
            " temporary file in the folder that SQLITE_TMPDIR names, else TMPDIR, else /var/tmp or /tmp. It takes up to three times the"
            " room of the staged files that the apply reads. Make room there, or name another folder. A retry reads the destination"
            " again and finds what was written."
        )


class WorkFile:
    """Tables of packed records.

    Use it as a context manager: it is gone at the end, and every iterator over it.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in record_tables.OPENING:
            self.do(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which removes it."""
        self._connection.close()

    def do(self, statement: str, *values: object) -> int:
        """Carry out one statement and return how many rows it has changed.

        :raises WorkFileFailed: the disk is full, or cannot be written.
        """
        try:
            return self._connection.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise WorkFileFailed(error) from None

    def fill(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Carry out one statement for each row, as they come.

        :raises WorkFileFailed: as for :meth:`do`.
        """
        try:
            self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise WorkFileFailed(error) from None

    def rows(self, query: str, *values: object) -> Iterator[Any]:
        """Yield the rows that a query finds, as they are found.

        :raises WorkFileFailed: as for :meth:`do`.
        """
        try:
            for row in self._connection.execute(query, values):  # noqa: UP028 - yield from would close a cursor after its file
                yield row
        except sqlite3.Error as error:
            raise WorkFileFailed(error) from None

    def row(self, query: str, *values: object) -> Any:
        """Return the first row that a query finds; ``None`` if there is none.

        :raises WorkFileFailed: as for :meth:`do`.
        """
        try:
            return self._connection.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise WorkFileFailed(error) from None


def packed(value: object) -> bytes:
    """Return a value as bytes that :func:`unpacked` gives back with its types, so that ``==`` says of it what it said before.

    JSON would not do: a callable of the mapping may make a date or a Decimal, which JSON turns into text.

    :raises Exception: whatever pickle raises for what it does not know.
    """
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpacked(stored: bytes) -> Any:
    """Return the value that :func:`packed` has made bytes of."""
    return pickle.loads(stored)  # noqa: S301 - of a file of this process that nobody else can open


def stored_text(text: str) -> bytes:
    """Return text as it stands in the tables; half a surrogate pair is no reason to fail."""
    return text.encode("utf-8", "surrogatepass")


def stored_key(key: tuple[str, ...] | None) -> tuple[bytes | None, bytes | None]:
    """Return the columns ``source`` and ``rest`` of a key: its first field, and the others in one."""
    if key is None:
        return None, None
    if len(key) == 1:
        return stored_text(key[0]), b""
    return stored_text(key[0]), stored_text("".join(f"{len(text)}:{text}" for text in key[1:]))
