"""How many objects an apply may delete at its destination: ``"off"``, a share, a number, or all.

The server deletes whatever has no counterpart (extract_load.md section 2.3). Here deletions are off unless the DAG asks
for them, and they are refused where a record may lack its counterpart for another reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class DeletionLimit:
    """The most that one apply may delete.

    :param text: the option as written.
    :param count: an absolute limit; ``None`` if there is none.
    :param share: a limit as share of the destination objects in scope; ``None`` if there is none.
    """

    text: str
    count: int | None = None
    share: Fraction | None = None

    @property
    def off(self) -> bool:
        """Whether nothing is ever deleted."""
        return self.count == 0 or self.share == 0

    def allows(self, deletions: int, existing: int) -> bool:
        """Return whether so many *deletions*, of *existing* objects in scope, are within the limit."""
        if self.count is not None and deletions > self.count:
            return False
        return self.share is None or deletions <= self.share * existing


def read_deletions(value: object) -> DeletionLimit:
    """Read the ``deletions`` option: ``"off"``, ``"10%"``, ``25`` or ``"all"``.

    :raises ValueError: for anything else, so that a typing mistake never deletes.
    """
    if value == "off" or value is False:  # YAML reads a bare off as false
        return DeletionLimit("off", count=0)
    if value == "all":
        return DeletionLimit("all")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return DeletionLimit(str(value), count=value)
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return DeletionLimit(text, count=int(text))
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text, re.ASCII)
        if match and Fraction(match[1]) <= 100:
            return DeletionLimit(text, share=Fraction(match[1]) / 100)
    raise ValueError(
        f'deletions={value!r}: write "off", a share such as "10%", a number such as 25, or "all"'
    )


@dataclass(frozen=True, slots=True)
class Feed:
    """What is known about an extract that feeds a load.

    :param node: its logical name.
    :param records: how many records it has.
    :param bounded: it was limited by ``since`` or ``updated_since``.
    :param rests_on: what shows that its reading is complete; ``None`` if nothing does.
    """

    node: str
    records: int
    bounded: bool
    rests_on: str | None


class TooManyDeletions(ValueError):
    """An apply would delete more than it may. Nothing was written; a retry would find the same records."""


def refusal(limit: DeletionLimit, feeds: Sequence[Feed], unrequired: Sequence[str]) -> str | None:
    """Return why no orphan may be deleted, whatever their number; ``None`` if orphans may be deleted.

    :param unrequired: extracts of the batch that feed the load but that it does not require.
    """
    if limit.off:
        return "deletions are off"
    if unrequired:
        return f"{', '.join(unrequired)} feeds this load but is not required by it"
    if not feeds:
        return "no extract feeds this load"
    if bounded := [feed.node for feed in feeds if feed.bounded]:
        return f"{', '.join(bounded)} was limited by since or updated_since, so absence proves nothing"
    if empty := [feed.node for feed in feeds if not feed.records]:
        return f"{', '.join(empty)} brought no record at all"
    if unproven := [feed.node for feed in feeds if feed.rests_on is None]:
        return (
            f"nothing shows that the reading of {', '.join(unproven)} is complete, so absence proves nothing"
        )
    return None


def check_limit(load: str, limit: DeletionLimit, orphans: int, existing: int) -> None:
    """Refuse the whole apply, before its first write, if it would delete more than the limit.

    :raises TooManyDeletions: with the numbers.
    """
    if not limit.allows(orphans, existing):
        raise TooManyDeletions(
            f"load {load}: {orphans} of {existing} records at the destination have no counterpart any more, but"
            f" deletions={limit.text}. Nothing was written, and a retry would find the same. If the source was wrong, clear its extract with all that is"
            " downstream of it; if these shall go, raise the limit and clear this task."
        )
