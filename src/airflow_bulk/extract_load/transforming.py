"""Turn source records into the records that the destination shall hold.

No message here quotes a record: a message names the object, and the number of the record.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load.mapping import LoadMapping, Record

Key = tuple[str, ...]
_NOT_DATA = "MetaData"  # what the source adds to a record about the record itself


class MappingFailed(ValueError):
    """A mapping does not fit the records. Nothing was written; a retry would find the same records."""


@dataclass(slots=True)
class Wanted:
    """A record as the destination shall hold it.

    :param key: the values of the matching fields, as text.
    :param record: its fields, without references.
    :param references: field -> the source id it refers to; the destination's id is looked up later. A field that
        the mapping does not make is not in it: what the destination holds there is left alone.
    :param origin: source object and source id, to tell a record read twice from two records of one key.
    """

    key: Key
    record: Record
    references: dict[str, str | None] = field(default_factory=dict)
    origin: tuple[str, str] = ("", "")


def wanted_records(
    load: str, mapping: LoadMapping, extracted: Mapping[str, Iterable[Record]]
) -> dict[Key, Wanted]:
    """Return what *load* shall hold, by matching key.

    A record that a source lists twice (pages shift while records change) counts once: its later copy.

    :param extracted: source object (``Name``, or ``Name@grain``) -> its records.
    :raises MappingFailed: a record without a value to match on, two records with one value, a failing callable.
    """
    wanted: dict[Key, Wanted] = {}
    for name, records in extracted.items():
        for number, source, record in made_records(load, mapping, name, records):
            new = _wanted(load, name, number, mapping, source, record)
            old = wanted.get(new.key)
            if old is not None and old.origin != new.origin:
                fields = ", ".join(mapping.match_fields)
                raise MappingFailed(
                    f"load {load}: record {number} of extract {name} has the same {fields} as another record from"
                    f" {old.origin[0]}: name more fields in match_on"
                )
            wanted[new.key] = new
    return wanted


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


def _wanted(
    load: str, name: str, number: int, mapping: LoadMapping, source: Record, record: Record
) -> Wanted:
    source_id = source.get(mapping.source_id)
    fields = mapping.match_fields
    if len(fields) == 1 and fields[0] not in record:
        record[fields[0]] = source_id
    key = key_of(record, fields)
    if key is None:
        raise MappingFailed(
            f"load {load}: record {number} of extract {name} has no value in {', '.join(fields)}, so it could never be"
            " found again"
        )
    references = {field: _text(record.pop(field)) for field in mapping.references if field in record}
    return Wanted(key, record, references, (name, _text(source_id) or repr(number)))


def _maker(mapping: LoadMapping, name: str) -> Callable[[Record], Record | None]:
    fields = mapping.fields
    if fields is None:
        left_out = {mapping.source_id, _NOT_DATA}
        return lambda record: {key: value for key, value in record.items() if key not in left_out}
    if isinstance(fields, Mapping):
        paths = {target: path.split(".") for target, path in fields.items()}
        return lambda record: {target: _dig(record, path) for target, path in paths.items()}
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


def _dig(record: Record, path: list[str]) -> Any:
    whole = ".".join(path)
    if whole in record:
        return record[whole]
    value: Any = record
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def key_of(record: Record, fields: Iterable[str]) -> Key | None:
    """Return the values of *fields* as text, or ``None`` if one is missing."""
    values = [_text(record.get(name)) for name in fields]
    return tuple(value for value in values if value is not None) if None not in values else None


def _text(value: Any) -> str | None:
    """Return an id as text: ids are integers on one side and text on the other (extract_load.md section 8)."""
    return None if value is None or value == "" else str(value)
