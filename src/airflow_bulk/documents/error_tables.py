"""The temporary database in which a part is compared with an error file.

It lies on disk as far as it is large, has no name, and is gone when it is closed or the process ends. Of the lines of the part it holds
hashes alone; of the error file what it says about them.
"""

from __future__ import annotations

import sqlite3

CACHE_KB = 8_000

_TABLES = """
CREATE TABLE lines (number INTEGER PRIMARY KEY, file INT, line INT, offset INT, length INT, raw BLOB);
CREATE TABLE names (key BLOB, number INT);
CREATE TABLE failed (id INTEGER PRIMARY KEY, message TEXT, columns TEXT);
CREATE TABLE claims (way TEXT, source INT, id INT, key BLOB);
CREATE TABLE hits (id INT, number INT, way TEXT, several INT);
CREATE TABLE joined (id INTEGER PRIMARY KEY, number INT, way TEXT, several INT);
"""
# A value that one row names and one line holds: the usual case, in one pass.
ONCE = """
INSERT INTO hits
SELECT c.id, n.number, c.way, 1 FROM (
    SELECT key, min(id) AS id, way FROM claims WHERE source = :source GROUP BY key HAVING count(*) = 1
) AS c CROSS JOIN {lines} AS n ON n.key = c.key GROUP BY c.key HAVING count(*) = 1
"""
SEVERAL = "SELECT key, way, count(*) FROM claims WHERE source = ? GROUP BY key HAVING count(*) > 1"


def match(db: sqlite3.Connection, source: int, *, by_line: bool) -> None:
    """Find the lines that rows name by a value: the k-th row means the k-th line that holds it, if there are as many.

    :param source: which claims of the rows.
    :param by_line: the value is the line itself, and no identifier of it.
    """
    table, column = ("lines", "raw") if by_line else ("names", "key")
    lines = f"(SELECT number, {column} AS key FROM {table})"  # noqa: S608  (names of ours)
    db.execute(ONCE.format(lines=lines), {"source": source})
    for key, way, total in db.execute(SEVERAL, (source,)):
        numbers = f"SELECT number FROM {table} WHERE {column} = ?"  # noqa: S608
        # One more than wanted is enough to know.
        held = db.execute(f"SELECT count(*) FROM ({numbers} LIMIT ?)", (key, total + 1)).fetchone()[0]  # noqa: S608
        if held == total:
            rows = db.execute("SELECT id FROM claims WHERE source = ? AND key = ? ORDER BY id", (source, key))
            found = db.execute(f"{numbers} ORDER BY number", (key,))
            db.executemany(
                "INSERT INTO hits VALUES (?, ?, ?, ?)",
                ((row[0], number[0], way, total) for row, number in zip(rows, found, strict=True)),
            )


def open_tables() -> sqlite3.Connection:
    """Make an empty database. Nothing of it has to survive anything, so nothing is ever flushed."""
    db = sqlite3.connect("", isolation_level=None)
    for pragma in (
        f"cache_size = -{CACHE_KB}",
        "journal_mode = OFF",
        "synchronous = OFF",
        "temp_store = FILE",
    ):
        db.execute(f"PRAGMA {pragma}")
    db.executescript(_TABLES)
    db.execute("BEGIN")
    return db
