"""What is known of files across all runs, in the state of one asset.

That store has no list, no compare-and-set, and it takes the writes of a superseded try. So every file has a key of its own that
follows from its name; an entry is written by an import whose lines were accepted, and by nobody else, and each such write
is true whenever it comes. The index of names serves to forget what is old; what is imported never rests on it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bulk.runs.record import RecordLost

if TYPE_CHECKING:
    from airflow_bulk.documents.source.parts import SourceFile
    from airflow_bulk.runs.record_copy import KeyValueStore

log = logging.getLogger(__name__)

#: The asset's name and URI; its state holds every ledger. Whoever renames it forgets all files.
ASSET_NAME = "airflow-bulk-files"
ASSET_URI = "x-airflow-bulk://files"
#: Bytes of one value at most, as of the task's state.
PAGE_BYTES = 50_000
#: Entries that one run deletes at most: each costs a call, and the others wait.
FORGOTTEN_AT_ONCE = 200
DAY = 24 * 3600.0
#: A name that any import has found so many days ago or less may lie in the source of another import than the one that tidies up.
STILL_FOUND = 32


def files_asset() -> Any:
    """The asset whose state holds the ledgers; an inlet of every task that asks which files are known."""
    from airflow.sdk import Asset

    return Asset(name=ASSET_NAME, uri=ASSET_URI, group="airflow-bulk")


def answered(ask: Callable[[], Any]) -> Any:
    """Ask Airflow.

    :raises RecordLost: no answer came.
    """
    try:
        return ask()
    except Exception as error:
        raise RecordLost(
            f"Could not read or write what is known of files ({type(error).__name__}): a newer try exists, or Airflow cannot be "
            "reached. Nothing more is sent; the next try goes on from the record."
        ) from error


class LedgerStore:
    """The state of the ledgers' asset, whose errors are said in words."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value."""
        return answered(lambda: self._store.get(key, default))

    def set(self, key: str, value: Any) -> None:
        """Store a value."""
        answered(lambda: self._store.set(key, value))

    def delete(self, key: str) -> None:
        """Forget a value, if it is there."""
        answered(lambda: self._store.delete(key))


class Scope(msgspec.Struct, frozen=True):
    """What has a ledger of its own.

    :param conn_id: the connection.
    :param place: on the platform: the datamart; empty elsewhere.
    :param document_type: of the lines; empty where a platform of one's own has none.
    :param seen_as: the name that stays the same over all runs.
    """

    conn_id: str
    place: str
    document_type: str
    seen_as: str

    @property
    def key(self) -> str:
        """The word that the ledger's keys begin with."""
        return _hash(msgspec.json.encode(self).decode())


class KnownFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose lines an import has brought to the platform.

    :param name: path or URI.
    :param version: what the store calls it: of a local file the time of its last change.
    :param content: hash of the bytes as they are stored.
    :param import_id: None where no line was left to send.
    :param at: seconds since 1970 of the import's end.
    :param owner: the task and its run.
    :param files: of the import; the counts are of all its files together, since a part may hold lines of two files.
    """

    name: str
    size: int
    version: str
    content: str
    import_id: str | None
    at: float
    owner: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    files: int
    lines_read: int | None = None
    lines_rejected: int | None = None
    lines_accepted: int | None = None
    lines_failed: int | None = None

    def is_version(self, file: SourceFile) -> bool:
        """Whether it is this file as the store shows it, without a look at its content."""
        return bool(file.version) and (self.size, self.version) == (file.size, file.version)

    @property
    def source_of(self) -> str:
        """Which import has brought it, in words."""
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.at))
        return f"import {self.import_id}, DAG {self.dag_id}, task {self.task_id}, run {self.run_id}, {when}"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def name_hash(name: str) -> str:
    """What stands for a file's name in keys and claims."""
    return hashlib.blake2b(name.encode(), digest_size=12).hexdigest()


def pages(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Cut rows into values that the store takes."""
    page: list[Any] = []
    size = 0
    for row in rows:
        length = len(msgspec.json.encode(row)) + 1
        if page and size + length > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(row)
        size += length
    if page:
        yield page


class Ledger:
    """The known files of one scope.

    :param store: the state of :func:`files_asset`.
    """

    def __init__(self, store: KeyValueStore, scope: Scope) -> None:
        self._store = store
        self.scope = scope
        self._prefix = scope.key

    def begin(self) -> None:
        """Leave word of what this ledger is for; the command line shows it."""
        key = f"{self._prefix}.scope"
        if self._store.get(key) is None:
            self._store.set(key, msgspec.to_builtins(self.scope))

    def find(self, name: str) -> KnownFile | None:
        """Return what is known of a file of this name."""
        value = self._store.get(self._key(name_hash(name)))
        return None if value is None else msgspec.convert(value, KnownFile)

    def write(self, file: KnownFile) -> None:
        """Make a file known."""
        self._store.set(self._key(name_hash(file.name)), msgspec.to_builtins(file))

    def _key(self, hashed: str) -> str:
        return f"{self._prefix}.file.{hashed}"

    def keep(self, names: Sequence[str], *, days: float, most: int, now: float | None = None) -> None:
        """Note which files the source holds now, and forget what no import has found for long.

        Several imports share a ledger, and each knows its own source alone. So a name counts as gone by the day when any of
        them has found it last.

        Only one import may do it at a time. A name that gets lost here is forgotten by nobody but a person: no file is
        imported again for it.

        :param names: what the source holds; none of them is forgotten.
        :param days: how long a file is known that no import finds any more.
        :param most: how many are known at most that no import has found for :data:`STILL_FOUND` days; those that were found last
            stay.
        """
        now = time.time() if now is None else now
        rows, count = self._index()
        before = dict(rows)
        held = {name_hash(name) for name in names}
        for one in held:
            # A day's difference is not worth a write.
            if now - rows.get(one, 0.0) > DAY:
                rows[one] = now
        # So a name may have been found up to a day later than its row says.
        ages = {one: (now - found) / DAY - 1 for one, found in rows.items() if one not in held}
        gone = sorted((one for one, age in ages.items() if age > STILL_FOUND), key=lambda one: ages[one])
        old = {*gone[most:], *(one for one, age in ages.items() if age > days)}
        for one in sorted(old, key=lambda one: -ages[one])[:FORGOTTEN_AT_ONCE]:
            self._store.delete(self._key(one))
            del rows[one]
        if rows != before:
            self._write_index(rows, count)

    def _index(self) -> tuple[dict[str, float], int]:
        rows: dict[str, float] = {}
        number = 0
        while (page := self._store.get(f"{self._prefix}.names.{number}")) is not None:
            rows.update(page)
            number += 1
        return rows, number

    def _write_index(self, rows: dict[str, float], before: int) -> None:
        number = -1
        for number, page in enumerate(pages(sorted(rows.items()))):
            self._store.set(f"{self._prefix}.names.{number}", [list(row) for row in page])
        for left in range(number + 1, before):
            self._store.delete(f"{self._prefix}.names.{left}")
