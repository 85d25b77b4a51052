"""Executions as last seen and the clock -> keep waiting until when | finished | failed because | deadline passed.

Pure. The operator's loop, the sensor and the trigger all ask here, for every platform, so that no two
of them can disagree about what is over and what is good enough.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

#: Below this many seconds nobody should poll (mediarithmics.md section 4.2: the console's own pace).
SHORTEST_INTERVAL = 5.0
#: Seconds after which an unchanged waiting is told again.
TELL_EVERY = 60.0
#: How many ids a message names before it counts the rest.
NAMED = 10


class Tolerance(msgspec.Struct, frozen=True):
    """How many bad lines are still good enough: a count, or a share of the lines read.

    :param count: at most this many; None when it is a share.
    :param share: at most this share, 0 to 1; None when it is a count.
    """

    count: int | None = None
    share: str | None = None

    @classmethod
    def parse(cls, max_failures: int | str) -> Tolerance:
        """Read ``max_failures``: ``0``, ``250``, ``"250"`` or ``"0.1%"``.

        :raises ValueError: anything else; None too, since "no limit" must be said: ``"100%"``.
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
            f"max_failures must be a count (0, 250) or a share of the lines read ('0.1%'), "
            f"not {max_failures!r}. To accept any number of failures say '100%'."
        )

    def allows(self, bad: int, read: int) -> bool:
        """Whether so many bad lines of so many are good enough.

        Bad lines of none read (a platform that counts errors without records) are all failed.
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
    """What the executions looked at add up to. Lines are the platform's own counts.

    :param executions: how many were looked at, by standing.
    :param uncounted: how many succeeded without any count of their lines: nobody can say how good they are.
    """

    executions: dict[str, int] = {}
    accepted: int = 0
    failed: int = 0
    uncounted: int = 0

    @property
    def total(self) -> int:
        """How many executions were looked at."""
        return sum(self.executions.values())

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.executions.items()))
        return f"{states or 'no executions'}; {self.accepted} lines accepted, {self.failed} failed"


@dataclass(frozen=True)
class WaitingRules:
    """What the waiting obeys.

    :param started: seconds since 1970 when the work was submitted, or the waiting began.
    :param deadline: seconds since 1970 after which waiting ends; None for never.
    :param poll_interval: seconds between two looks once the work has aged.
    :param expected: executions that must be there before anything is over.
    :param quiet_for: seconds without a new execution before all are there (for imports that others feed).
    """

    started: float
    deadline: float | None = None
    poll_interval: float = 30.0
    expected: int = 1
    quiet_for: float = 0.0


@dataclass(frozen=True)
class KeepWaiting:
    """Look again in so many seconds.

    :param seconds: until the next look.
    :param why: what is being waited for.
    :param unknown: statuses nobody knows; warn once, keep waiting (mediarithmics.md section 4.2).
    """

    seconds: float
    totals: Totals
    why: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """Everything is over and nothing failed as a whole; lines may have."""

    totals: Totals
    canceled: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedBecause:
    """Everything is over, and some work failed as a whole."""

    totals: Totals
    reason: str


@dataclass(frozen=True)
class PastDeadline:
    """The deadline came first.

    :param pending: ids that can still be cancelled.
    :param going: ids that cannot.
    """

    totals: Totals
    pending: tuple[str, ...]
    going: tuple[str, ...]


Verdict = KeepWaiting | Finished | FailedBecause | PastDeadline


def add_up(seen: Sequence[RemoteSnapshot]) -> Totals:
    """Add up what the platform counted."""
    return Totals(
        executions=dict(Counter(str(one.remote_status) for one in seen)),
        accepted=sum(one.accepted or 0 for one in seen),
        failed=sum(one.failed or 0 for one in seen),
        uncounted=sum(
            one.remote_status is RemoteStatus.SUCCEEDED and one.accepted is None and one.failed is None
            for one in seen
        ),
    )


def counting(
    seen: Sequence[RemoteSnapshot], ids: Collection[str] | None = None, *, without_canceled: bool = False
) -> list[RemoteSnapshot]:
    """Return the executions that count for one waiter, in the order given.

    :param ids: only these; None for all.
    :param without_canceled: leave cancelled ones out, which took no line, unless nothing else is there.
        Never those named by ``ids``.
    """
    if ids is not None:
        wanted = set(ids)
        return [one for one in seen if one.id in wanted]
    left = [one for one in seen if one.remote_status is not RemoteStatus.CANCELED] if without_canceled else []
    return left or list(seen)


def judge(seen: Sequence[RemoteSnapshot], rules: WaitingRules, now: float) -> Verdict:
    """Say what the executions as last seen mean at this moment.

    Nothing is over while one execution is going, so that a failure is told with everything else that
    happened. CANCELED took no line: the caller decides whether to send it again.

    :param seen: the executions that count; whoever calls leaves others out.
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
        pending = tuple(one.id for one in going if one.remote_status is RemoteStatus.PENDING)
        return PastDeadline(totals, pending, tuple(one.id for one in going if one.id not in pending))
    seconds = next_look(rules, now)
    unknown = tuple(sorted({one.status for one in going if one.unknown}))
    return KeepWaiting(seconds, totals, waiting_for, unknown)


def _missing(
    seen: Sequence[RemoteSnapshot], going: Sequence[RemoteSnapshot], rules: WaitingRules, now: float
) -> str:
    """What is still being waited for, in words; empty when nothing is."""
    if going:
        return f"{len(going)} of {len(seen)} executions are not over"
    if len(seen) < rules.expected:
        return f"{len(seen)} of at least {rules.expected} executions are there"
    if rules.quiet_for:
        # One without a date may be as new as the waiting itself; without any, the quiet begins with it.
        newest = max(
            (rules.started if one.created is None else one.created for one in seen), default=rules.started
        )
        if now < newest + rules.quiet_for:
            return f"no new execution must come for {rules.quiet_for:g} s"
    return ""


def next_look(rules: WaitingRules, now: float) -> float:
    """Seconds until the next look: short at first, longer with age, never past the deadline.

    A tenth of the age, between :data:`SHORTEST_INTERVAL` and ``poll_interval``. Jitter is the caller's.
    """
    age = max(0.0, now - rules.started)
    # Never at once: an interval of 0 would only burn a processor.
    seconds = max(0.05, min(rules.poll_interval, max(SHORTEST_INTERVAL, age / 10)))
    return seconds if rules.deadline is None else min(seconds, max(0.0, rules.deadline - now))


def _failures(failed: Sequence[RemoteSnapshot]) -> str:
    kinds = Counter(one.message for one in failed if one.message)
    told = "; ".join(f"{count} times: {kind}" for kind, count in kinds.most_common(3))
    statuses = ", ".join(sorted({one.status for one in failed}))
    return f"{len(failed)} executions ended as {statuses}: {name_ids([one.id for one in failed])}" + (
        f" ({told})" if told else ""
    )


def name_ids(ids: Sequence[str]) -> str:
    """Name a few ids and count the rest."""
    named = ", ".join(ids[:NAMED])
    return named if len(ids) <= NAMED else f"{named} and {len(ids) - NAMED} more"


def id_order(identifier: str) -> tuple[int, str]:
    """Sort key of a platform's ids: decimal texts that increase (mediarithmics.md section 1.7)."""
    return len(identifier), identifier


def share_of(bad: int, read: int) -> str:
    """``bad`` of ``read`` in percent, for messages."""
    return f"{100 * bad / read:.3g}%" if read else ("100%" if bad else "0%")


def estimate_seconds(done: int, total: int, elapsed: float) -> float:
    """Seconds left at the pace so far; infinite before there is a pace."""
    return math.inf if done <= 0 or elapsed <= 0 else (total - done) * elapsed / done


class WaitingProgress:
    """Tells a log what is being waited for: when it has changed, or every minute.

    :param log: the task's or the trigger's logger.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._last: Totals | None = None
        self._told = -math.inf
        self._unknown: set[str] = set()

    def tell(self, totals: Totals, why: str, unknown: Sequence[str]) -> None:
        """Log the totals; warn once about each status nobody knows."""
        for status in sorted(set(unknown) - self._unknown):
            self._log.warning(
                "The platform reports a status that is not documented: %r. Waiting on.", status[:40]
            )
        self._unknown.update(unknown)
        now = time.monotonic()
        if totals != self._last or now - self._told >= TELL_EVERY:
            self._last, self._told = totals, now
            self._log.info("Waiting: %s. %s.", why, totals)
