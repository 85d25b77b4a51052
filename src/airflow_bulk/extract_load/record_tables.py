"""The tables in which the records of one apply are compared, and what is asked of them.

``place`` is the order in which records were listed, ``source`` and ``rest`` are the matching fields
(:func:`airflow_bulk.extract_load.work_file.stored_key`). What else is a BLOB is packed. No statement scans a table for each row of another.
"""

# ruff: noqa: S608 - what is put into a statement is a number

from __future__ import annotations

from collections.abc import Sequence

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
    # Later copies of a wanted record, and where the first one stands.
    "CREATE TABLE work.copies (place INTEGER PRIMARY KEY, first INTEGER)",
    "CREATE TABLE work.current (place INTEGER PRIMARY KEY, source BLOB, rest BLOB, id BLOB, record BLOB)",
    # What shall become of each wanted record: at its place, with the place of its counterpart.
    "CREATE TABLE work.pairs (place INTEGER PRIMARY KEY, kind INTEGER, counterpart INTEGER, wanted BLOB, pending BLOB)",
    "CREATE TABLE work.orphans (turn INTEGER PRIMARY KEY, place INTEGER)",
    # Source ids and the destination's ids; owner is a number of the one who asks.
    "CREATE TABLE work.ids (turn INTEGER PRIMARY KEY, owner INTEGER, source BLOB, id BLOB)",
    # What the destination has stored.
    "CREATE TABLE work.kept (turn INTEGER PRIMARY KEY, stage INTEGER, record BLOB, pending BLOB)",
    "BEGIN",
)


def make_wanted(references: int) -> str:
    """Return the statement that makes the table of wanted records.

    :param references: how many references the mapping has: each has a column ``ref0``, ``ref1``, ... with its source id.
    """
    columns = "".join(f", ref{number} BLOB" for number in range(references))
    return (
        f"CREATE TABLE work.wanted (place INTEGER PRIMARY KEY, source BLOB, rest BLOB, entry BLOB{columns})"
    )


def add_wanted(references: int) -> str:
    """Return the statement that adds a wanted record: source, rest, entry, references."""
    columns = "".join(f", ref{number}" for number in range(references))
    return f"INSERT INTO wanted (source, rest, entry{columns}) VALUES (?, ?, ?{', ?' * references})"


def matches(owners: Sequence[int | None]) -> str:
    """Return the query for each wanted record, its counterpart and what its references mean.

    The counterpart of a key is its first record. It yields place and entry, place and record of the counterpart, and for each
    reference the destination's id and whether a record of this load with the source id is wanted.

    :param owners: of each reference; ``None`` for one to a record of the same load.
    """
    found = "".join(
        f", (SELECT o.id FROM current o WHERE o.source = w.ref{number} ORDER BY o.place LIMIT 1)"
        f", EXISTS (SELECT 1 FROM wanted y WHERE y.source = w.ref{number})"
        if owner is None
        else f", (SELECT i.id FROM ids i WHERE i.owner = {owner} AND i.source = w.ref{number} ORDER BY i.turn LIMIT 1), 0"
        for number, owner in enumerate(owners)
    )
    return f"""
    SELECT w.place, w.entry, c.place, c.record{found} FROM wanted w
    LEFT JOIN current c
      ON c.place = (SELECT min(x.place) FROM current x WHERE x.source = w.source AND x.rest = w.rest)
    ORDER BY w.place
    """


ADD_CURRENT = "INSERT INTO current (source, rest, id, record) VALUES (?, ?, ?, ?)"
ADD_PAIR = "INSERT INTO pairs (place, kind, counterpart, wanted, pending) VALUES (?, ?, ?, ?, ?)"
ADD_ID = "INSERT INTO ids (owner, source, id) VALUES (?, ?, ?)"
ADD_KEPT = "INSERT INTO kept (stage, record, pending) VALUES (?, ?, ?)"
# An index that is made of all rows at once is sorted; row by row it would be searched for each.
INDEX_WANTED = "CREATE INDEX work.wanted_key ON wanted (source, rest)"
INDEX_CURRENT = "CREATE INDEX work.current_key ON current (source, rest)"
INDEX_IDS = "CREATE INDEX IF NOT EXISTS work.ids_source ON ids (owner, source, turn, id)"
# With the id, so that a reference is looked up in the index alone.
INDEX_CURRENT_SOURCE = "CREATE INDEX work.current_source ON current (source, place, id)"

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
#: The last copy takes the place of the first, once all but the last are gone.
FORGET_COPIES = """
DELETE FROM wanted WHERE place IN (
    SELECT first FROM copies UNION ALL SELECT c.place FROM copies c
    WHERE c.place < (SELECT max(x.place) FROM copies x WHERE x.first = c.first)
)
"""
TAKE_PLACES = """
UPDATE wanted SET place = (SELECT c.first FROM copies c WHERE c.place = wanted.place)
WHERE place IN (SELECT max(place) FROM copies GROUP BY first)
"""
COUNT_WANTED = "SELECT count(*) FROM wanted"
WANTED = "SELECT entry FROM wanted ORDER BY place"

INDEX_COUNTERPARTS = "CREATE INDEX work.pairs_counterpart ON pairs (counterpart)"
#: Those of one key together, where the first record of the key stands, as an orphan or not.
FIND_ORPHANS = """
INSERT INTO orphans (place)
SELECT c.place FROM current c WHERE NOT EXISTS (SELECT 1 FROM pairs p WHERE p.counterpart = c.place)
ORDER BY (SELECT min(x.place) FROM current x WHERE x.source IS c.source AND x.rest IS c.rest), c.place
"""
ORPHANS = "SELECT c.record FROM orphans o JOIN current c ON c.place = o.place ORDER BY o.turn"

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

LAST_ID = "SELECT id FROM ids WHERE owner = ? AND source = ? ORDER BY turn DESC"

#: What was written, and what was written once more when its references were known.
WRITTEN, SETTLED = range(2)
KEPT = "SELECT record FROM kept WHERE stage = ? AND pending IS NULL ORDER BY turn"
KEPT_WAITING = "SELECT record, pending FROM kept WHERE pending IS NOT NULL ORDER BY turn"
