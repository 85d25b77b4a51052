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
# The k-th row that names a value means the k-th line that holds it, if there are as many rows as lines.
MATCH = """
INSERT INTO hits
SELECT c.id, n.number, c.way, n.total FROM (
    SELECT id, key, way, row_number() OVER (PARTITION BY key ORDER BY id) AS place,
           count(*) OVER (PARTITION BY key) AS total
    FROM claims WHERE source = :source
) AS c JOIN (
    SELECT number, key, row_number() OVER (PARTITION BY key ORDER BY number) AS place,
           count(*) OVER (PARTITION BY key) AS total
    FROM {table} WHERE key IN (SELECT key FROM claims WHERE source = :source)
) AS n ON c.key = n.key AND c.place = n.place AND c.total = n.total
"""


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
