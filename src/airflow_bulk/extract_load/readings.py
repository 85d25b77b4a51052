"""Is a reading complete? One place decides it, for every source and for the snapshots of destinations.

An apply deletes what a reading did not bring, and creates what a snapshot did not bring. So a reading is complete, or it
fails. A list that changes while its pages are read moves its records from page to page, and one may never be seen:

* a record that comes on two pages, or a total that changes or is not reached, shows that the list has changed;
* one record deleted and another one added between two pages show in neither of the two. So a list of several pages is read
  **twice**, until both readings bring the same records in the same order (:func:`read_pages`). The list then stood like that
  at the end of the first reading, unless it changed and changed back in between.

What tells that a list is at its end, its reading *rests on*: a total, a next page that is named until the last, an empty
page that was asked for, the end of a query's result. A reading that rests on nothing never leads to a deletion
(:func:`airflow_bulk.extract_load.deletions.refusal`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
import xxhash

from airflow_bulk.extract_load.mapping import Record

T = TypeVar("T")

#: A list that changes while its pages are read is read so often.
READS = 3
#: So many pages one after the other that hold what earlier ones held, and no page is taken for another one. Lines of a report
#: without an id may well be equal; a source that does not take the parameter of the page gives the first page for ever.
PAGES_ALIKE = 100
#: The fields that hold a record's id where the source names none.
ID_FIELDS = ("id", "Id")


class PagesMoved(Exception):
    """The list changed while its pages were read, so the reading may lack records. It has to be read again."""


class SourceKeepsChanging(RuntimeError):
    """A list changed so fast that no complete reading came about. A retry reads again."""


class PageOfRecords(NamedTuple):
    """One answer of a system that lists records.

    :param records: its records, in its order.
    :param total: how many records the whole list has, where the system says so.
    """

    records: list[Record]
    total: int | None = None


#: Yields the pages of one list, and returns what says that the last page is the last: ``None`` if nothing does.
Pages = Generator[PageOfRecords, None, str | None]


class RecordReading(Iterator[Record]):
    """Records as they come, and after the last one what their completeness rests on.

    A source of your own returns one from ``extract``, and a destination from ``snapshot``. A plain iterator will do as well,
    and rests on nothing.

    A generator of your own around a reading is a plain iterator again: give it the reading's word as its return value, and
    the whole to a new ``RecordReading``.

    :param records: the records; a generator may return what they rest on. Whatever it returns that is no text is no word.
    :param rests_on: why these are all records, in words that stand after "the reading rests on"; ``None`` if nothing shows it.
    """

    def __init__(self, records: Iterable[Record], rests_on: str | None = None) -> None:
        self._records = iter(records)
        self._rests_on = rests_on
        self._ended: bool | None = None

    def __next__(self) -> Record:
        """Return the next record."""
        try:
            return next(self._records)
        except StopIteration as end:
            if self._ended is None:
                self._ended = True
                self._rests_on = end.value or self._rests_on
            raise
        except BaseException:
            self._ended = False  # whatever comes after an error, there may be a gap before it
            raise

    def close(self) -> None:
        """End the reading before its last record, as a generator's ``close`` does."""
        if self._ended is None:
            self._ended = False
        if isinstance(self._records, Generator):
            self._records.close()

    @property
    def rests_on(self) -> str | None:
        """Why these are all records; ``None`` before the last one was read, and where a reading failed or was closed."""
        return self._rests_on if self._ended and isinstance(self._rests_on, str) and self._rests_on else None


def rests_on(records: Iterable[Record]) -> str | None:
    """Return what a reading that is over rests on; ``None`` for a plain iterator."""
    return records.rests_on if isinstance(records, RecordReading) else None


def read_pages(pages: Callable[[], Pages], id_field: str | None = None, *, twice: bool) -> RecordReading:
    """Return the records of a list that is given in pages, as they come.

    :param pages: begins to read the list, each time that it is called.
    :param id_field: the field with a record's id, with dots for a nested one; ``None``: ``id`` or ``Id``. A record without
        it is known by all its content.
    :param twice: read a list of several pages a second time, and compare.
    :raises PagesMoved: (while it is read) the list changed meanwhile.
    :raises TypeError: *pages* is a list that has begun, and not what begins it.
    """
    if not callable(pages):
        raise TypeError(
            "read_pages takes the function that begins a list: give self.pages, and not self.pages(), which has begun one"
        )
    return RecordReading(_checked(pages, id_field, twice))


def read_again(read: Callable[[], T], what: str, tell: Callable[[str], None] = lambda why: None) -> T:
    """Call *read* until no page moved, :data:`READS` times at most.

    :param what: what is read, for the error.
    :param tell: hears why another reading begins.
    :raises SourceKeepsChanging: pages moved each time.
    """
    why = ""
    for number in range(1, READS + 1):
        try:
            return read()
        except PagesMoved as moved:
            why = str(moved)
            if number < READS:
                tell(why)
    raise SourceKeepsChanging(
        f"{what}: the list changed during each of {READS} readings, so none was complete. The last time, {why}. A retry reads"
        " again. If nothing changes there, the source may not take the parameters of its pages: check its paging."
    )


def if_it_grows(before: int | None, after: int | None) -> str:
    """Return what to do about a total that has become larger: on a busy list it does so during each reading."""
    grown = before is not None and after is not None and after > before
    return " (if records are only added at the end of the list, leave the total out)" if grown else ""


def _checked(
    pages: Callable[[], Pages], id_field: str | None, twice: bool
) -> Generator[Record, None, str | None]:
    first = _Listed(id_field)
    said = yield from first.passed_on(pages())
    if twice and first.pages > 1:
        first.compare(pages())
    return said


class _Listed:
    """What one reading has listed so far: 8 bytes a record in order, and a set to find one that comes again."""

    def __init__(self, id_field: str | None) -> None:
        self._names = [(name, tuple(name.split("."))) for name in ((id_field,) if id_field else ID_FIELDS)]
        self._encode = msgspec.json.Encoder().encode
        self._prints = array("Q")
        self._ids: set[int] = set()
        self._total: int | None = None
        self._pages: set[int] = set()
        self._alike = 0
        self.pages = 0

    def passed_on(self, pages: Pages) -> Generator[Record, None, str | None]:
        """Yield the records of all pages, once each page is known to follow from those before.

        :raises PagesMoved: one does not.
        """
        said: str | None = None
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                said = end.value
                break
            self._add(page)
            yield from page.records
        if self._total is None:
            return said
        if len(self._prints) != self._total:
            raise PagesMoved(
                f"the total was {self._total}, and the pages brought {len(self._prints)} records"
            )
        return said or f"a total of {self._total}"

    def compare(self, pages: Pages) -> None:
        """Read again, and find the same records in the same order; what comes after them was added meanwhile.

        :raises PagesMoved: they are others.
        """
        place, count = 0, len(self._prints)
        for page in pages:
            for found, _ in map(self._print, page.records[: count - place]):
                if found != self._prints[place]:
                    raise PagesMoved(f"a second reading found another record in place {place + 1}")
                place += 1
            if place == count:
                pages.close()
                return
        raise PagesMoved(f"a second reading found {place} records in place of {count}")

    def _add(self, page: PageOfRecords) -> None:
        self.pages += 1
        if self.pages == 1:
            self._total = page.total
        elif page.total != self._total:
            raise PagesMoved(
                f"the total was {self._total}, and then {page.total}{if_it_grows(self._total, page.total)}"
            )
        prints = [self._print(record) for record in page.records]
        self._find_alike([print_ for print_, _ in prints])
        ids = {print_ for print_, is_id in prints if is_id}
        if not self._ids.isdisjoint(ids):
            raise PagesMoved(f"page {self.pages} brought a record again that had come on an earlier page")
        self._ids |= ids
        self._prints.extend(print_ for print_, _ in prints)

    def _find_alike(self, prints: list[int]) -> None:
        if prints:
            whole = xxhash.xxh3_64_intdigest(array("Q", prints).tobytes())
            self._alike = self._alike + 1 if whole in self._pages else 0
            self._pages.add(whole)
        if self._alike >= PAGES_ALIKE:
            raise PagesMoved(f"{PAGES_ALIKE} pages one after the other hold the same as pages before them")

    def _print(self, record: Record) -> tuple[int, bool]:
        """Return 8 bytes that stand for a record, and whether they are those of its id."""
        for name, path in self._names:
            value: Any = record.get(name)
            if value is None and len(path) > 1:
                value = record
                for step in path:
                    value = value.get(step) if isinstance(value, dict) else None
            if value is not None:
                return xxhash.xxh3_64_intdigest(str(value).encode()), True
        return xxhash.xxh3_64_intdigest(self._encode(record)), False
