"""The complete reading of one line: it finds every reason against the line, in plain sentences.

It uses the same structures that the fast reading decodes, property by property and with the same decoder, so that both
readings accept the same lines. A sentence may name a property that the platform knows. It never holds a value, nor a
name that the platform does not know: those are the customer's data.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from airflow_bulk.documents.lines.formats import FORMATS, Choice, Rule
from airflow_bulk.documents.lines.mediarithmics import (
    MAX_USER_IDENTIFIERS,
    JsonText,
    NeverPresent,
    read_special,
)

# What decoding one line may raise: no JSON or another type, bad UTF-8, or more levels than the stack allows (about a
# thousand; the interpreter decides).
REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# The most reasons against one line: a line may hold a thousand broken events.
MAX_REASONS = 50

_OBJECT: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
LIST: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
ANY_JSON: msgspec.json.Decoder[Raw] = msgspec.json.Decoder(Raw)
_KINDS = {
    b'"': "a string",
    b"{": "an object",
    b"[": "an array",
    b"t": "true",
    b"f": "false",
    b"n": "null",
}
_TEXTS = (str, JsonText)
_NUMBERS = (int, float)


def read_object(text: bytes) -> dict[str, Raw]:
    """Read the properties of a JSON object; a null counts as absent."""
    properties = _OBJECT.decode(text)
    if b"null" not in text:
        return properties
    return {name: raw for name, raw in properties.items() if bytes(raw) != b"null"}


def reasons(document_type: str, line: bytes) -> list[str]:
    """Read one line completely.

    :param document_type: one of ``formats.FORMATS``.
    :param line: a line that is not blank, without its newline.
    :return: all reasons against the line; empty for a good line.
    """
    found = byte_reasons(line)
    if found:
        return found
    try:
        properties = read_object(line)
    except RecursionError:
        return ["the JSON of the line is nested too deeply"]
    except msgspec.DecodeError:
        return [_why_no_object(line)]
    return property_reasons(document_type, properties)


def byte_reasons(line: bytes) -> list[str]:
    """Return what is wrong with the bytes of a line, whatever its format."""
    found = []
    if b"\n" in line:
        found.append("a command has to stand on one line, a line break was found inside")
    # Only the raw byte is refused. An escaped NUL is text like any other: no source says that the platform refuses it.
    if b"\0" in line:
        found.append("the line holds a NUL byte")
    if not line.isascii():
        try:
            line.decode()
        except UnicodeDecodeError:
            found.append("the line is not valid UTF-8")
    return found


def property_reasons(document_type: str, properties: Mapping[str, Raw]) -> list[str]:
    """Return what is wrong with a command.

    :param properties: the command's properties, each the JSON text of its value, without nulls. Of a repeated name the
        last value counts, as in every JSON parser.
    """
    form = FORMATS[document_type]
    commands = shape(form.commands)
    found = list(commands.faults(properties, ""))
    tag = commands.tag(properties)
    for choice in form.choices:
        if choice.command in ("", tag):
            found += _RULES[choice.rule](choice, properties)
    return list(dict.fromkeys(found[:MAX_REASONS]))


def _why_no_object(line: bytes) -> str:
    """Return a sentence for a message of msgspec, which names a place and never content."""
    try:
        ANY_JSON.decode(line)
    except msgspec.DecodeError as error:
        text = str(error)
        if "trailing characters" in text:
            return "exactly one JSON object is needed, something follows the first"
        if "truncated" in text:
            return "the line is not valid JSON: it ends too early"
        return "the line is not valid JSON: " + text.removeprefix("JSON is malformed: ")
    return f"the line has to be a JSON object, but is {kind_of(line.strip())}"


def kind_of(raw: bytes) -> str:
    """Return what kind of value a JSON text is, without the value."""
    if raw == b'""':
        return "an empty string"
    return _KINDS.get(raw[:1], "a number")


def length(raw: Raw | None) -> int | None:
    """Return the length of a JSON array; ``None`` for anything else."""
    return len(LIST.decode(raw)) if raw is not None and bytes(raw)[:1] == b"[" else None


def either(names: Iterable[str], word: str) -> str:
    """Join names for a sentence: "a, b or c"."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


# -- The structures, as the complete reading needs them --------------------------------------------------------------


class LineProperty:
    """One property of a command.

    :param field: the structure's field.
    """

    def __init__(self, field: msgspec.structs.FieldInfo) -> None:
        parts = list(_parts(field.type))
        metas = [part for part in parts if isinstance(part, Meta)]
        commands = tuple(part for part in parts if isinstance(part, type) and issubclass(part, Struct))
        self.name = field.encode_name
        self.required = field.required
        self.decode = msgspec.json.Decoder(field.type, dec_hook=read_special).decode
        self.description = next((meta.description for meta in metas if meta.description is not None), "")
        # The property is an identifier of another kind than the line's type names.
        self.second_identifier = NeverPresent in parts and not self.description
        self.never = NeverPresent in parts
        self.takes = {
            "a string" if part in _TEXTS else "a number" for part in parts if part in _TEXTS + _NUMBERS
        }
        self.listed = list in parts
        self.least = max((meta.min_length or 0 for meta in metas), default=0)
        self.inside = shape(commands) if commands else None

    def faults(self, raw: Raw, where: str) -> Iterator[str]:
        """Return what is wrong with a value that the decoder refused."""
        value = bytes(raw)
        if self.listed:
            yield from self._faults_of_list(value, where)
        elif self.inside is not None:
            yield from self.inside.faults_of_value(value, where)
        else:
            yield f"{where} {self.description}" + self._instead(kind_of(value))

    def _instead(self, kind: str) -> str:
        """Return what the value is instead, where that says more than the rule does."""
        return "" if self.never or kind in self.takes else f", but is {kind}"

    def _faults_of_list(self, value: bytes, where: str) -> Iterator[str]:
        if value[:1] != b"[":
            yield f"{where} has to be an array, but is {kind_of(value)}"
            return
        items = LIST.decode(value)
        if len(items) < self.least:
            yield f"{where} is empty"
        assert self.inside is not None  # noqa: S101 - all lists here are of objects
        for number, item in enumerate(items):
            yield from self.inside.faults_of_value(bytes(item), f"{where}[{number}]")


class Shape:
    """The commands that an object may be: several with a tag that names the command, or a single one without a tag."""

    def __init__(self, commands: tuple[type[Struct], ...]) -> None:
        config = commands[0].__struct_config__
        self.tag_field = config.tag_field if config.tag is not None else None
        self.by_tag = {
            str(command.__struct_config__.tag): tuple(map(LineProperty, msgspec.structs.fields(command)))
            for command in commands
        }
        self.commands = dict(zip(self.by_tag, commands, strict=True))
        first, *others = self.by_tag.values()
        names = [{(known.name, known.required, known.description) for known in other} for other in others]
        # What can be judged although the command is unknown.
        self._common = tuple(
            known
            for known in first
            if all((known.name, known.required, known.description) in other for other in names)
        )

    def tag(self, properties: Mapping[str, Raw]) -> str | None:
        """Return the tag of the command that an object is; ``None`` if it is none of them."""
        if self.tag_field is None:
            return "None"
        raw = properties.get(self.tag_field)
        if raw is None or bytes(raw)[:1] != b'"':
            return None
        text = msgspec.json.decode(raw)
        return text if text in self.by_tag else None

    def faults_of_value(self, value: bytes, where: str) -> Iterator[str]:
        """Return what is wrong with the JSON text of any value."""
        if value[:1] == b"{":
            yield from self.faults(read_object(value), where + ".")
        else:
            yield f"{where} has to be an object, but is {kind_of(value)}"

    def faults(self, properties: Mapping[str, Raw], where: str) -> Iterator[str]:
        """Return what is wrong with an object.

        :param where: path of the object, with its dot; empty for the line itself.
        """
        tag = self.tag(properties)
        if tag is not None:
            needed = "" if self.tag_field is None else f", {tag} needs it"
            yield from _walk(self.by_tag[tag], needed, properties, where)
            return
        if self.tag_field in properties:
            yield f"{where}{self.tag_field} has to be {either(self.by_tag, 'or')}"
        else:
            yield f"{where}{self.tag_field} is missing"
        yield from _walk(self._common, "", properties, where)


def _walk(
    known: Iterable[LineProperty], needed: str, properties: Mapping[str, Raw], where: str
) -> Iterator[str]:
    others = []
    own = ""
    for one in known:
        raw = properties.get(one.name)
        if raw is None:
            if one.required:
                yield f"{where}{one.name} is missing{needed}"
        elif one.second_identifier:
            others.append(where + one.name)
        else:
            own = own or (where + one.name if one.required else "")
            try:
                one.decode(raw)
            except REFUSALS:
                yield from one.faults(raw, where + one.name)
    if others:
        names = [own, *others] if own else others
        what = (
            f"{len(names)}: {either(names, 'and')}"
            if own
            else f"only {either(names, 'and')}, of another type"
        )
        yield f"exactly one identifier is needed, found {what}"


def _parts(kind: Any) -> Iterator[Any]:
    """Types and metas that an annotation is made of, outermost first."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        yield from kind.__metadata__
        yield from _parts(kind.__origin__)
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(kind):
            yield from _parts(part)
    elif origin is Literal:
        yield from {type(value) for value in typing.get_args(kind)}
    elif origin is list:
        yield list
        yield from _parts(typing.get_args(kind)[0])
    else:
        yield kind


shape = functools.cache(Shape)


# -- The rules that types cannot express ----------------------------------------------------------------------------


def _exactly_one(choice: Choice, properties: Mapping[str, Raw]) -> Iterator[str]:
    names = [name for (name,) in choice.alternatives if name in properties]
    count = len(names)
    if "$user_identifiers" in names:
        # Each entry is an identifier: a list of two holds two, an empty list holds none (mediarithmics.md section 12,
        # question 9).
        entries = length(properties["$user_identifiers"])
        if names == ["$user_identifiers"] and entries is not None and 1 <= entries <= MAX_USER_IDENTIFIERS:
            return
        count += 0 if entries is None else entries - 1
        if entries == 0:
            names.remove("$user_identifiers")
    if count != 1:
        what = f"{count}: {either(names, 'and')}" if names else "none"
        alone = ", compartment_id alone is none" if not names and "compartment_id" in properties else ""
        yield f"exactly one identifier is needed, found {what}{alone}"


def _at_least_one(choice: Choice, properties: Mapping[str, Raw]) -> Iterator[str]:
    names = [name for (name,) in choice.alternatives]
    if not any(name in properties for name in names):
        yield f"one of {either(names, 'or')} is needed"


def _not_together(choice: Choice, properties: Mapping[str, Raw]) -> Iterator[str]:
    for group in choice.alternatives:
        if properties.keys().isdisjoint(group):
            return
    names = (name for group in choice.alternatives for name in group if name in properties)
    yield f"{either(names, 'and')} cannot stand together"


def _not_both_true(choice: Choice, properties: Mapping[str, Raw]) -> Iterator[str]:
    names = [name for (name,) in choice.alternatives if name in properties]
    if len(names) == len(choice.alternatives) and all(bytes(properties[name]) == b"true" for name in names):
        yield f"{either(names, 'and')} cannot both be true"


_RULES = {
    Rule.EXACTLY_ONE_IDENTIFIER: _exactly_one,
    Rule.AT_LEAST_ONE: _at_least_one,
    Rule.NOT_TOGETHER: _not_together,
    Rule.NOT_BOTH_TRUE: _not_both_true,
}
