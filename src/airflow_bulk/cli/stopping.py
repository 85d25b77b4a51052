"""Ctrl-C: end what this process does, cancel what can be cancelled on the platform, name what goes on.

The first signal ends the work. While executions are being cancelled a second one is answered, and changes nothing; a third
one leaves, and says what may still be PENDING.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_bulk.hooks.executions import newest_first
from airflow_bulk.judging import name_ids
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

if TYPE_CHECKING:
    from airflow_bulk.hooks.executions import UploadExecutions

#: Signals that a person, a terminal that closes or a system that goes down sends.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Executions that are cancelled between two looks; and seconds for them at least.
AT_A_TIME, SECONDS = 200, 30.0
#: Looks in a row at most that fail, or that show nothing cancelled.
IDLE_LOOKS = 3
#: Signals that leave the cancelling: the one that began it, one that is only answered, and this one.
LEAVES_AT = 3


class Stopped(BaseException):
    """A signal ended the work.

    :param number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code that a shell expects."""
        return 128 + self.number


class LeftBehind(BaseException):
    """A person has left the cancelling."""


class Signals:
    """Turns signals into :class:`Stopped` once, so that nothing that cleans up is broken off by the next one."""

    def __init__(self) -> None:
        self._seen = 0
        self._before: dict[int, Any] = {}
        self._cancelling = False

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin_cancelling(self) -> None:
        """From now on a third signal leaves."""
        self._cancelling = True

    def end_cancelling(self) -> None:
        """From now on no signal breaks anything off."""
        self._cancelling = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._seen += 1
        if self._seen == 1:
            _say("\nStopping.\n")
            raise Stopped(number)
        if self._seen >= LEAVES_AT and self._cancelling:
            self._cancelling = False
            raise LeftBehind
        _say(
            "\nStill cancelling: press Ctrl-C once more to leave, and PENDING executions will be imported.\n"
        )


def _say(text: str) -> None:
    """Write to standard error; in a signal handler, where a buffered writer may be in the middle of a write."""
    try:
        os.write(2, text.encode())
    except OSError:
        return  # the terminal is gone


@dataclass
class Cancelled:
    """What became of the executions of an import.

    :param cancelled: ids that were cancelled here.
    :param going: executions that have begun and are not over.
    :param over: executions that had ended before: their lines stay on the platform.
    :param pending: executions that may still be PENDING.
    :param unproved: why nobody knows; empty where a look has proved it.
    """

    cancelled: list[str] = field(default_factory=list)
    going: list[RemoteSnapshot] = field(default_factory=list)
    over: list[RemoteSnapshot] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    unproved: str = ""

    def say(self, what: str) -> str:
        """Say it to a person.

        :param what: the import, in words.
        """
        said = [f"{what}: {_count(self.cancelled)} cancelled."]
        if self.over:
            accepted = sum(one.accepted or 0 for one in self.over)
            said.append(f"{_count(self.over)} had ended before: {accepted:,} lines accepted, and they stay.")
        if self.going:
            named = name_ids([one.id for one in self.going])
            said.append(
                f"{_count(self.going)} had begun, cannot be cancelled and {'goes' if len(self.going) == 1 else 'go'} on: {named}."
            )
        if self.unproved:
            said.append(f"Whether others were cancelled is not proved: {self.unproved}.")
        if self.pending:
            said.append(f"STILL PENDING, so their lines will be imported: {name_ids(self.pending)}.")
        if not (self.going or self.pending or self.unproved):
            said.append("Nothing goes on.")
        return " ".join(said)

    def report(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "cancelled": self.cancelled,
            "going": [one.id for one in self.going],
            "over": [one.id for one in self.over],
            "pending": self.pending,
            "unproved": self.unproved or None,
        }


def _count(executions: list[Any]) -> str:
    return f"{len(executions):,} {'execution' if len(executions) == 1 else 'executions'}"


def cancel_pending(
    executions: UploadExecutions,
    only: set[str] | None = None,
    *,
    settle: float = 0.0,
    tell: Callable[[int, int], None] = lambda done, total: None,
    signals: Signals | None = None,
) -> Cancelled:
    """Cancel every execution that is PENDING, until a look shows none.

    :param executions: of the import.
    :param only: ids that count; None for all, of an import that nothing else feeds.
    :param settle: seconds until one whose upload got no answer must have shown.
    :param tell: told how many of how many are cancelled.
    :param signals: what lets a person leave.
    """
    found = Cancelled()
    done: set[str] = set()
    until, idle = time.monotonic() + settle, 0
    if signals is not None:
        signals.begin_cancelling()
    try:
        while idle < IDLE_LOOKS:
            try:
                seen = [one for one in executions.snapshots() if only is None or one.id in only]
                found.unproved = ""
            except PlatformError as error:
                found.unproved, idle = error.why, idle + 1
                time.sleep(1)
                continue
            fresh = {one.id for one in seen if one.id in found.pending} - _ids(seen, RemoteStatus.PENDING)
            done |= fresh & _ids(seen, RemoteStatus.CANCELED)
            found.going = [one for one in seen if one.remote_status is RemoteStatus.GOING]
            ended = (one for one in seen if one.remote_status.over)
            found.over = [one for one in ended if one.remote_status is not RemoteStatus.CANCELED]
            pending = newest_first(_ids(seen, RemoteStatus.PENDING))
            idle = idle + 1 if found.pending and not fresh else 0
            found.pending = pending
            tell(len(done), len(done) + len(pending))
            if pending:
                _cancel(executions, pending[:AT_A_TIME])
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(min(1.0, max(0.05, until - time.monotonic())))
        if signals is not None:
            signals.end_cancelling()
    except LeftBehind:
        found.unproved = "the cancelling was left"
    found.cancelled = newest_first(done)
    return found


def _ids(seen: list[RemoteSnapshot], status: RemoteStatus) -> set[str]:
    return {one.id for one in seen if one.remote_status is status}


def _cancel(executions: UploadExecutions, pending: list[str]) -> None:
    try:
        executions.cancel_pending(pending, SECONDS)
    except PlatformError:
        return  # the next look tells what was cancelled
