"""Ctrl-C: end what this process does, cancel what can be cancelled on the platform, name what goes on.

The first signal ends the work. While executions are being cancelled a second one is answered, and changes nothing; a third
one leaves, and what may still be PENDING is named.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
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
#: Executions that are cancelled between two looks, and seconds for them.
AT_A_TIME, SECONDS = 40, 30.0
#: Looks in a row at most that fail, or that show nothing cancelled.
IDLE_LOOKS = 3
#: Signals during the cancelling that leave it: one that is only answered, and this one.
LEAVES_AT = 2
#: Seconds between two looks at the signals.
GLANCE = 0.05


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


class Signals:
    """Turns the first signal into :class:`Stopped`, and only counts while executions are being cancelled.

    An exception out of a signal handler may come in the middle of anything, also of what cleans up or of a library's lock.
    So there is one at most, and what cancels is never interrupted by one.

    :ivar number: the first signal that came; 0 while none has come.
    :ivar left: a person does not want to wait for the cancelling any more.
    """

    def __init__(self) -> None:
        self.number = 0
        self.left = False
        self._while_cancelling = 0
        self._cancelling = False
        self._before: dict[int, Any] = {}

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
        """From now on no signal breaks anything off; the second one leaves."""
        self._cancelling = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.number = not self.number, self.number or number
        if first and not self._cancelling:
            _say("\nStopping.\n")
            raise Stopped(number)
        self._while_cancelling += self._cancelling
        if self._while_cancelling >= LEAVES_AT:
            self.left = True
            _say("\nLeaving, as soon as the cancels that are on their way are answered.\n")
        else:
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


class _Cancelling:
    """Cancels what is PENDING, in a thread of its own: signals are the main thread's alone."""

    def __init__(
        self,
        executions: UploadExecutions,
        only: set[str] | None,
        settle: float,
        tell: Callable[[int, int], None],
        signals: Signals,
    ) -> None:
        self._executions, self._only, self._tell = executions, only, tell
        self._signals = signals
        self._until = time.monotonic() + settle
        self._done: set[str] = set()
        self._idle = 0
        self.found = Cancelled()
        self.error: Exception | None = None

    def run(self) -> None:
        """Look and cancel until a look shows nothing PENDING, or nothing more can be done."""
        try:
            while self._idle < IDLE_LOOKS and not self._signals.left and self._look(cancels=True):
                pass
            if self._signals.left:  # what the last cancels have done
                self._look(cancels=False)
        except Exception as error:  # noqa: BLE001  (raised where the thread was begun)
            self.error = error

    def _look(self, *, cancels: bool) -> bool:
        """Look once, and cancel some of what is PENDING; say whether there is more to do."""
        found = self.found
        try:
            seen = [one for one in self._executions.snapshots() if self._only is None or one.id in self._only]
            found.unproved = ""
        except PlatformError as error:
            found.unproved, self._idle = error.why, self._idle + 1
            time.sleep(1)
            return True
        pending = _ids(seen, RemoteStatus.PENDING)
        fresh = set(found.pending) - pending
        self._done |= fresh & _ids(seen, RemoteStatus.CANCELED)
        self._idle = self._idle + 1 if found.pending and not fresh else 0
        ended = (one for one in seen if one.remote_status.over)
        found.over = [one for one in ended if one.remote_status is not RemoteStatus.CANCELED]
        found.going = [one for one in seen if one.remote_status is RemoteStatus.GOING]
        found.pending, found.cancelled = newest_first(pending), newest_first(self._done)
        self._tell(len(self._done), len(self._done) + len(pending))
        if pending and cancels:
            with contextlib.suppress(PlatformError):  # the next look tells what was cancelled
                self._executions.cancel_pending(found.pending[:AT_A_TIME], SECONDS)
            return True
        left = self._until - time.monotonic()
        if left > 0:
            time.sleep(min(1.0, left))
        return left > 0


def cancel_pending(
    executions: UploadExecutions,
    only: set[str] | None = None,
    *,
    settle: float = 0.0,
    tell: Callable[[int, int], None],
    signals: Signals,
) -> Cancelled:
    """Cancel every execution that is PENDING, until a look shows none.

    :param executions: of the import.
    :param only: ids that count; None for all, of an import that nothing else feeds.
    :param settle: seconds until one whose upload got no answer must have shown.
    :param tell: told how many of how many are cancelled.
    :param signals: say whether a person wants to leave.
    """
    signals.begin_cancelling()
    work = _Cancelling(executions, only, settle, tell, signals)
    thread = threading.Thread(target=work.run, daemon=True, name="cancelling")
    thread.start()
    while thread.is_alive():
        thread.join(GLANCE)
    if work.error is not None:
        raise work.error
    if signals.left and work.found.pending:
        work.found.unproved = "the cancelling was left"
    return work.found


def _ids(seen: list[RemoteSnapshot], status: RemoteStatus) -> set[str]:
    return {one.id for one in seen if one.remote_status is status}
