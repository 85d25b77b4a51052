"""The commands that a line of the mediarithmics bulk API can be, as structures.

A line is a command: one JSON object. The types express most of the rules; ``formats`` has the few rules that types
cannot express. Both readings of a line, the fast one (``variants``) and the complete one (``faults``), are made from
these structures, so neither has rules of its own.

Sections named here are those of mediarithmics.md. A rule with the mark [assumed] is in no source: such rules are the
constants at the top, easy to change.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

# A null in an optional property counts as not there, as exports of the platform and of databases write it
# (section 5 [seen]); in a required property it is missing.
Absent = UnsetType | None

Text = Annotated[str, Meta(min_length=1, description="has to be a non-empty string")]
AnyText = Annotated[str, Meta(description="has to be a string")]
# Section 5: ids are strings in the tables, compartment_id is a number in one of them; ids that the platform gave
# (digits, section 1.7) may be either [assumed]. An account's id is the customer's, and a string [documented].
PlatformId = (
    Annotated[str, Meta(min_length=1, description="has to be a non-empty string or an integer")]
    | Annotated[int, Meta(ge=0)]
)
Flag = Annotated[bool, Meta(description="has to be true or false")]

# Section 1.7: all times are integers, milliseconds since 1970 in UTC [documented]; not before 1970 is [assumed].
Milliseconds = Annotated[
    int, Meta(ge=0, le=2**63 - 1, description="has to be an integer of 0 or more (milliseconds)")
]
# Section 6.4: quoted in the documentation's sample, a number in the console's model: both are accepted
# [documented][seen].
ChoiceTime = (
    Annotated[
        str, Meta(pattern=r"^[0-9]+\Z", description="has to be milliseconds, an integer or quoted digits")
    ]
    | Annotated[int, Meta(ge=0, le=2**63 - 1)]
)
# Sections 6.1 and 6.2: minutes, 0 means never [documented]; that a negative one is a mistake is [assumed].
Minutes = Annotated[int, Meta(ge=0, le=2**63 - 1, description="has to be an integer of 0 or more (minutes)")]
# Section 6.2: a number, 0 means never [documented].
ExpiryTime = (
    Annotated[int, Meta(ge=0, description="has to be a number of 0 or more (milliseconds)")]
    | Annotated[float, Meta(ge=0)]
)

# Section 12, question 9: the page on tracking recommends several, the page on bulk imports allows one; one is allowed
# here [assumed].
MAX_USER_IDENTIFIERS = 1
# Section 6.6: the least length of `identifiers` is not stated; an empty list is refused [assumed].
MIN_ASSOCIATED = 1

# Section 6.5: a device point id cannot be deleted [documented].
AgentButNoDevicePoint = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=r"^(?!udp:)",
        description="has to be a non-empty string that does not begin with udp:",
    ),
]
Uuid = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z",
        description="has to be a uuid (8-4-4-4-12 hexadecimal digits)",
    ),
]
# Section 6.1: left empty, the platform makes one [documented].
UuidOrEmpty = Annotated[
    str,
    Meta(
        pattern=r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?\Z",
        description="has to be a uuid (8-4-4-4-12 hexadecimal digits) or empty",
    ),
]

# Section 6.1: these types are known [documented][seen]; others exist, and are a hint.
KnownType = Literal["SITE_VISIT", "APP_VISIT", "DISPLAY_AD", "EMAIL", "TOUCH", "RECOMMENDER"]
ACTIVITY_TYPES: tuple[str, ...] = typing.get_args(KnownType)
ACTIVITY_TYPE_PREFIX = "USER_SCENARIO"
_KNOWN_TYPES = rf"(?:{'|'.join(ACTIVITY_TYPES)})\Z|{ACTIVITY_TYPE_PREFIX}"
# A type that differs from a known one by case alone is a mistake of the writer [assumed].
ActivityType = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=rf"^(?:{_KNOWN_TYPES}|(?!(?ai:{_KNOWN_TYPES})))",
        description=f"has to be a non-empty string, and a known type in capitals: {', '.join(ACTIVITY_TYPES)} "
        f"or {ACTIVITY_TYPE_PREFIX}...",
    ),
]


class NeverPresent:
    """A property that must be absent. No JSON value can become this type, so msgspec refuses the property."""


class JsonText:
    """A string that holds a JSON text, ``data_bag`` of section 6.2 [documented]."""


_ANY_JSON = msgspec.json.Decoder(msgspec.Raw)


def read_special(kind: type, value: Any) -> Any:
    """Msgspec's ``dec_hook`` for the two types above.

    :raises ValueError: the value is not allowed; the message never holds it.
    """
    if kind is JsonText and isinstance(value, str):
        _ANY_JSON.decode(value)
        return JSON_TEXT
    raise ValueError("not allowed")


JSON_TEXT = JsonText()


class Object(Struct, gc=False):
    """A JSON object of free content: its properties are skipped, only their JSON is checked."""


def _dollar(name: str) -> str:
    return "$" + name


# -- Profiles, choices, segments: sections 6.2 to 6.4 [documented] ----------------------------------------------


class _Identified(Struct, gc=False, kw_only=True, tag_field="operation"):
    # compartment_id alone is no identifier: it says where an account or a profile is (section 5 [documented]).
    user_account_id: Text | Absent = UNSET
    compartment_id: PlatformId | Absent = UNSET
    email_hash: Text | Absent = UNSET
    user_agent_id: Text | Absent = UNSET


class UpsertProfile(_Identified, gc=False, kw_only=True, tag="UPSERT"):
    """Section 6.3 [documented]. Neither generation's strategy properties are required [assumed]."""

    user_profile: Object
    update_strategy: (
        Annotated[
            Literal["PARTIAL_UPDATE", "PARTIAL_DELETE", "FORCE_REPLACE"],
            Meta(description="has to be PARTIAL_UPDATE, PARTIAL_DELETE or FORCE_REPLACE"),
        ]
        | Absent
    ) = UNSET
    force_replace: Flag | Absent = UNSET
    merge_objects: Flag | Absent = UNSET


class DeleteProfile(_Identified, gc=False, kw_only=True, tag="DELETE"):
    """Section 6.3 [documented]. A strategy asks to delete a part, but the whole profile would be deleted: refused."""

    update_strategy: Annotated[NeverPresent, Meta(description="is for UPSERT only")] | Absent = UNSET
    # They say how to UPSERT: on a DELETE line they are unknown properties.
    force_replace: ClassVar[None] = None
    merge_objects: ClassVar[None] = None


class UpsertedChoice(Struct, gc=False, kw_only=True, rename=_dollar):
    """Section 6.4 [documented][seen]; custom keys are allowed."""

    processing_id: PlatformId
    choice_ts: ChoiceTime
    choice_acceptance_value: Flag | Absent = UNSET


class DeletedChoice(Struct, gc=False, kw_only=True, rename=_dollar):
    """Section 6.4, and question 23 of section 12: DELETE lines name the processing, too [documented]."""

    processing_id: PlatformId
    choice_ts: ChoiceTime | Absent = UNSET


class UpsertChoice(_Identified, gc=False, kw_only=True, tag="UPSERT"):
    """Section 6.4 [documented]."""

    force_replace: Flag
    user_choice: UpsertedChoice


class DeleteChoice(_Identified, gc=False, kw_only=True, tag="DELETE"):
    """Section 6.4 [documented]."""

    user_choice: DeletedChoice
    force_replace: Flag | Absent = UNSET


class _Membership(_Identified, gc=False, kw_only=True):
    # Question 6 of section 12: the documentation asks for the duration on all lines, DELETE lines included.
    expiration_duration: Minutes
    segment_id: PlatformId | Absent = UNSET
    segment_technical_name: Text | Absent = UNSET
    expiration_ts: ExpiryTime | Absent = UNSET
    data_bag: Annotated[JsonText, Meta(description="has to be a string that holds JSON")] | Absent = UNSET


class UpdateSegment(_Membership, gc=False, kw_only=True, tag="UPDATE"):
    """Section 6.2 [documented]: the operation is UPDATE, not UPSERT."""


class DeleteSegment(_Membership, gc=False, kw_only=True, tag="DELETE"):
    """Section 6.2 [documented]."""


# -- Deletions and associations: sections 6.5 to 6.8 [documented] -----------------------------------------------
# The type names the identifier that the line holds; an identifier of another kind would be a second one.


class _Typed(Struct, gc=False, kw_only=True, tag_field="type"):
    pass


OfAnotherKind = Annotated[NeverPresent, Meta(description="")] | Absent


class Account(_Typed, gc=False, kw_only=True, tag="USER_ACCOUNT"):
    """A user account; without ``compartment_id`` it is in the default compartment."""

    user_account_id: Text
    compartment_id: PlatformId | Absent = UNSET
    hash: OfAnotherKind = UNSET
    user_agent_id: OfAnotherKind = UNSET
    user_point_id: OfAnotherKind = UNSET


class Email(_Typed, gc=False, kw_only=True, tag="USER_EMAIL"):
    """A hashed e-mail address."""

    hash: Text
    user_account_id: OfAnotherKind = UNSET
    user_agent_id: OfAnotherKind = UNSET
    user_point_id: OfAnotherKind = UNSET


class EmailWithAddress(Email, gc=False, kw_only=True, tag="USER_EMAIL"):
    """A hashed e-mail address in an association, where the address itself may stand beside its hash."""

    email: AnyText | Absent = UNSET


class Agent(_Typed, gc=False, kw_only=True, tag="USER_AGENT"):
    """A device: ``vec:``, ``net:``, ``udp:`` or another form; forms are not checked (section 5 [assumed])."""

    user_agent_id: Text
    user_account_id: OfAnotherKind = UNSET
    hash: OfAnotherKind = UNSET
    user_point_id: OfAnotherKind = UNSET


class AgentOfIdentifiersDeletion(Agent, gc=False, kw_only=True, tag="USER_AGENT"):
    """Section 6.5: anything but a device point id."""

    user_agent_id: AgentButNoDevicePoint


class Point(_Typed, gc=False, kw_only=True, tag="USER_POINT"):
    """Section 6.8: a whole user point."""

    user_point_id: Uuid
    user_account_id: OfAnotherKind = UNSET
    hash: OfAnotherKind = UNSET
    user_agent_id: OfAnotherKind = UNSET


class Association(Struct, gc=False, kw_only=True):
    """Section 6.6: the one command that holds several identifiers."""

    identifiers: Annotated[list[Account | EmailWithAddress | Agent], Meta(min_length=MIN_ASSOCIATED)]


# -- Activities: section 6.1 [documented][seen] -----------------------------------------------------------------


class EmailHash(Struct, gc=False, kw_only=True, rename=_dollar):
    """``$email_hash`` of an activity (section 5 [documented])."""

    hash: Text
    email: AnyText | Absent = UNSET


class _UserIdentifier(Struct, gc=False, kw_only=True, rename=_dollar, tag_field="$type"):
    pass


class AccountIdentifier(_UserIdentifier, gc=False, kw_only=True, tag="USER_ACCOUNT"):
    """An entry of ``$user_identifiers`` [documented][seen]."""

    user_account_id: Text
    compartment_id: PlatformId | Absent = UNSET
    hash: OfAnotherKind = UNSET
    user_agent_id: OfAnotherKind = UNSET


class EmailIdentifier(_UserIdentifier, gc=False, kw_only=True, tag="USER_EMAIL"):
    """An entry of ``$user_identifiers`` [documented][seen]."""

    hash: Text
    email: AnyText | Absent = UNSET
    user_account_id: OfAnotherKind = UNSET
    user_agent_id: OfAnotherKind = UNSET


class AgentIdentifier(_UserIdentifier, gc=False, kw_only=True, tag="USER_AGENT"):
    """An entry of ``$user_identifiers`` [documented][seen]."""

    user_agent_id: Text
    user_account_id: OfAnotherKind = UNSET
    hash: OfAnotherKind = UNSET


UserIdentifier = AccountIdentifier | EmailIdentifier | AgentIdentifier


class Event(Struct, gc=False, kw_only=True, rename=_dollar):
    """An entry of ``$events`` [documented][seen]."""

    ts: Milliseconds
    event_name: Text
    properties: Object


class Activity(Struct, gc=False, kw_only=True, rename=_dollar):
    """Section 6.1. Activities are customisable: any other key is allowed [seen]."""

    ts: Milliseconds
    type: ActivityType
    session_status: Annotated[
        Literal["NO_SESSION", "IN_SESSION", "CLOSED_SESSION", "SESSION_SNAPSHOT"],
        Meta(description="has to be NO_SESSION, IN_SESSION, CLOSED_SESSION or SESSION_SNAPSHOT"),
    ]
    events: list[Event]
    ttl: Minutes | Absent = UNSET
    user_account_id: Text | Absent = UNSET
    compartment_id: PlatformId | Absent = UNSET
    email_hash: EmailHash | Absent = UNSET
    user_agent_id: Text | Absent = UNSET
    user_identifiers: list[UserIdentifier] | Absent = UNSET
    origin: Object | Absent = UNSET
    location: Object | Absent = UNSET
    unique_key: UuidOrEmpty | Absent = UNSET


class KnownActivity(Activity, gc=False, kw_only=True, rename=_dollar):
    """An activity of a known type, as most files hold: the type is looked up."""

    type: KnownType


class AnyActivity(Activity, gc=False, kw_only=True, rename=_dollar):
    """An activity whose type is still to be judged: a pattern would cost a third of the whole decoding."""

    type: Text


class TypeOfActivity(Struct, gc=False, kw_only=True, rename=_dollar):
    """Nothing of an activity but its type."""

    type: str
