"""How a task fails: our errors as Airflow's, and one text each for what is late, is gone or failed too often.

What a retry cannot change fails for good, the rest may be retried. Each text names the object, what happened, what goes
on, what a retry will do and what a person can do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.documents.source.parts import SourceChanged, SourceError
from airflow_bulk.hooks.sending.children import ChildLost
from airflow_bulk.judging import Tolerance, how_many, share_of
from airflow_bulk.platforms.errors import LASTING, NotFound, PlatformError, WrongPort
from airflow_bulk.runs.reconcile import StaysUnclear
from airflow_bulk.runs.record import ClearUnclear, RecordLost

#: The same at every try: retries would only repeat them.
FOR_GOOD = (ArgumentError, SourceChanged, *LASTING, ClearUnclear, StaysUnclear, WrongPort)
RETRIED = (SourceError, PlatformError, RecordLost, ChildLost, ValueError)
#: After the deadline of a task's own work.
LOOKS_AGAIN = (
    "The record is kept: a retry looks once more, and clearing the task goes on with a new deadline."
)
#: After a sensor's timeout.
WAITS_ANEW = "Airflow does not retry a sensor that timed out; clearing the task waits anew; a longer timeout waits longer."
#: Kinds of messages that a text names.
KINDS_NAMED = 3


class TryFailed(AirflowException):
    """The try failed, and a retry may go better. Raised without the layers below, which Airflow would log.

    :param error: what failed; a retry policy decides from it (:mod:`airflow_bulk.retrying`).
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class DeadlinePassed(AirflowException):
    """The work's own deadline passed; the record is kept."""


class TaskStopped(Exception):
    """Raised in ``on_kill``: the simplest way to make ``execute`` end (airflow.md section 3.2)."""


@contextmanager
def as_airflow_errors() -> Iterator[None]:
    """Raise our errors as Airflow's, with their message and without the layers below."""
    try:
        yield
    except FOR_GOOD as error:
        raise AirflowFailException(str(error)) from None
    except RETRIED as error:
        raise TryFailed(error) from None


def say_late(
    thing: str, timeout: float, since: str, now: str, *, seen: str = "", then: str = LOOKS_AGAIN
) -> str:
    """Say that the deadline passed.

    :param thing: what was waited for, with its id.
    :param timeout: seconds.
    :param since: since when they count: ``its submission``, ``the first poll``.
    :param now: what goes on, what was cancelled.
    :param seen: how it was last seen.
    :param then: what a retry and a clear will do.
    """
    late = f"{thing} was not over {timeout:g} s after {since}{f' ({seen})' if seen else ''}."
    return " ".join(part for part in (late, now, then) if part)


def gone(thing: str, then: str) -> NotFound:
    """Say that the platform does not know any more what it has given an id.

    :param thing: what was asked for, with its id.
    :param then: what a retry and a clear will do.
    """
    return NotFound(f"find {thing}", "the platform does not know it any more", retry=then, status=404)


def say_kinds(messages: Iterable[str]) -> str:
    """Name the first kinds of what a platform said, after a blank; empty where it said nothing.

    :param messages: reduced to their kinds, so that they hold no line's content.
    """
    kinds = sorted({one for one in messages if one})[:KINDS_NAMED]
    return f" Kinds: {'; '.join(kinds)}." if kinds else ""


def say_too_many(
    thing: str,
    failed: int,
    counted: int,
    tolerance: Tolerance,
    *,
    noun: str = "line",
    parts: str = "",
    kinds: Iterable[str] = (),
    more: str = "",
) -> str:
    """Say that more failed than ``max_failures`` allows; empty where it does not.

    :param thing: what was judged, with its id.
    :param failed: how many failed.
    :param counted: of how many.
    :param noun: what was counted, in the singular.
    :param parts: what ``failed`` is made of.
    :param kinds: messages of the platform, as for :func:`say_kinds`.
    :param more: further sentences, such as what stays on the platform.
    """
    if tolerance.allows(failed, counted):
        return ""
    share = share_of(failed, counted) + (f": {parts}" if parts else "")
    return (
        f"{thing}: {failed} of {how_many(counted, noun)} failed ({share}), more than max_failures={tolerance}."
        f"{say_kinds(kinds)}{f' {more}' if more else ''} A retry cannot change that; clearing the task judges "
        "again, by the max_failures of that time."
    )
