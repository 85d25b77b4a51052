"""The documented lines with nulls: in every optional property that they lack, and in every required one that they have.

The names come from the structures that the readings are made of, so a new property is tried without a change here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from line_samples import GONE

from airflow_bulk.documents.lines import faults
from airflow_bulk.documents.lines.formats import FORMATS


def with_nulls(document_type: str, line: str) -> Iterator[bytes]:
    """The line with every optional property that it lacks as a null: all at once, then one by one, at any depth."""
    read = json.loads(line)
    yield _written(_filled(document_type, read, None))
    for name in sorted(_lacking(faults.shape(FORMATS[document_type].commands), read)):
        yield _written(_filled(document_type, read, name))


def with_required_as_null(document_type: str, line: str) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of lines: a required property of the line, or of an object inside, is null; the same one is left out."""
    read = json.loads(line)
    for place in _required(faults.shape(FORMATS[document_type].commands), read):
        yield _written(_put(read, place, None)), _written(_put(read, place, GONE))


def _written(line: Any) -> bytes:
    # Python reads 1e999 as an infinity, and writes it as no JSON.
    return json.dumps(line).replace("Infinity", "1e999").encode()


def _properties(shape: faults.Shape, line: dict[str, Any]) -> list[faults.LineProperty]:
    tag = line.get(shape.tag_field) if shape.tag_field else "None"
    return list(shape.by_tag.get(str(tag), ()))


def _inside(one: faults.LineProperty, line: dict[str, Any]) -> list[dict[str, Any]]:
    value = line.get(one.name)
    found = value if isinstance(value, list) else [value]
    return [inner for inner in found if isinstance(inner, dict)] if one.inside else []


def _lacking(shape: faults.Shape, line: dict[str, Any]) -> set[str]:
    found = set()
    for one in _properties(shape, line):
        if one.name not in line and not one.required:
            found.add(one.name)
        for inner in _inside(one, line):
            found |= _lacking(one.inside, inner)  # type: ignore[arg-type]
    return found


def _filled(document_type: str, line: dict[str, Any], name: str | None) -> dict[str, Any]:
    def fill(shape: faults.Shape, line: dict[str, Any]) -> dict[str, Any]:
        new = dict(line)
        for one in _properties(shape, line):
            if one.name not in line and not one.required and name in (None, one.name):
                new[one.name] = None
            if one.inside and isinstance(line.get(one.name), list):
                new[one.name] = [fill(one.inside, inner) for inner in line[one.name]]
            elif one.inside and isinstance(line.get(one.name), dict):
                new[one.name] = fill(one.inside, line[one.name])
        return new

    return fill(faults.shape(FORMATS[document_type].commands), line)


def _required(shape: faults.Shape, line: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    if shape.tag_field and shape.tag_field in line:
        yield (shape.tag_field,)
    for one in _properties(shape, line):
        if one.required:
            yield (one.name,)
        for number, inner in enumerate(_inside(one, line)):
            assert one.inside
            before = (one.name, number) if isinstance(line[one.name], list) else (one.name,)
            for place in _required(one.inside, inner):
                yield (*before, *place)


def _put(value: Any, place: tuple[str | int, ...], new: Any) -> Any:
    if not place:
        return new
    first, *rest = place
    inner = _put(value[first], tuple(rest), new)
    if isinstance(value, list):
        return [inner if number == first else old for number, old in enumerate(value)]
    return {name: one for name, one in (value | {first: inner}).items() if one is not GONE}
