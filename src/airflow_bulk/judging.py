"""Judge executions: from what was last seen of them, and the time, follows whether to wait, or how they have ended.

No I/O happens here. The operator's loop, the sensor and the trigger all call this module, for every platform, so that
they always agree on what is over and how many failures are tolerated.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

#: The fewest seconds between two polls: the interval of the console itself (mediarithmics.md section 4.2).
SHORTEST_INTERVAL = 5.0
#: Seconds after which the log repeats what is being waited for, although nothing has changed.
TELL_EVERY = 600.0
#: How many ids a message names; the others are counted.
NAMED = 10


class Tolerance(msgspec.Struct, frozen=True):
    """How many bad lines are tolerated: a count, or a share of the lines read.

    :param count: at most this many; None when it is a share.
    :param share: at most this share, 0 to 1; None when it is a count.
    """

    count: int | None = None
    share: str | None = None

    @classmethod
    def parse(cls, max_failures: int | str) -> Tolerance:
        """Read ``max_failures``: ``0``, ``250``, ``"250"`` or ``"0.1%"``.

        :raises ValueError: anything else, None included: to have no limit, write ``"100%"``. Who calls names the argument.
        """
        if isinstance(max_failures, int) and not isinstance(max_failures, bool) and max_failures >= 0:
            return cls(count=max_failures)
        if isinstance(max_failures, str):
            text = max_failures.strip()
            if re.fullmatch(r"\d{1,18}", text):
                return cls(count=int(text))
            if text.endswith("%"):
                try:
                    share = Decimal(text[:-1].strip()) / 100
                except InvalidOperation:
                    share = Decimal(-1)
                if share.is_finite() and 0 <= share <= 1:
                    return cls(share=str(share))
        raise ValueError(
            f"must be a count (0, 250) or a share of the lines read ('0.1%'), not {max_failures!r}; "
            "to accept any number of failures say '100%'"
        )

    def allows(self, bad: int, read: int) -> bool:
        """Whether so many bad lines, of so many lines read, are tolerated.

        Where a platform counts errors but no records, all records have failed.
        """
        if self.count is not None:
            return bad <= self.count
        share = Decimal(self.share or 0)
        if share == 1:
            return True
        return bad == 0 if read <= 0 else Decimal(bad) <= share * read

    def __str__(self) -> str:
        if self.count is not None:
            return str(self.count)
        return f"{(Decimal(self.share or 0) * 100).normalize():f}%"


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums over executions. Lines are counted by the platform.

    :param executions: how many executions there are of each state.
    :param uncounted: how many succeeded without any count of their lines, so that they cannot be judged.
    """

    executions: dict[str, int] = {}
    accepted: int = 0
    failed: int = 0
    uncounted: int = 0

    @property
    def total(self) -> int:
        """How many executions there are."""
        return sum(self.executions.values())

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.executions.items()))
        return (
            f"{states or 'no executions'}; {how_many(self.accepted, 'line')} accepted, {self.failed} failed"
        )


@dataclass(frozen=True, slots=True)
class WaitingRules:
    """The rules of the waiting.

    :param started: when the work was submitted, or the waiting began, in seconds since 1970.
    :param deadline: when the waiting ends at the latest, in seconds since 1970; None for never.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param expected: how many executions must exist before the wait can end.
    :param quiet_for: seconds that must pass without a new execution before the wait can end (for imports into which
        others upload).
    """

    started: float
    deadline: float | None = None
    poll_interval: float = 30.0
    expected: int = 1
    quiet_for: float = 0.0


@dataclass(frozen=True)
class KeepWaiting:
    """Wait, and poll again in so many seconds.

    :param seconds: seconds until the next poll.
    :param why: what is being waited for, in words.
    :param unknown: statuses that are not documented: the log warns once, and the task waits (mediarithmics.md
        section 4.2).
    :param until: before this time, in seconds since 1970, the verdict on the same executions stays to wait.
    """

    seconds: float
    totals: Totals
    why: str
    unknown: tuple[str, ...] = ()
    until: float = math.inf


@dataclass(frozen=True)
class Finished:
    """All executions are over, and none failed as a whole; single lines may have failed."""

    totals: Totals
    canceled: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedBecause:
    """All executions are over, and at least one failed as a whole."""

    totals: Totals
    reason: str


@dataclass(frozen=True)
class PastDeadline:
    """The deadline has passed, and executions are not over.

    :param pending: ids of the executions that can be cancelled.
    :param going: ids of the executions that cannot be cancelled.
    """

    totals: Totals
    pending: tuple[str, ...]
    going: tuple[str, ...]


Verdict = KeepWaiting | Finished | FailedBecause | PastDeadline


def add_up(seen: Sequence[RemoteSnapshot]) -> Totals:
    """Add up the platform's counts."""
    executions: dict[str, int] = {}
    accepted = failed = uncounted = 0
    for one in seen:
        state = one.remote_status.value
        executions[state] = executions.get(state, 0) + 1
        accepted += one.accepted or 0
        failed += one.failed or 0
        uncounted += (
            one.remote_status is RemoteStatus.SUCCEEDED and one.accepted is None and one.failed is None
        )
    return Totals(executions=executions, accepted=accepted, failed=failed, uncounted=uncounted)


def counting(
    seen: Sequence[RemoteSnapshot], ids: Collection[str] | None = None, *, without_canceled: bool = False
) -> list[RemoteSnapshot]:
    """Return the executions that count for one waiter, in the order given.

    :param ids: only the executions with these ids count; None for all.
    :param without_canceled: cancelled executions, which took no line, do not count, unless there is no other one.
        Executions that ``ids`` names always count.
    """
    if ids is not None:
        wanted = set(ids)
        return [one for one in seen if one.id in wanted]
    left = [one for one in seen if one.remote_status is not RemoteStatus.CANCELED] if without_canceled else []
    return left or list(seen)


def judge(seen: Sequence[RemoteSnapshot], rules: WaitingRules, now: float) -> Verdict:
    """Judge the executions as last seen.

    The verdict is to wait while one execution is going, so that a failure is reported together with all the other ends.
    A CANCELED execution took no line: the caller decides whether to send its part again.

    :param seen: the executions that count; the caller leaves out others.
    :param now: seconds since 1970.
    """
    totals = add_up(seen)
    going = [one for one in seen if not one.remote_status.over]
    waiting_for = _missing(seen, going, rules, now)
    if not waiting_for:
        failed = [one for one in seen if one.remote_status is RemoteStatus.FAILED]
        if failed:
            return FailedBecause(totals, _failures(failed))
        return Finished(totals, tuple(one.id for one in seen if one.remote_status is RemoteStatus.CANCELED))
    if rules.deadline is not None and now >= rules.deadline:
        return past_deadline(seen)
    deadline = math.inf if rules.deadline is None else rules.deadline
    quiet = quiet_from(seen, rules)
    until = min(deadline, quiet) if quiet > now else deadline
    return KeepWaiting(next_poll(rules, now), totals, waiting_for, unknown_statuses(going), until)


def past_deadline(seen: Sequence[RemoteSnapshot]) -> PastDeadline:
    """Return the verdict after the deadline.

    :param seen: the executions that count, as last seen.
    """
    going = [one for one in seen if not one.remote_status.over]
    pending = tuple(one.id for one in going if one.remote_status is RemoteStatus.PENDING)
    return PastDeadline(add_up(seen), pending, tuple(one.id for one in going if one.id not in pending))


def _missing(
    seen: Sequence[RemoteSnapshot], going: Sequence[RemoteSnapshot], rules: WaitingRules, now: float
) -> str:
    """Return what is still being waited for, in words; empty when there is nothing to wait for."""
    if going:
        return f"{len(going)} of {how_many(len(seen), 'execution')} {'is' if len(going) == 1 else 'are'} not over"
    if len(seen) < rules.expected:
        there = "is" if len(seen) == 1 else "are"
        return f"{len(seen)} of at least {how_many(rules.expected, 'execution')} {there} there"
    if now < quiet_from(seen, rules):
        return f"no new execution must come for {rules.quiet_for:g} s"
    return ""


def quiet_from(seen: Sequence[RemoteSnapshot], rules: WaitingRules) -> float:
    """When no new execution will have come for long enough, in seconds since 1970, if none comes."""
    if not rules.quiet_for:
        return -math.inf
    # An execution without a date may be as new as the wait. Without executions, the quiet begins with the wait.
    created = (rules.started if one.created is None else one.created for one in seen)
    return max(created, default=rules.started) + rules.quiet_for


def unknown_statuses(seen: Iterable[RemoteSnapshot]) -> tuple[str, ...]:
    """The statuses of those that are not over which are not documented."""
    return tuple(sorted({one.status for one in seen if one.unknown and not one.remote_status.over}))


def next_poll(rules: WaitingRules, now: float) -> float:
    """Return the seconds until the next poll: few at first, more as the work gets older, never past the deadline.

    It is a tenth of the work's age, between :data:`SHORTEST_INTERVAL` and ``poll_interval``. The caller adds jitter.
    """
    age = max(0.0, now - rules.started)
    # Never 0: polling without a pause would only use up the processor.
    seconds = max(0.05, min(rules.poll_interval, max(SHORTEST_INTERVAL, age / 10)))
    return seconds if rules.deadline is None else min(seconds, max(0.0, rules.deadline - now))


def _failures(failed: Sequence[RemoteSnapshot]) -> str:
    kinds = Counter(one.message for one in failed if one.message)
    told = "; ".join(f"{how_many(count, 'time')}: {kind}" for kind, count in kinds.most_common(3))
    statuses = ", ".join(sorted({one.status for one in failed}))
    return (
        f"{how_many(len(failed), 'execution')} ended as {statuses}: {name_ids([one.id for one in failed])}"
        + (f" ({told})" if told else "")
    )


def name_ids(ids: Sequence[str]) -> str:
    """Return a few ids and the number of the others, for messages."""
    named = ", ".join(ids[:NAMED])
    return named if len(ids) <= NAMED else f"{named} and {len(ids) - NAMED} more"


def how_many(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, for messages: ``1 line``, ``2 lines``, ``0 lines``.

    :param plural: where it is not the noun and an s.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def id_order(identifier: str) -> tuple[int, str]:
    """Return the sort key of an id: ids are decimal texts that increase (mediarithmics.md section 1.7)."""
    return len(identifier), identifier


def share_of(bad: int, read: int) -> str:
    """Return ``bad`` of ``read`` in percent, for messages."""
    return f"{100 * bad / read:.3g}%" if read else ("100%" if bad else "0%")


def estimate_seconds(done: int, total: int, elapsed: float) -> float:
    """Return the seconds left at the pace so far; infinite before there is a pace."""
    return math.inf if done <= 0 or elapsed <= 0 else (total - done) * elapsed / done


def warn_of_unknown(log: Any, statuses: Collection[str], warned: set[str]) -> None:
    """Warn once about each status that is not documented.

    :param warned: those that were warned about; it grows.
    """
    for status in sorted(set(statuses) - warned):
        log.warning("The platform reports a status that is not documented: %r. Waiting on.", status[:40])
    warned.update(statuses)


class Crowd(NamedTuple):
    """Several tasks that wait for the same thing.

    :param waiting: how many they are.
    :param spread: seconds over which their first lines are spread.
    """

    waiting: int
    spread: float = 0.0


class WaitingProgress:
    """Logs what is being waited for: a line a change, and one now and then that says it still waits.

    Where many wait for the same thing, whoever watches the thing tells each change, once for all of them: then this is only
    the line now and then.

    :param log: the task's or the trigger's logger.
    """

    __slots__ = ("_last", "_log", "_logged_at", "_unknown")

    def __init__(self, log: Any) -> None:
        self._log = log
        self._last: Totals | None = None
        self._logged_at = -math.inf
        self._unknown: set[str] | None = None

    def tell(self, totals: Totals, why: str, unknown: Sequence[str], crowd: Crowd | None = None) -> None:
        """Log the totals; warn once about each status that is not documented.

        :param crowd: who else waits for the same thing; None where nobody does.
        """
        now = time.monotonic()
        if crowd is not None:
            if self._last is None and self._logged_at == -math.inf:
                self._logged_at = now - TELL_EVERY + random.uniform(0.0, crowd.spread)  # noqa: S311  (not a secret)
            if now < self.again_at:
                return
        if unknown:
            self._unknown = self._unknown or set()
            warn_of_unknown(self._log, unknown, self._unknown)
        if totals != self._last or now >= self.again_at:
            self._last, self._logged_at = totals, now
            if crowd is None:
                self._log.info("Waiting: %s. %s.", why, totals)
            else:
                self._log.info(
                    "Waiting: %s. %s. %d tasks wait for the same: the triggerer's log has each change, this one a line in"
                    " %.0f minutes.",
                    why,
                    totals,
                    crowd.waiting,
                    TELL_EVERY / 60,
                )

    @property
    def again_at(self) -> float:
        """When a line is due although nothing has changed, by the monotonic clock."""
        return self._logged_at + TELL_EVERY
