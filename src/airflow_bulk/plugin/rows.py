"""One row of the page: a task's XCom values and Airflow's own state of it, as what a person reads. Pure.

A value of XCom may be anything: another version of this package may have written it, or a person. What is not a number is
not shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_bulk.judging import estimate_seconds
from airflow_bulk.platforms.status import RemoteStatus

#: Airflow's states in groups that a person looks for: a name in URLs -> the states.
STATE_GROUPS: dict[str, frozenset[str]] = {
    "running": frozenset(
        {"running", "deferred", "queued", "scheduled", "restarting", "up_for_retry", "up_for_reschedule"}
    ),
    "success": frozenset({"success"}),
    "failed": frozenset({"failed", "upstream_failed"}),
}
#: Airflow's states in which a task is over.
OVER = ("success", "skipped", "failed", "upstream_failed", "removed")
KINDS = {
    "upload": "import",
    "batch_run": "batch run",
    "centrapay_batch": "Centrapay batch",
    "delegated_batch": "extract/load batch",
    "group": "extract/load group",
    "apply": "extract/load apply",
}
#: Larger numbers are nobody's; it is also larger than every time in seconds since 1970.
LARGEST_NUMBER = 10**15
#: The platforms' states of executions that are over, as a state now counts them.
OVER_EXECUTIONS = frozenset(str(state) for state in RemoteStatus if state.over)


def number(value: Any) -> float | None:
    """A number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
        return None
    return value


def count(value: Any) -> int | None:
    """A count, or None for anything else."""
    found = number(value)
    return None if found is None or found < 0 else int(found)


def text(value: Any, longest: int = 500) -> str:
    """A text, shortened; empty for anything else."""
    return value[:longest] if isinstance(value, str) else ""


def link(value: Any) -> str:
    """A link to a web page; empty for anything else, so that no other scheme becomes a link."""
    found = text(value, 2_000)
    return found if found.startswith(("https://", "http://")) else ""


@dataclass(frozen=True)
class Sum:
    """Everything is accounted for: read = rejected + accepted + failed."""

    read: int | None = None
    rejected: int = 0
    accepted: int | None = None
    failed: int | None = None

    @property
    def known(self) -> bool:
        """Whether all four are known."""
        return None not in (self.read, self.accepted, self.failed)

    @property
    def left(self) -> int:
        """How many lines are missing (positive) or too many (negative); 0 where the sum closes or is not known."""
        if self.read is None or self.accepted is None or self.failed is None:
            return 0
        return self.read - self.rejected - self.accepted - self.failed


@dataclass(frozen=True)
class WorkRow:
    """What the list shows of one task instance.

    :param done: 0 to 1, how far it is; None where nobody can say.
    :param seconds: how long it took, or takes until now.
    :param left: estimated seconds until it is over; None where there is no pace.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    try_number: int
    kind: str
    name: str
    id: str = ""
    noun: str = ""
    phase: str = ""
    started: datetime | None = None
    seconds: float | None = None
    sum: Sum = field(default_factory=Sum)
    parts: int | None = None
    parts_sent: int | None = None
    bytes: int | None = None
    executions: Mapping[str, int] = field(default_factory=dict)
    done: float | None = None
    left: float | None = None
    rate: float | None = None
    why: str = ""
    reason: str = ""
    console_url: str = ""
    rejects_uri: str = ""
    results_uri: str = ""
    errors_uri: str = ""
    seen_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        """Whether it may still change."""
        return self.state in STATE_GROUPS["running"] or not self.state

    @property
    def open_by(self) -> int:
        """By how many lines the sum of what is over does not close; while it runs, lines may still be counted."""
        return 0 if self.is_live else self.sum.left

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or self.id or self.task_id


def moment(seconds: Any) -> datetime | None:
    """A time from seconds since 1970."""
    found = number(seconds)
    try:
        return None if found is None else datetime.fromtimestamp(found, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def read_row(ti: Mapping[str, Any], row: Any, state_now: Any, now: float) -> WorkRow:
    """Put together what is known of a task instance.

    :param ti: its ``dag_id``, ``run_id``, ``task_id``, ``map_index``, ``state``, ``try_number``, ``start_date`` and ``end_date``.
    :param row: the row as stored.
    :param state_now: the state now as stored; None where there is none.
    :param now: seconds since 1970.
    """
    row = row if isinstance(row, Mapping) else {}
    live = ti["state"] in STATE_GROUPS["running"] or not ti["state"]
    seen = state_now if isinstance(state_now, Mapping) else {}
    if not live or (number(seen.get("at")) or 0) < (number(row.get("at")) or 0):
        seen = {}  # from before the last step
    executions = (
        {
            text(state, 40): found
            for state, each in (seen.get("executions") or {}).items()
            if (found := count(each)) is not None
        }
        if isinstance(seen.get("executions"), Mapping)
        else {}
    )
    accepted = count(row.get("lines_accepted")) if row.get("phase") == "over" else count(seen.get("accepted"))
    failed = count(row.get("lines_failed")) if row.get("phase") == "over" else count(seen.get("failed"))
    started, parts = moment(row.get("started")), count(row.get("parts"))
    over = sum(each for state, each in executions.items() if state in OVER_EXECUTIONS)
    done, left = _progress(row, seen, parts, over, sum(executions.values()), now)
    seconds = number(row.get("seconds"))
    if seconds is None and started is not None:
        end = now if live else (ti["end_date"] or started).timestamp()
        seconds = max(0.0, end - started.timestamp())
    lines, size = count(row.get("lines_read")), count(row.get("bytes"))
    return WorkRow(
        **{name: ti[name] for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")},
        state=ti["state"] or "",
        kind=KINDS.get(text(row.get("kind")), "bulk work"),
        name=text(row.get("name")),
        id=text(str(row.get("id") or "")),
        noun=text(row.get("noun")),
        phase=text(seen.get("phase")) or text(row.get("phase")),
        started=started or ti["start_date"],
        seconds=seconds,
        sum=Sum(lines, count(row.get("lines_rejected")) or 0, accepted, failed),
        parts=parts,
        parts_sent=count(seen.get("parts_sent")),
        bytes=size,
        executions=executions,
        done=1.0 if row.get("phase") == "over" or (not live and ti["state"] == "success") else done,
        left=left if live else None,
        rate=number(seen.get("rate"))
        or (size / seconds if size and seconds and accepted is not None and not live else None),
        why=text(seen.get("why")),
        reason=text(row.get("reason"), 2_000),
        console_url=link(row.get("console_url")),
        rejects_uri=text(row.get("rejects_uri")),
        results_uri=text(row.get("results_uri")),
        errors_uri=text(row.get("errors_uri")),
        seen_at=moment(seen.get("at")) or moment(row.get("at")),
    )


def _progress(
    row: Mapping[str, Any], seen: Mapping[str, Any], parts: int | None, over: int, executions: int, now: float
) -> tuple[float | None, float | None]:
    """How far it is, from 0 to 1, and the seconds left: half of the way is sending, half is the platform's work."""
    sent, began = count(seen.get("parts_sent")), number(row.get("at"))
    if seen.get("phase") == "sending" and parts:
        return (sent or 0) / parts / 2, number(seen.get("left"))
    if seen.get("phase") == "writing" and (total := count(seen.get("total"))):
        return min((count(seen.get("done")) or 0) / total, 1.0), None
    if executions:
        elapsed = max(0.0, now - began) if began is not None else 0.0
        left = estimate_seconds(over, executions, elapsed)
        share = over / executions
        return (0.5 + share / 2 if parts else share), (left if left < 1e7 else None)
    return (0.5 if row.get("phase") == "submitted" and parts else None), None


def group_row(lead: WorkRow, states: Mapping[str, int], ended: datetime | None) -> WorkRow:
    """The row of an extract/load group, from the row of its first task.

    :param states: how many of its tasks are in each of Airflow's states.
    :param ended: when the last one ended; None where none has.
    """
    over = sum(each for state, each in states.items() if state in OVER)
    total = max(sum(states.values()), 1)
    failed = any(state in STATE_GROUPS["failed"] for state in states)
    state = "running" if over < total else "failed" if failed else "success"
    seconds = lead.seconds
    if over == total and ended is not None and lead.started is not None:
        seconds = max(0.0, (ended - lead.started).total_seconds())
    return dataclasses.replace(
        lead, state=state, executions=dict(states), done=over / total, seconds=seconds, kind=KINDS["group"]
    )
