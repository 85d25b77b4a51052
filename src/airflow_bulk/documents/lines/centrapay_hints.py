"""What a good Centrapay record is warned about: what removes, and what the documentation contradicts itself on.

Counted on every good record, not on a sample: ``contacts: []`` takes the contacts of an account away
(centrapay.md section 6.1 [documented]).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import UNSET

from airflow_bulk.documents.lines.centrapay import FarmlandsAccount, Ticket

NO_CONTACTS = "contacts is an empty array: it removes all contacts, and the balance cannot be spent then"
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
        if balance is UNSET:
            yield NO_BALANCE
        elif not isinstance(balance, str):
            yield BARE_NUMBER
        if account.account_number is UNSET:
            yield NO_ACCOUNT_NUMBER
        contacts = account.contacts
        if contacts is UNSET:
            continue
        if not contacts:
            yield NO_CONTACTS
        for contact in contacts:
            if contact.cards is not UNSET and not contact.cards:
                yield NO_CARDS
                break


def ticket_warnings(tickets: Iterable[Ticket]) -> Iterator[str]:
    """Return the kinds of hints on good Ticketek records (section 6.2)."""
    for ticket in tickets:
        if isinstance(ticket.quantity, str):
            yield QUOTED_QUANTITY
