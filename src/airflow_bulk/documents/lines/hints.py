"""Hints: what the rules allow in a line, but what is probably a mistake. A hint is never a reason to refuse a line.

Unknown properties are hints, since activities are customisable and the platform may add properties (mediarithmics.md
section 5 [assumed]). A hint names a kind of mistake, and never the customer's data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Raw, Struct

from airflow_bulk.documents.lines import faults
from airflow_bulk.documents.lines.formats import FORMATS
from airflow_bulk.documents.lines.mediarithmics import Activity, DeletedChoice, Object, UpsertedChoice

UNKNOWN_PROPERTY = "unknown property"
UNKNOWN_ACTIVITY_TYPE = "unknown activity type"
NO_EVENTS = "activity without events"
ONE_ASSOCIATED = "association of a single identifier"
TWO_SEGMENTS = "segment_id and segment_technical_name on one line"
MERGE_WITHOUT_EFFECT = "merge_objects has no effect without force_replace false"

# Section 6.1: these properties are known [documented][seen]; others exist.
ACTIVITY_TYPES = frozenset({"SITE_VISIT", "APP_VISIT", "DISPLAY_AD", "EMAIL", "TOUCH", "RECOMMENDER"})
ACTIVITY_TYPE_PREFIX = "USER_SCENARIO"
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
        yield from property_hints(document_type, faults.OBJECT.decode(line))
    except faults.REFUSALS:
        return


def property_hints(document_type: str, properties: Mapping[str, Raw]) -> Iterator[str]:
    """Return the kinds of hints on a good command, given as its properties."""
    if _unknown(faults.shape(FORMATS[document_type].commands), properties):
        yield UNKNOWN_PROPERTY
    if document_type == "USER_ACTIVITY":
        kind = msgspec.json.decode(properties["$type"], type=str)
        if kind not in ACTIVITY_TYPES and not kind.startswith(ACTIVITY_TYPE_PREFIX):
            yield UNKNOWN_ACTIVITY_TYPE
        if faults.length(properties["$events"]) == 0:
            yield NO_EVENTS
    elif document_type == "USER_SEGMENT" and {"segment_id", "segment_technical_name"} <= properties.keys():
        yield TWO_SEGMENTS
    elif document_type == "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS":
        if faults.length(properties["identifiers"]) == 1:
            yield ONE_ASSOCIATED
    elif document_type == "USER_PROFILE" and "merge_objects" in properties:
        yield from () if _value(properties, "force_replace") == b"false" else (MERGE_WITHOUT_EFFECT,)


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


def _value(properties: Mapping[str, Raw], name: str) -> bytes:
    return bytes(properties[name]) if name in properties else b""


def _reserved(command: type[Struct], name: str) -> bool:
    """Whether only the platform gives such names: an activity may have any property, but theirs begin with a dollar."""
    return command is not Activity or name.startswith("$")


def _objects(value: bytes) -> Iterator[Mapping[str, Raw]]:
    if value[:1] == b"{":
        yield faults.OBJECT.decode(value)
    elif value[:1] == b"[":
        yield from (
            faults.OBJECT.decode(item) for item in faults.LIST.decode(value) if bytes(item)[:1] == b"{"
        )
