"""The records that a line of a Centrapay batch file can be, as structures.

Sections named here are those of centrapay.md. Its mark [assumed] means that no source
says it: such rules are the constants at the top, easy to change. Where the documentation contradicts itself both
forms are taken, and counted: a good record is warned about what removes, and about such contradictions. That is done on
every good record, not on a sample: ``contacts: []`` takes the contacts of an account away (section 6.1 [documented]).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from airflow_bulk.documents.lines.mediarithmics import Absent, AnyText, Flag, Text

FARMLANDS, TICKETEK, ONBOARD = "farmlands-external-asset", "ticketek-ticket", "business-onboard"

# Section 4 [documented]: a text that holds an integer or decimal of any size; a bare number in 2022 [documented].
BigNumber = (
    Annotated[
        str,
        Meta(
            pattern=r"^-?[0-9]+(\.[0-9]+)?\Z",
            description="has to be a BigNumber: a string that holds a number",
        ),
    ]
    | Annotated[int, Meta()]
    | Annotated[float, Meta()]
)
# Section 6.1 [documented]: a BigNumber of 9 digits; the one known error code is about it.
Barcode = (
    Annotated[str, Meta(pattern=r"^[0-9]{9}\Z", description="has to be a string of 9 digits")]
    | Annotated[int, Meta(ge=100_000_000, le=999_999_999)]
)
# Section 6.1 [documented]: 16 digits, since 2024-08.
CardNumber = Annotated[str, Meta(pattern=r"^[0-9]{16}\Z", description="has to be a string of 16 digits")]
# Section 6.1 [documented]: must start with +64.
Mobile = Annotated[
    str, Meta(pattern=r"^\+64[0-9]+\Z", description="has to be a phone number that starts with +64")
]
# Section 7 [documented]: ISO 8601 in UTC with a Z, usually with milliseconds.
Timestamp = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z\Z",
        description="has to be a time in UTC such as 2030-04-01T00:00:00.000Z",
    ),
]
# Section 6.2: a number in the example, quoted in the prose [documented].
Quantity = Annotated[
    Literal[1, -1, "1", "-1"],
    Meta(description="has to be 1 (a purchase) or -1 (a cancellation)"),
]


class Card(Struct, gc=False, kw_only=True, rename="camel"):
    """Section 6.1 [documented]. Fields may be left out to update only part; what a new card needs is not stated."""

    external_id: Text | Absent = UNSET
    barcode: Barcode | Absent = UNSET
    number: CardNumber | Absent = UNSET
    status: (
        Annotated[
            Literal["active", "inactive", "archived"],
            Meta(description="has to be active, inactive or archived"),
        ]
        | Absent
    ) = UNSET
    expiry: Timestamp | Absent = UNSET
    farmlands_status: AnyText | Absent = UNSET


class Contact(Struct, gc=False, kw_only=True, rename="camel"):
    """Section 6.1 [documented]."""

    external_id: Text
    name: AnyText | Absent = UNSET
    mobile: Mobile | Absent = UNSET
    email: AnyText | Absent = UNSET
    primary: Flag | Absent = UNSET
    cards: list[Card] | Absent = UNSET


class FarmlandsAccount(Struct, gc=False, kw_only=True, rename="camel"):
    """Section 6.1: an upsert by ``externalId``; fields may be left out to update only part [documented]."""

    external_id: Text
    account_number: AnyText | Absent = UNSET
    available_balance: BigNumber | Absent = UNSET
    contacts: list[Contact] | Absent = UNSET


class Ticket(Struct, gc=False, kw_only=True, rename="camel"):
    """Section 6.2 [documented]; that all but ``memberNumber`` are needed is [assumed] from its example."""

    barcode_clear: Text
    quantity: Quantity
    price_type_code: Text
    product_id: Text
    order_id: Text
    price_type_name: Text
    member_number: AnyText | Absent = UNSET


NO_CONTACTS = "contacts is an empty array: it removes all contacts, and the balance cannot be spent then"
NULL_CONTACTS = "contacts is null: it counts as left out here, but the documentation does not say so"
NO_CARDS = "cards is an empty array: it removes all cards of the contact"
NO_BALANCE = (
    "availableBalance is left out: the documentation says that it becomes 0, and that it stays as it is"
)
BARE_NUMBER = "a BigNumber stands there as a bare number: the documentation asks for a string"
NO_ACCOUNT_NUMBER = "accountNumber is left out"
QUOTED_QUANTITY = "quantity is quoted: the documentation quotes it in its prose, and not in its example"


def account_warnings(accounts: Iterable[FarmlandsAccount]) -> Iterator[str]:
    """Return the kinds of hints on good Farmlands records (section 6.1)."""
    for account in accounts:
        balance = account.available_balance
        if balance is UNSET or balance is None:
            yield NO_BALANCE
        elif not isinstance(balance, str):
            yield BARE_NUMBER
        if account.account_number is UNSET or account.account_number is None:
            yield NO_ACCOUNT_NUMBER
        contacts = account.contacts
        if contacts is None:
            yield NULL_CONTACTS
        elif contacts == []:
            yield NO_CONTACTS
        for contact in contacts or ():
            if contact.cards == []:
                yield NO_CARDS
                break


def ticket_warnings(tickets: Iterable[Ticket]) -> Iterator[str]:
    """Return the kinds of hints on good Ticketek records (section 6.2)."""
    for ticket in tickets:
        if isinstance(ticket.quantity, str):
            yield QUOTED_QUANTITY
