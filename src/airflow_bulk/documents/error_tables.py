"""The temporary database in which a part is compared with an error file, and what is asked of it.

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
CREATE TABLE dropped (id INTEGER PRIMARY KEY);
CREATE TABLE joined (id INTEGER PRIMARY KEY, number INT, way TEXT, several INT);
"""
ADD_LINE = "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?)"
ADD_NAME = "INSERT INTO names VALUES (?, ?)"
ADD_FAILED = "INSERT INTO failed VALUES (?, ?, ?)"
ADD_CLAIM = "INSERT INTO claims VALUES (?, ?, ?, ?)"
PART_IS_READ = ("CREATE INDEX lines_raw ON lines (raw)", "CREATE INDEX names_key ON names (key, number)")
FORGET_PART = ("DELETE FROM lines", "DELETE FROM names")
ROWS_ARE_READ = (
    "CREATE INDEX claims_key ON claims (source, key, id)",
    "CREATE INDEX claims_id ON claims (id)",
)
#: A row whose hits contradict each other is not joined.
JOIN = (
    "CREATE INDEX hits_id ON hits (id)",
    "INSERT INTO joined SELECT id, min(number), max(way), max(several) FROM hits GROUP BY id HAVING min(number) = max(number)",
    "CREATE INDEX joined_number ON joined (number)",
)
FORGET_JOINED = "DELETE FROM joined"
COUNT_JOINED = "SELECT count(*), count(DISTINCT number) FROM joined"
WAYS = "SELECT way, count(DISTINCT number) FROM joined GROUP BY way"
NUMBERS = "SELECT count(*), count(DISTINCT key), min(key), max(key) FROM claims WHERE source = ?"
TAKE_NUMBERS = (
    "INSERT INTO hits SELECT id, key - :before, way, 1 FROM claims "
    "WHERE source = :source AND key - :before BETWEEN 1 AND :lines"
)
#: A number of a column is dropped if nothing else has found the line of the row, and no other value of the row stands in the line
#: of that number: where the row has other values, they contradict it; where it has none, only if numbers alone are not taken.
DROP_NUMBERS = (
    "INSERT OR IGNORE INTO dropped SELECT id FROM hits WHERE way = 'number' AND id NOT IN (SELECT id FROM hits WHERE way <> 'number') "
    "AND EXISTS (SELECT 1 FROM claims c WHERE c.id = hits.id AND c.source >= 0 AND (c.way <> 'number' OR NOT :alone)) "
    "AND NOT EXISTS (SELECT 1 FROM claims c JOIN names n ON n.key = c.key AND n.number = hits.number "
    "WHERE c.id = hits.id AND c.way = 'identifier') "
    "AND NOT EXISTS (SELECT 1 FROM claims c JOIN lines l ON l.number = hits.number AND +l.raw = c.key "
    "WHERE c.id = hits.id AND c.way = 'line')"
)
FORGET_DROPPED = "DELETE FROM hits WHERE id IN (SELECT id FROM dropped)"
WAS_DROPPED = "SELECT 1 FROM dropped WHERE id = ?"
FAILED_LINES = (
    "SELECT j.number, l.file, l.line, l.offset, l.length, l.raw, f.message, f.columns, j.several, j.id "
    "FROM joined j JOIN lines l ON l.number = j.number JOIN failed f ON f.id = j.id ORDER BY j.number, j.id"
)
UNJOINED = (
    "SELECT id, message, columns FROM failed WHERE id NOT IN (SELECT id FROM joined) ORDER BY id LIMIT ?"
)
CLAIMS_OF = "SELECT way, source, key FROM claims WHERE id = ?"
LINES_OF = "SELECT count(DISTINCT number) FROM hits WHERE id = ?"
MESSAGES_OF = (
    "SELECT DISTINCT message FROM failed WHERE id IN "
    "(SELECT id FROM claims WHERE source = ? AND key = ? ORDER BY id LIMIT ?)"
)
HAS_LINE = "SELECT 1 FROM lines WHERE raw = ? LIMIT 1"
HAS_NAME = "SELECT 1 FROM names WHERE key = ? LIMIT 1"
COUNT_LINES = "SELECT count(*) FROM (SELECT 1 FROM lines WHERE raw = ? LIMIT ?)"
COUNT_NAMES = "SELECT count(*) FROM (SELECT 1 FROM names WHERE key = ? LIMIT ?)"
COUNT_CLAIMS = "SELECT count(*) FROM (SELECT 1 FROM claims WHERE source = ? AND key = ? LIMIT ?)"
# A value that one row names and one line holds: the usual case, in one pass.
_ONCE = """
INSERT INTO hits
SELECT c.id, n.number, c.way, 1 FROM (
    SELECT key, min(id) AS id, way FROM claims WHERE source = ? GROUP BY key HAVING count(*) = 1
) AS c CROSS JOIN {lines} AS n ON n.key = c.key GROUP BY c.key HAVING count(*) = 1
"""
_SEVERAL = "SELECT key, way, count(*) FROM claims WHERE source = ? GROUP BY key HAVING count(*) > 1"
_ROWS_OF = "SELECT id FROM claims WHERE source = ? AND key = ? ORDER BY id"
_NUMBERS_OF_LINE = "SELECT number FROM lines WHERE raw = ? ORDER BY number"
_NUMBERS_OF_NAME = "SELECT number FROM names WHERE key = ? ORDER BY number"
_ADD_HIT = "INSERT INTO hits VALUES (?, ?, ?, ?)"


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


def match(db: sqlite3.Connection, source: int, *, by_line: bool) -> None:
    """Find the lines that rows name by a value: the k-th row means the k-th line that holds it, if there are as many.

    :param source: which claims of the rows.
    :param by_line: the value is the line itself, and no identifier of it.
    """
    lines = "(SELECT number, raw AS key FROM lines)" if by_line else "names"
    db.execute(_ONCE.format(lines=lines), (source,))
    for key, way, total in db.execute(_SEVERAL, (source,)):
        # One more than wanted is enough to know.
        held = db.execute(COUNT_LINES if by_line else COUNT_NAMES, (key, total + 1)).fetchone()[0]
        if held == total:
            rows = db.execute(_ROWS_OF, (source, key))
            numbers = db.execute(_NUMBERS_OF_LINE if by_line else _NUMBERS_OF_NAME, (key,))
            hits = ((row[0], number[0], way, total) for row, number in zip(rows, numbers, strict=True))
            db.executemany(_ADD_HIT, hits)
