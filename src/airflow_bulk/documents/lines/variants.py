"""The fast reading of lines: decoders that accept a line only if there is no reason against it.

A rule over several properties ("exactly one identifier") costs no time if the types express it. So for each way to
keep such a rule there is one decoder: it requires the chosen properties, and msgspec refuses the others. A file whose
lines all keep the rules in one way is checked in one pass in C.

A decoder here may refuse a good line (a line of another variant, or an unusual one); ``faults`` then reads that line
completely. A decoder must never accept a bad line.
"""

from __future__ import annotations

import functools
import itertools
from typing import Annotated, Any, Union

import msgspec
from msgspec import UNSET, Meta, Struct

from airflow_bulk.documents.lines.formats import FORMATS, Narrowing
from airflow_bulk.documents.lines.mediarithmics import (
    MAX_USER_IDENTIFIERS,
    NeverPresent,
    UserIdentifier,
    read_special,
)


class _Nothing(Struct, gc=False, kw_only=True, tag_field="type", tag="\0"):
    # A second type beside a single tagged structure: so msgspec requires the tag.
    nothing: NeverPresent


@functools.cache
def variants(document_type: str) -> tuple[msgspec.json.Decoder[Any], ...]:
    """Return the exact decoders of a document type, one for each way to keep its rules."""
    form = FORMATS[document_type]
    ways = itertools.product(*(tuple(choice.ways()) for choice in form.choices))
    return tuple(_decoder(form.commands, way) for way in ways)


@functools.cache
def general(document_type: str) -> msgspec.json.Decoder[Any]:
    """Return the decoder for lines of mixed kinds: it accepts what the types allow, without the rules over several."""
    return _decoder(FORMATS[document_type].commands, ())


def _decoder(commands: tuple[type[Struct], ...], way: tuple[Narrowing, ...]) -> msgspec.json.Decoder[Any]:
    narrowed: list[Any] = [_narrow(command, way) for command in commands]
    if len(narrowed) == 1 and commands[0].__struct_config__.tag is not None:
        narrowed.append(_Nothing)
    return msgspec.json.Decoder(Union[tuple(narrowed)], dec_hook=read_special)  # noqa: UP007


def _narrow(command: type[Struct], way: tuple[Narrowing, ...]) -> type[Struct]:
    present = {name for narrowing in way for name in narrowing.present}
    absent = {name for narrowing in way for name in narrowing.absent}
    fields: list[Any] = []
    for field in msgspec.structs.fields(command):
        if field.encode_name in present:
            fields.append((field.name, _required(field.type)))
        elif field.encode_name in absent:
            fields.append((field.name, NeverPresent, UNSET))
    if not fields:
        return command
    return msgspec.defstruct(
        command.__name__, fields, bases=(command,), gc=False, kw_only=True, tag=command.__struct_config__.tag
    )


def _required(kind: Any) -> Any:
    """Return the type as it is without UNSET."""
    parts = [part for part in kind.__args__ if part is not msgspec.UnsetType]
    if parts == [list[UserIdentifier]]:
        # Each entry of the list is an identifier.
        return Annotated[list[UserIdentifier], Meta(min_length=1, max_length=MAX_USER_IDENTIFIERS)]
    return Union[tuple(parts)]  # noqa: UP007
