"""What a task says when remote work is late, is gone, or has too many failures: one text each, for every platform.

Each text names the object, what happened, what goes on, what a retry will do and what a person can do.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow_bulk.judging import Tolerance, share_of
from airflow_bulk.platforms.errors import NotFound

#: After the deadline of a task's own work.
LOOKS_AGAIN = (
    "The record is kept: a retry looks once more, and clearing the task goes on with a new deadline."
)
#: After a sensor's timeout.
WAITS_ANEW = "Airflow does not retry a sensor that timed out; clearing the task waits anew."
#: Kinds of messages that a text names.
KINDS = 3


def late(thing: str, timeout: float, since: str, now: str, *, seen: str = "", then: str = LOOKS_AGAIN) -> str:
    """Say that the deadline passed.

    :param thing: what was waited for, with its id.
    :param timeout: seconds.
    :param since: since when they count: ``its submission``, ``the first look``.
    :param now: what goes on, what was cancelled.
    :param seen: how it was last seen.
    :param then: what a retry and a clear will do.
    """
    return f"{thing} was not over {timeout:g} s after {since}{f' ({seen})' if seen else ''}. {now} {then}"


def gone(thing: str, then: str) -> NotFound:
    """Say that the platform does not know any more what it has given an id.

    :param thing: what was asked for, with its id.
    :param then: what a retry and a clear will do.
    """
    return NotFound(f"find {thing}", "the platform does not know it any more", retry=then, status=404)


def named_kinds(messages: Iterable[str]) -> str:
    """Name the first kinds of what a platform said, after a blank; empty where it said nothing.

    :param messages: reduced to their kinds, so that they hold no line's content.
    """
    kinds = sorted({one for one in messages if one})[:KINDS]
    return f" Kinds: {'; '.join(kinds)}." if kinds else ""


def too_many_failures(
    thing: str,
    failed: int,
    counted: int,
    tolerance: Tolerance,
    *,
    noun: str = "lines",
    parts: str = "",
    kinds: Iterable[str] = (),
    more: str = "",
) -> str:
    """Say that more failed than ``max_failures`` allows; empty where it does not.

    :param thing: what was judged, with its id.
    :param failed: how many failed.
    :param counted: of how many.
    :param noun: what was counted.
    :param parts: what ``failed`` is made of.
    :param kinds: messages of the platform, as for :func:`named_kinds`.
    :param more: further sentences, such as what stays on the platform.
    """
    if tolerance.allows(failed, counted):
        return ""
    share = share_of(failed, counted) + (f": {parts}" if parts else "")
    return (
        f"{thing}: {failed} of {counted} {noun} failed ({share}), more than max_failures={tolerance}."
        f"{named_kinds(kinds)}{f' {more}' if more else ''} A retry cannot change that; clearing the task judges "
        "again, by the max_failures of that time."
    )
