"""Hints: what the rules allow in a line, but what is probably a mistake. A hint is never a reason to refuse a line.

Unknown properties are hints, since activities are customisable and the platform may add properties (mediarithmics.md
section 5 [assumed]). A hint names a kind of mistake, and never the customer's data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw, Struct

from airflow_bulk.documents.lines import faults
from airflow_bulk.documents.lines.formats import FORMATS
from airflow_bulk.documents.lines.mediarithmics import Activity, DeletedChoice, Object, UpsertedChoice

UNKNOWN_PROPERTY = "unknown property"
NO_EVENTS = "activity without events"
ONE_ASSOCIATED = "association of a single identifier"
TWO_SEGMENTS = "segment_id and segment_technical_name on one line"
# The platform may take either value. To find every such line would cost a fifth of the checking speed, so only the
# sample is looked at.
REPEATED_PROPERTY = "a property is named twice on one line: which of the two counts is not known"
MERGE_WITHOUT_EFFECT = "merge_objects has no effect without force_replace false"

# Objects with free content beside the known properties: an unknown name is no hint there.
CUSTOMISABLE = frozenset({Object, UpsertedChoice, DeletedChoice})
# Known properties whose form is not documented (section 6.1 [seen][documented]).
UNTYPED: dict[type[Struct], frozenset[str]] = {
    Activity: frozenset({"$site_id", "$app_id", "$session_duration", "$topics"})
}


def hints(document_type: str, line: bytes) -> Iterator[str]:
    """Return the kinds of hints on a good line.

    :param line: a line against which there is no reason.
    """
    try:
        yield from property_hints(document_type, faults.read_object(line))
        if _repeats(line):
            yield REPEATED_PROPERTY
    except (*faults.REFUSALS, ValueError):
        return


def _repeats(line: bytes) -> bool:
    """Whether an object of the line names a property twice."""
    repeated = False

    def count(pairs: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) < len(pairs)

    json.loads(line, object_pairs_hook=count, parse_int=float)
    return repeated


def property_hints(document_type: str, properties: Mapping[str, Raw]) -> Iterator[str]:
    """Return the kinds of hints on a good command, given as its properties."""
    if _unknown(faults.shape(FORMATS[document_type].commands), properties):
        yield UNKNOWN_PROPERTY
    if document_type == "USER_ACTIVITY":
        if faults.length(properties["$events"]) == 0:
            yield NO_EVENTS
    elif document_type == "USER_SEGMENT" and {"segment_id", "segment_technical_name"} <= properties.keys():
        yield TWO_SEGMENTS
    elif document_type == "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS":
        if faults.length(properties["identifiers"]) == 1:
            yield ONE_ASSOCIATED
    elif document_type == "USER_PROFILE":
        merges = bytes(properties.get("merge_objects", b"")) == b"true"
        if merges and "force_replace" not in properties:
            yield MERGE_WITHOUT_EFFECT


def _unknown(shape: faults.Shape, properties: Mapping[str, Raw]) -> bool:
    """Whether an object, or an object inside it, has an unknown property."""
    tag = shape.tag(properties)
    if tag is None:
        return False
    command, known = shape.commands[tag], shape.by_tag[tag]
    names = {one.name for one in known} | UNTYPED.get(command, frozenset()) | {shape.tag_field}
    if command not in CUSTOMISABLE and any(
        name not in names and _reserved(command, name) for name in properties
    ):
        return True
    return any(
        _unknown(one.inside, inner)
        for one in known
        if one.inside is not None and one.name in properties
        for inner in _objects(bytes(properties[one.name]))
    )


def _reserved(command: type[Struct], name: str) -> bool:
    """Whether only the platform gives such names: an activity may have any property, but theirs begin with a dollar."""
    return command is not Activity or name.startswith("$")


def _objects(value: bytes) -> Iterator[Mapping[str, Raw]]:
    if value[:1] == b"{":
        yield faults.read_object(value)
    elif value[:1] == b"[":
        yield from (
            faults.read_object(bytes(item)) for item in faults.LIST.decode(value) if bytes(item)[:1] == b"{"
        )
