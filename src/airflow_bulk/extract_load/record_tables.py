"""The tables in which the records of one apply are compared, and what is asked of them.

``place`` is the order in which records were listed, ``source`` and ``rest`` are the matching fields
(:func:`airflow_bulk.extract_load.work_file.stored_key`). What else is a BLOB is packed. No statement scans a table for each row of another.
"""

from __future__ import annotations

#: KiB of pages that SQLite keeps in memory; an index of a million keys mostly fits.
CACHE_KIB = 64 * 1024

OPENING = (
    # Before the file is attached: some builds of SQLite would hold temporary files in memory.
    "PRAGMA temp_store = FILE",
    "ATTACH DATABASE '' AS work",
    "PRAGMA work.journal_mode = OFF",
    "PRAGMA work.synchronous = OFF",
    "PRAGMA work.secure_delete = OFF",
    f"PRAGMA work.cache_size = -{CACHE_KIB}",
    "CREATE TABLE work.wanted (place INTEGER PRIMARY KEY, source BLOB, rest BLOB, entry BLOB)",
    # Later copies of a wanted record, and where the first one stands.
    "CREATE TABLE work.copies (place INTEGER PRIMARY KEY, first INTEGER)",
    "CREATE TABLE work.current (place INTEGER PRIMARY KEY, source BLOB, rest BLOB, record BLOB)",
    # What shall become of each wanted record: at its place, with the place of its counterpart.
    "CREATE TABLE work.pairs (place INTEGER PRIMARY KEY, kind INTEGER, counterpart INTEGER, wanted BLOB, pending BLOB)",
    "CREATE TABLE work.orphans (turn INTEGER PRIMARY KEY, place INTEGER)",
    # Source ids and the destination's ids; owner is a number of the one who asks.
    "CREATE TABLE work.ids (turn INTEGER PRIMARY KEY, owner INTEGER, source BLOB, id BLOB)",
    # What the destination has stored.
    "CREATE TABLE work.kept (turn INTEGER PRIMARY KEY, stage INTEGER, record BLOB, pending BLOB)",
    "BEGIN",
)

ADD_WANTED = "INSERT INTO wanted (source, rest, entry) VALUES (?, ?, ?)"
ADD_CURRENT = "INSERT INTO current (source, rest, record) VALUES (?, ?, ?)"
ADD_PAIR = "INSERT INTO pairs (place, kind, counterpart, wanted, pending) VALUES (?, ?, ?, ?, ?)"
ADD_ID = "INSERT INTO ids (owner, source, id) VALUES (?, ?, ?)"
ADD_KEPT = "INSERT INTO kept (stage, record, pending) VALUES (?, ?, ?)"
# An index that is made of all rows at once is sorted; row by row it would be searched for each.
INDEX_WANTED = "CREATE INDEX work.wanted_key ON wanted (source, rest)"
INDEX_CURRENT = "CREATE INDEX work.current_key ON current (source, rest)"
INDEX_IDS = "CREATE INDEX IF NOT EXISTS work.ids_source ON ids (owner, source)"
INDEX_CURRENT_SOURCE = "CREATE INDEX work.current_source ON current (source)"

FIND_COPIES = """
INSERT INTO copies
SELECT w.place, g.first FROM wanted w JOIN (
    SELECT source, rest, min(place) AS first FROM wanted GROUP BY source, rest HAVING count(*) > 1
) g ON w.source = g.source AND w.rest = g.rest AND w.place > g.first
"""
INDEX_COPIES = "CREATE INDEX work.copies_first ON copies (first)"
COPIES = """
SELECT n.entry, o.entry FROM copies c JOIN wanted n ON n.place = c.place JOIN wanted o ON o.place = c.first
ORDER BY c.place
"""
TAKE_LAST_COPIES = """
UPDATE wanted SET entry = (
    SELECT n.entry FROM copies c JOIN wanted n ON n.place = c.place WHERE c.first = wanted.place
    ORDER BY c.place DESC LIMIT 1
) WHERE place IN (SELECT first FROM copies)
"""
FORGET_COPIES = "DELETE FROM wanted WHERE place IN (SELECT place FROM copies)"
COUNT_WANTED = "SELECT count(*) FROM wanted"
WANTED = "SELECT entry FROM wanted ORDER BY place"
IS_WANTED = "SELECT 1 FROM wanted WHERE source = ?"

#: The counterpart of a key is its first record.
MATCHES = """
SELECT w.place, w.entry, c.place, c.record FROM wanted w
LEFT JOIN current c
  ON c.place = (SELECT min(x.place) FROM current x WHERE x.source = w.source AND x.rest = w.rest)
ORDER BY w.place
"""
#: Those of one key together, where the first of them stands; a record without a key is no one's counterpart.
FIND_ORPHANS = """
INSERT INTO orphans (place)
SELECT place FROM (SELECT place, source, rest, min(place) OVER (PARTITION BY source, rest) AS first FROM current) c
WHERE place > first
   OR NOT EXISTS (SELECT 1 FROM wanted w WHERE w.source = c.source AND w.rest = c.rest)
ORDER BY first, place
"""
ORPHANS = "SELECT c.record FROM orphans o JOIN current c ON c.place = o.place ORDER BY o.turn"
FIRST_OF_SOURCE = "SELECT record FROM current WHERE source = ? ORDER BY place"

UNCHANGED, UPDATE, CREATE = range(3)
UPDATES = """
SELECT p.wanted, c.record, p.pending FROM pairs p JOIN current c ON c.place = p.counterpart
WHERE p.kind = ? ORDER BY p.place
"""
CREATES = "SELECT wanted, pending FROM pairs WHERE kind = ? ORDER BY place"
EQUALS = """
SELECT c.record FROM pairs p JOIN current c ON c.place = p.counterpart
WHERE p.kind = ? AND p.pending IS NULL ORDER BY p.place
"""
EQUALS_WAITING = """
SELECT c.record, p.pending FROM pairs p JOIN current c ON c.place = p.counterpart
WHERE p.kind = ? AND p.pending IS NOT NULL ORDER BY p.place
"""

FIRST_ID = "SELECT id FROM ids WHERE owner = ? AND source = ? ORDER BY turn"
LAST_ID = "SELECT id FROM ids WHERE owner = ? AND source = ? ORDER BY turn DESC"

#: What was written, and what was written once more when its references were known.
WRITTEN, SETTLED = range(2)
KEPT = "SELECT record FROM kept WHERE stage = ? AND pending IS NULL ORDER BY turn"
KEPT_WAITING = "SELECT record, pending FROM kept WHERE pending IS NOT NULL ORDER BY turn"
