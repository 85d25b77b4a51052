"""Turn source records into the records that the destination shall hold.

No message here quotes a record: a message names the object, and the number of the record.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from airflow_bulk.extract_load import record_tables
from airflow_bulk.extract_load.mapping import LoadMapping, Record
from airflow_bulk.extract_load.work_file import WorkFile, packed, stored_key, stored_text, unpacked

Key = tuple[str, ...]
_NOT_DATA = "MetaData"  # what the source adds to a record about the record itself


class MappingFailed(ValueError):
    """A mapping does not fit the records. Nothing was written; a retry would find the same records."""


class Wanted(NamedTuple):
    """A record as the destination shall hold it.

    :param record: its fields, without references.
    :param references: field -> the source id it refers to; the destination's id is looked up later. A field that
        the mapping does not make is not in it: what the destination holds there is left alone.
    :param origin: source object and source id, to tell a record read twice from two records of one key.
    :param number: its number in the extract, from 1.
    """

    record: Record
    references: dict[str, str | None]
    origin: tuple[str, str]
    number: int


class WantedRecords:
    """What a load shall hold: each matching key once, in the order in which the keys were listed first.

    :param work: where they are kept; they can be read as long as it is open.
    """

    def __init__(self, work: WorkFile) -> None:
        self.work = work

    def __len__(self) -> int:
        return int(self.work.row(record_tables.COUNT_WANTED)[0])

    def __iter__(self) -> Iterator[Wanted]:
        for (entry,) in self.work.rows(record_tables.WANTED):
            yield Wanted(*unpacked(entry))


def wanted_records(
    load: str, mapping: LoadMapping, extracted: Mapping[str, Iterable[Record]], work: WorkFile
) -> WantedRecords:
    """Return what *load* shall hold, by matching key.

    A record that a source lists twice (pages shift while records change) counts once: its later copy, at the place of
    the first. Two records with one key are found once all are read: that takes one index, and not a look-up for
    each record.

    :param extracted: source object (``Name``, or ``Name@grain``) -> its records.
    :param work: where they are kept.
    :raises MappingFailed: a record without a value to match on, two records with one value, a failing callable.
    """
    work.do(record_tables.make_wanted(len(mapping.references)))
    try:
        work.fill(record_tables.add_wanted(len(mapping.references)), _entries(load, mapping, extracted))
    except Exception:
        _unite_copies(load, mapping, work)  # of two faults the one that was listed first is told
        raise
    _unite_copies(load, mapping, work)
    return WantedRecords(work)


def _entries(
    load: str, mapping: LoadMapping, extracted: Mapping[str, Iterable[Record]]
) -> Iterator[tuple[bytes | None, ...]]:
    """Yield the rows of the table ``wanted``."""
    names = tuple(mapping.references)
    wanted_of = _wanted_of(load, mapping)
    for name, records in extracted.items():
        for number, source, record in made_records(load, mapping, name, records):
            key, references, origin = wanted_of(name, number, source, record)
            try:
                entry = packed((record, references, origin, number))
            except Exception as error:  # noqa: BLE001 - a user's class may raise anything, and quote the record
                raise MappingFailed(
                    f"load {load}: fields makes of record {number} of extract {name} a value that is no plain data"
                    f" ({type(error).__name__})"
                ) from None
            yield (*stored_key(key), entry, *[_stored(references.get(one)) for one in names])


def _stored(source_id: str | None) -> bytes | None:
    return None if source_id is None else stored_text(source_id)


def _unite_copies(load: str, mapping: LoadMapping, work: WorkFile) -> None:
    """Leave one record of each key.

    :raises MappingFailed: two records with one key that are not copies of one source record.
    """
    for statement in (record_tables.INDEX_WANTED, record_tables.FIND_COPIES, record_tables.INDEX_COPIES):
        work.do(statement)
    for new, old in work.rows(record_tables.COPIES):
        later, first = Wanted(*unpacked(new)), Wanted(*unpacked(old))
        if later.origin != first.origin:
            fields = ", ".join(mapping.match_fields)
            raise MappingFailed(
                f"load {load}: record {later.number} of extract {later.origin[0]} has the same {fields} as another record from"
                f" {first.origin[0]}: name more fields in match_on"
            )
    work.do(record_tables.FORGET_COPIES)
    work.do(record_tables.TAKE_PLACES)


def made_records(
    load: str, mapping: LoadMapping, name: str, records: Iterable[Record]
) -> Iterator[tuple[int, Record, Record]]:
    """Yield ``(number from 1, source record, record of the mapping)``, without the records that the mapping leaves out.

    :raises MappingFailed: a failing callable; nothing of the record is quoted.
    """
    make = _maker(mapping, name)
    for number, source in enumerate(records, 1):
        try:
            record = make(source)
        except Exception as error:  # noqa: BLE001 - a user's callable may raise anything, and quote the record
            raise MappingFailed(
                f"load {load}: fields fails on record {number} of extract {name} ({type(error).__name__})"
            ) from None
        if record is not None:
            yield number, source, record


def _wanted_of(
    load: str, mapping: LoadMapping
) -> Callable[[str, int, Record, Record], tuple[Key, dict[str, str | None], tuple[str, str]]]:
    """Return the function that takes key, references and origin out of a record that the mapping has made."""
    fields, source_field, targets = mapping.match_fields, mapping.source_id, tuple(mapping.references)
    filled = fields[0] if len(fields) == 1 else None

    def wanted_of(
        name: str, number: int, source: Record, record: Record
    ) -> tuple[Key, dict[str, str | None], tuple[str, str]]:
        source_id = source.get(source_field)
        if by_id := filled is not None and filled not in record:
            record[filled] = source_id
        key = key_of(record, fields)
        if key is None:
            from_source = f" (filled from the field {mapping.source_id}, source_id)" if by_id else ""
            raise MappingFailed(
                f"load {load}: record {number} of extract {name} has no value in {', '.join(fields)}{from_source}, so it could"
                " never be found again"
            )
        references = {field: _text(record.pop(field)) for field in targets if field in record}
        return key, references, (name, _text(source_id) or repr(number))

    return wanted_of


def _maker(mapping: LoadMapping, name: str) -> Callable[[Record], Record | None]:
    fields = mapping.fields
    if fields is None:
        left_out = {mapping.source_id, _NOT_DATA}
        return lambda record: {key: value for key, value in record.items() if key not in left_out}
    if isinstance(fields, Mapping):
        paths = [(target, path, path.split(".") if "." in path else None) for target, path in fields.items()]
        return lambda record: {
            target: record.get(whole) if steps is None else _dig(record, whole, steps)
            for target, whole, steps in paths
        }
    if isinstance(fields, str):
        raise MappingFailed(f"the callable {fields} was not imported")
    function = fields
    return (
        (lambda record: _copy(function(record, name)))
        if _takes_two(function)
        else (lambda record: _copy(function(record)))
    )


def _copy(record: Any) -> Record | None:
    return None if record is None else dict(record)


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in places if p.default is p.empty]
    return len(needed) == 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _dig(record: Record, whole: str, path: list[str]) -> Any:
    if whole in record:
        return record[whole]
    value: Any = record
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def key_of(record: Record, fields: tuple[str, ...]) -> Key | None:
    """Return the values of *fields* as text, or ``None`` if one is missing."""
    if len(fields) == 1:
        value = _text(record.get(fields[0]))
        return None if value is None else (value,)
    values = [_text(record.get(name)) for name in fields]
    return tuple(value for value in values if value is not None) if None not in values else None


def _text(value: Any) -> str | None:
    """Return an id as text: ids are integers on one side and text on the other (extract_load.md section 8)."""
    return None if value is None or value == "" else str(value)
