"""Which commands a document type knows, in which mime types, the rules over several properties, and the decoders.

Sections named here are those of mediarithmics.md. The types of Centrapay's batches come last in ``FORMATS``.

A rule over several properties ("exactly one identifier") costs no time if the types express it. So for each way to
keep such a rule there is one decoder (:func:`variants`): it requires the chosen properties, and msgspec refuses the others.
A file whose lines all keep the rules in one way is checked in one pass in C. A decoder may refuse a good line (a line of
another variant, or an unusual one); ``faults`` then reads that line completely. A decoder must never accept a bad line.
"""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple, Union

import msgspec
from msgspec import UNSET, Meta, Struct

from airflow_bulk.documents.lines.centrapay import (
    FARMLANDS,
    ONBOARD,
    TICKETEK,
    FarmlandsAccount,
    Ticket,
    account_warnings,
    ticket_warnings,
)
from airflow_bulk.documents.lines.mediarithmics import (
    ACTIVITY_TYPE_PREFIX,
    ACTIVITY_TYPES,
    MAX_USER_IDENTIFIERS,
    Absent,
    Account,
    Activity,
    Agent,
    AgentOfIdentifiersDeletion,
    AnyActivity,
    Association,
    DeleteChoice,
    DeleteProfile,
    DeleteSegment,
    Email,
    KnownActivity,
    NeverPresent,
    Object,
    Point,
    TypeOfActivity,
    UpdateSegment,
    UpsertChoice,
    UpsertProfile,
    UserIdentifier,
    read_special,
)

NDJSON = "APPLICATION_X_NDJSON"
CSV = "TEXT_CSV"


class Rule(enum.Enum):
    """How many of a ``Choice``'s alternatives a line has to hold."""

    EXACTLY_ONE_IDENTIFIER = "exactly one identifier is needed"
    AT_LEAST_ONE = "at least one is needed"
    NOT_TOGETHER = "not together"
    NOT_BOTH_TRUE = "not both true"


class Narrowing(NamedTuple):
    """One way to keep a rule: JSON names that have to be there, and names that must not."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


class Choice(NamedTuple):
    """One rule over several properties of a line.

    :param rule: how many of the alternatives.
    :param alternatives: each a group of JSON property names; a group is there if one of its names is.
    :param command: the tag of the one command that the rule is for; empty: for all.
    """

    rule: Rule
    alternatives: tuple[tuple[str, ...], ...]
    command: str = ""

    def ways(self) -> Iterator[Narrowing]:
        """Return the ways to keep this rule: each line that keeps it does so in at least one of them.

        But for NOT_BOTH_TRUE: a line with both properties, one of them false, is left to ``Format.kept``.
        """
        for chosen in self.alternatives:
            others = tuple(name for group in self.alternatives if group is not chosen for name in group)
            if self.rule is Rule.EXACTLY_ONE_IDENTIFIER:
                yield Narrowing(present=chosen, absent=others)
            elif self.rule is Rule.AT_LEAST_ONE:
                yield Narrowing(present=chosen)
            else:
                yield Narrowing(absent=others)


class OpenProperty(NamedTuple):
    """How the fast reading tells the known values of a property from others, without a pattern.

    :param known: the command with a known value: what the decoder of one kind takes.
    :param any: the command with any value: what the decoder of mixed kinds takes.
    :param alone: the property and nothing else: what ``warnings`` is given.
    :param plain: like ``Format.kept``, for a command with a known value.
    """

    known: type[Struct]
    any: type[Struct]
    alone: type[Struct]
    plain: Callable[[Any], bool]


class Format(NamedTuple):
    """What a line of one document type may be.

    :param commands: the commands, told apart by their tag; a single one without a tag is every line.
    :param choices: the rules that types cannot say.
    :param kept: the same rules as a quick look at a decoded command: ``True`` means that all are kept. It may
        doubt a good command (the complete reading then decides), but never pass a bad one.
    :param warnings: the kinds of hints that are counted on every good line, from its decoded commands.
    :param open: a property that may have other values than the known ones; only a block with such a value is asked
        for ``warnings``.
    """

    commands: tuple[type[Struct], ...]
    choices: tuple[Choice, ...] = ()
    kept: Callable[[Any], bool] | None = None
    warnings: Callable[[Iterable[Any]], Iterator[str]] | None = None
    open: OpenProperty | None = None


ONE_IDENTIFIER = Choice(
    Rule.EXACTLY_ONE_IDENTIFIER, (("user_account_id",), ("email_hash",), ("user_agent_id",))
)
ONE_ACTIVITY_IDENTIFIER = Choice(
    Rule.EXACTLY_ONE_IDENTIFIER,
    (("$user_account_id",), ("$email_hash",), ("$user_agent_id",), ("$user_identifiers",)),
)
# That one of the two is needed is [assumed]: the table calls both optional (section 6.2).
A_SEGMENT = Choice(Rule.AT_LEAST_ONE, (("segment_id",), ("segment_technical_name",)))
# Question 5 of section 12: two generations of the docs, never both on one line [assumed].
ONE_GENERATION = Choice(Rule.NOT_TOGETHER, (("update_strategy",), ("force_replace", "merge_objects")))
# Section 6.3: objects are merged only if force_replace is false [documented]; that both true are refused is [assumed].
NO_REPLACED_MERGE = Choice(Rule.NOT_BOTH_TRUE, (("force_replace",), ("merge_objects",)), "UPSERT")
ABSENT = (UNSET, None)
_KNOWN_TYPES = frozenset(ACTIVITY_TYPES)
UNKNOWN_ACTIVITY_TYPE = "unknown activity type"


# A null counts as absent, and a text that is there is not empty: so truth tells which identifiers are there.


def _one_identifier(command: Any) -> bool:
    if command.user_account_id:
        return not (command.email_hash or command.user_agent_id)
    return (not command.email_hash) is not (not command.user_agent_id)


def _profile(command: Any, unset: Any = UNSET) -> bool:
    # _one_identifier written out, and a local name: on mixed files this runs on every line, and a second call there
    # is a twentieth of the whole check.
    if command.user_account_id:
        if command.email_hash or command.user_agent_id:
            return False
    elif (not command.email_hash) is (not command.user_agent_id):
        return False
    # On DELETE lines there is no strategy: its type refuses it.
    if command.update_strategy:
        force, merge = command.force_replace, command.merge_objects
        return force is unset is merge or (force in ABSENT and merge in ABSENT)
    return not (command.force_replace and command.merge_objects)


def _membership(command: Any) -> bool:
    # A segment_id may be the number 0.
    return _one_identifier(command) and (
        command.segment_id not in ABSENT or command.segment_technical_name not in ABSENT
    )


def _is_known(kind: str) -> bool:
    return kind in _KNOWN_TYPES or kind.startswith(ACTIVITY_TYPE_PREFIX)


def _activity_identifier(command: Any) -> bool:
    if listed := command.user_identifiers:
        alone = not (command.user_account_id or command.email_hash or command.user_agent_id)
        return alone and len(listed) <= MAX_USER_IDENTIFIERS
    return _one_identifier(command)


def _known_activity(command: Any) -> bool:
    # On mixed files this runs on every line, so what most lines are is written out.
    if command.type in _KNOWN_TYPES and not command.user_identifiers:
        if command.user_account_id:
            return not (command.email_hash or command.user_agent_id)
        return (not command.email_hash) is not (not command.user_agent_id)
    return _is_known(command.type) and _activity_identifier(command)


def _activity(command: Any) -> bool:
    # The rule of ActivityType without its pattern: no known type in another case.
    other = command.type.upper() if command.type.isascii() else command.type
    return _is_known(command.type) == _is_known(other) and _activity_identifier(command)


def _activity_warnings(activities: Iterable[Any]) -> Iterator[str]:
    return (UNKNOWN_ACTIVITY_TYPE for activity in activities if not _is_known(activity.type))


FORMATS: dict[str, Format] = {
    "USER_ACTIVITY": Format(
        (Activity,),
        (ONE_ACTIVITY_IDENTIFIER,),
        kept=_activity,
        warnings=_activity_warnings,
        open=OpenProperty(KnownActivity, AnyActivity, TypeOfActivity, _known_activity),
    ),
    "USER_SEGMENT": Format((UpdateSegment, DeleteSegment), (ONE_IDENTIFIER, A_SEGMENT), _membership),
    "USER_PROFILE": Format(
        (UpsertProfile, DeleteProfile), (ONE_IDENTIFIER, ONE_GENERATION, NO_REPLACED_MERGE), _profile
    ),
    "USER_CHOICE": Format((UpsertChoice, DeleteChoice), (ONE_IDENTIFIER,), _one_identifier),
    "USER_IDENTIFIERS_DELETION": Format((Account, Email, AgentOfIdentifiersDeletion)),
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS": Format((Association,)),
    # Section 6.7: the one type whose lines are always devices.
    "USER_DEVICE_POINTS_DELETION": Format((Agent,)),
    "USER_POINTS_DELETION": Format((Account, Email, Agent, Point)),
    # Section 6.9: its line format is unknown, so a line is any JSON object.
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS": Format((Object,)),
    # centrapay.md sections 6.1 and 6.2.
    FARMLANDS: Format((FarmlandsAccount,), warnings=account_warnings),
    TICKETEK: Format((Ticket,), warnings=ticket_warnings),
}
# Types whose lines come as CSV alone (centrapay.md section 6.3).
CSV_ONLY = (ONBOARD,)


def mime_types(document_type: str) -> tuple[str, ...]:
    """Mime types of a document type: of mediarithmics, CSV for USER_SEGMENT alone (section 2.1 [documented]).

    :raises ValueError: the document type is unknown.
    """
    if document_type in CSV_ONLY:
        return (CSV,)
    if document_type not in FORMATS:
        known = ", ".join((*FORMATS, *CSV_ONLY))
        raise ValueError(f"unknown document type {document_type!r}; known are {known}")
    return (NDJSON, CSV) if document_type == "USER_SEGMENT" else (NDJSON,)


class _Nothing(Struct, gc=False, kw_only=True, tag_field="type", tag="\0"):
    # A second type beside a single tagged structure: so msgspec requires the tag.
    nothing: NeverPresent


@functools.cache
def variants(document_type: str) -> tuple[msgspec.json.Decoder[Any], ...]:
    """Return the exact decoders of a document type, one for each way to keep its rules."""
    form = FORMATS[document_type]
    commands = (form.open.known,) if form.open else form.commands
    ways = itertools.product(*(tuple(choice.ways()) for choice in form.choices))
    return tuple(_decoder(commands, way) for way in dict.fromkeys(map(_together, ways)))


def _together(way: tuple[Narrowing, ...]) -> Narrowing:
    present = {name for narrowing in way for name in narrowing.present}
    absent = {name for narrowing in way for name in narrowing.absent}
    return Narrowing(tuple(sorted(present)), tuple(sorted(absent)))


@functools.cache
def general(document_type: str) -> msgspec.json.Decoder[Any]:
    """Return the decoder for lines of mixed kinds: it accepts what the types allow, without the rules over several."""
    form = FORMATS[document_type]
    return _decoder((form.open.any,) if form.open else form.commands, Narrowing())


@functools.cache
def warned(document_type: str) -> msgspec.json.Decoder[Any]:
    """Return the decoder for what ``Format.warnings`` is given of good lines."""
    form = FORMATS[document_type]
    return msgspec.json.Decoder(form.open.alone) if form.open else general(document_type)


def _decoder(commands: tuple[type[Struct], ...], way: Narrowing) -> msgspec.json.Decoder[Any]:
    narrowed: list[Any] = [_narrow(command, way) for command in commands]
    if len(narrowed) == 1 and commands[0].__struct_config__.tag is not None:
        narrowed.append(_Nothing)
    return msgspec.json.Decoder(Union[tuple(narrowed)], dec_hook=read_special)  # noqa: UP007


def _narrow(command: type[Struct], way: Narrowing) -> type[Struct]:
    fields: list[Any] = []
    for field in msgspec.structs.fields(command):
        if field.encode_name in way.present:
            fields.append((field.name, _required(field.type)))
        elif field.encode_name in way.absent:
            fields.append((field.name, Absent, UNSET))
    if not fields:
        return command
    return msgspec.defstruct(
        command.__name__, fields, bases=(command,), gc=False, kw_only=True, tag=command.__struct_config__.tag
    )


def _required(kind: Any) -> Any:
    """Return the type without what stands for an absent property."""
    parts = [part for part in kind.__args__ if part not in Absent.__args__]
    if parts == [list[UserIdentifier]]:
        # Each entry of the list is an identifier.
        return Annotated[list[UserIdentifier], Meta(min_length=1, max_length=MAX_USER_IDENTIFIERS)]
    return Union[tuple(parts)]  # noqa: UP007
