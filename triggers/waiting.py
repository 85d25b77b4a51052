"""Wait for remote work without a worker, on any platform: how often to poll, and when to fire.

A subclass says which connection to use, what to poll, and which executions count.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_bulk import judging
from airflow_bulk.judging import KeepWaiting, WaitingProgress, WaitingRules
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.triggers.poller import shared_hooks

S = TypeVar("S", bound=RemoteSnapshot)


#: Airflow's own timeout of a deferral comes this much later than our deadline: it would skip our last look, our message
#: and the cancel.
DEFERRAL_SLACK = timedelta(minutes=30)


def first_look() -> float:
    """Seconds a trigger waits before it may fire.

    A trigger that fires before the worker has reported its exit can make the scheduler fail the task;
    the report comes within a heartbeat interval (airflow.md section 6.1 [measured]).
    """
    from airflow.sdk import conf

    return 1.5 * conf.getfloat("workers", "min_heartbeat_interval", fallback=5) + 0.5


class WaitingTrigger(BaseTrigger, Generic[S]):
    """Fires when the executions that count are over, or the deadline has passed; its event holds only totals.

    :param started: seconds since 1970 of the submission.
    :param deadline: seconds since 1970 after which waiting ends.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param expected: how many executions must exist before the wait can end.
    :param quiet_for: seconds that must pass without a new execution before the wait can end.
    :param first: seconds until the first poll.
    """

    #: The arguments that a subclass adds, for :meth:`serialize`; each is an attribute of the same name.
    own_arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        started: float,
        deadline: float | None = None,
        poll_interval: float = 30.0,
        expected: int = 1,
        quiet_for: float = 0.0,
        first: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.started = started
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.expected = expected
        self.quiet_for = quiet_for
        self.first = first

    def _arguments(self) -> tuple[str, ...]:
        shared = ("started", "deadline", "poll_interval", "expected", "quiet_for", "first")
        return (*shared, *self.own_arguments)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments; no secret is among them."""
        kind = type(self)
        path = f"{kind.__module__}.{kind.__qualname__}"
        return path, {name: getattr(self, name) for name in self._arguments()}

    @property
    @abstractmethod
    def what(self) -> str:
        """Say in words what is watched, for messages."""

    @abstractmethod
    def _connection(self) -> str:
        """Return the id of the connection."""

    @abstractmethod
    def _key(self) -> Hashable:
        """Return a key for what is polled; triggers with equal keys share each poll."""

    @abstractmethod
    def hook(self) -> Any:
        """Make the hook of the connection; triggers of one connection share it."""

    @abstractmethod
    async def _look(self, hook: Any) -> list[S]:
        """Poll once."""

    @abstractmethod
    def _counting(self, found: Sequence[S]) -> list[S]:
        """Return those of the listed executions that count."""

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """Return what the event holds in addition to the totals."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait. After a restart of the triggerer this begins again, and nothing is lost."""
        progress = WaitingProgress(self.log)
        try:
            watching = shared_hooks().watch(
                self._connection(),
                self._key(),
                self.hook,
                self._look,
                self.first,
                self._interval,
                self.deadline,
            )
            event = None
            async with aclosing(watching) as looks:
                async for found in looks:
                    verdict = judging.judge(self._counting(found), self._rules(), time.time())
                    if not isinstance(verdict, KeepWaiting):
                        event = TriggerEvent(self._event(verdict))
                        break
                    progress.tell(verdict.totals, verdict.why, verdict.unknown)
            # The event is yielded outside the loop over the polls: by then the poller has no waiter of ours to close.
            if event is not None:
                yield event
        except PlatformError as error:
            # The task polls, too: it meets the same error, and says what a retry will do.
            yield TriggerEvent({"state": "error", "message": str(error)})
        except Exception as error:
            # For example a connection that does not exist. The error may quote anything: only the log gets its text.
            self.log.exception("Waiting for %s failed.", self.what)
            yield TriggerEvent({"state": "error", "message": type(error).__name__})

    def _rules(self) -> WaitingRules:
        return WaitingRules(
            started=self.started,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            expected=self.expected,
            quiet_for=self.quiet_for,
        )

    def _interval(self, found: Sequence[S]) -> float:
        return judging.next_look(self._rules(), time.time())

    def _event(self, verdict: judging.Verdict) -> dict[str, Any]:
        states = {
            judging.Finished: "over",
            judging.FailedBecause: "failed",
            judging.PastDeadline: "deadline",
        }
        going = sum(
            count for state, count in verdict.totals.executions.items() if not RemoteStatus(state).over
        )
        return {
            "state": states[type(verdict)],
            **self._about(),
            "executions": verdict.totals.total,
            "going": going,
            "lines_accepted": verdict.totals.accepted,
            "lines_failed": verdict.totals.failed,
        }
