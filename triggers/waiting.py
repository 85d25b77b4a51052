"""Wait for remote work without a worker, on any platform: how often to poll, when to fire, what to cancel.

:class:`WaitingTrigger` waits for anything, :class:`ExecutionsTrigger` for executions that a person can stop,
:class:`UploadTrigger` for those of an import. A subclass says which connection to use, what to poll, and which executions
count.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_bulk import judging
from airflow_bulk.hooks.executions import RemoteExecutions, UploadExecutions, newest_first
from airflow_bulk.judging import WaitingRules
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.triggers.looks import Looks
from airflow_bulk.triggers.one_wait import OneWait
from airflow_bulk.triggers.poller import shared_hooks
from airflow_bulk.triggers.stopped import why_not_stopped
from airflow_bulk.unblocked_log import UnblockedLog, lines_written

if TYPE_CHECKING:
    from airflow_bulk.platforms.upload_port import UploadPort


S = TypeVar("S", bound=RemoteSnapshot)
log = logging.getLogger(__name__)


#: Airflow's own timeout of a deferral comes this much later than our deadline: it would skip our last poll, our message
#: and the cancel.
DEFERRAL_SLACK = timedelta(minutes=30)
#: Seconds for on_kill, of the framework's 30 (ARCHITECTURE.md section 6): Airflow is asked for the task's state, and what
#: is left is for cancelling.
ON_KILL_SECONDS = 25.0
#: What stopped triggers are still doing: an event loop alone keeps no task alive.
_stopping: set[asyncio.Task[None]] = set()


#: What an event calls the verdict that it was sent for.
EVENT_STATES: dict[type, str] = {
    judging.Finished: "over",
    judging.FailedBecause: "failed",
    judging.PastDeadline: "deadline",
}


def first_poll() -> float:
    """Seconds a trigger waits before it may fire.

    A trigger that fires before the worker has reported its exit can make the scheduler fail the task;
    the report comes within a heartbeat interval (airflow.md section 6.1 [measured]).
    """
    from airflow.sdk import conf

    return 1.5 * conf.getfloat("workers", "min_heartbeat_interval", fallback=5) + 0.5


def tell_event(event: Mapping[str, Any] | None) -> None:
    """Log what an event of a :class:`WaitingTrigger` means; for the task that goes on with it."""
    if event:
        log.info("%s", _say_event(event))


def _say_event(event: Mapping[str, Any]) -> str:
    ids = ((name.removesuffix("_id"), value) for name, value in event.items() if name.endswith("_id"))
    thing = next((f"{name} {value}" for name, value in ids), "the remote work")
    state = event.get("state")
    if state == "error":
        return f"The triggerer could not wait on: {str(event.get('message')).rstrip('.')}. The task itself asks now."
    if state not in EVENT_STATES.values():
        return "The triggerer calls the task back. The task itself asks now."
    executions = judging.how_many(int(event.get("executions") or 0), "execution")
    lines = judging.how_many(int(event.get("lines_accepted") or 0), "line")
    counted = f"{executions}, {lines} accepted, {event.get('lines_failed') or 0} failed"
    if state == "deadline":
        return (
            f"The triggerer saw the deadline pass while {thing} was not over: {event.get('going') or 0} of {counted}. "
            "The task looks a last time."
        )
    ended = "is over" if state == "over" else "has failed"
    return f"The triggerer saw that {thing} {ended}: {counted}. The task looks itself and judges."


class WaitingTrigger(BaseTrigger, Generic[S]):
    """Fires when the executions that count are over, or the deadline has passed; its event holds only totals.

    :param started: seconds since 1970 of the submission.
    :param deadline: seconds since 1970 after which waiting ends.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param expected: how many executions must exist before the wait can end.
    :param quiet_for: seconds that must pass without a new execution before the wait can end.
    :param first: seconds until the first poll.
    :param newer: arguments that only a newer version of this package knows, whose worker has deferred the task. The wait goes on
        without them, and nothing is cancelled: they may say what must not be.
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
        **newer: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.started = started
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.expected = expected
        self.quiet_for = quiet_for
        self.first = first
        self.newer = newer

    def _arguments(self) -> tuple[str, ...]:
        shared = ("started", "deadline", "poll_interval", "expected", "quiet_for", "first")
        return (*shared, *self.own_arguments)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments; no secret is among them."""
        kind = type(self)
        path = f"{kind.__module__}.{kind.__qualname__}"
        return path, {name: getattr(self, name) for name in self._arguments()} | self.newer

    @property
    def log(self) -> Any:
        """The trigger's logger; its lines go to the log of the task."""
        return UnblockedLog(super().log)

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
    async def _poll(self, hook: Any) -> list[S]:
        """Poll once."""

    @abstractmethod
    def _counting(self, found: Sequence[S]) -> list[S]:
        """Return those of the listed executions that count."""

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """Return what the event holds in addition to the totals."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait. After a restart of the triggerer this begins again, and nothing is lost."""
        if self.newer:
            self.log.warning("%s", self._say_newer("Waiting without them"))
        try:
            await shared_hooks().load(type(self), self._load)
            waiting = OneWait(self._rules(), self._named(), self._counting, self.log, self.task_instance)
            looks = await shared_hooks().watch(
                self._connection(),
                self._key(),
                self.hook,
                self._poll,
                self.first,
                waiting.interval,
                self.deadline,
                waiting.heeds,
                functools.partial(Looks, self.what),
            )
            verdict = None
            with waiting.shown:
                try:
                    async for look in looks:
                        verdict = await waiting.judge(look)
                        del look
                        if verdict is not None:
                            break
                finally:
                    await looks.aclose()
            # The event is yielded outside the loop over the polls: by then the poller has no waiter of ours to close.
            if verdict is not None:
                await lines_written()
                yield TriggerEvent(self._event(verdict))
        except PlatformError as error:
            # The task polls, too: it meets the same error, and says what a retry will do.
            await lines_written()
            yield TriggerEvent({"state": "error", "message": str(error)})
        except Exception as error:
            # For example a connection that does not exist. The error may quote anything: only the log gets its text.
            self.log.exception("Waiting for %s failed.", self.what)
            await lines_written()
            yield TriggerEvent({"state": "error", "message": type(error).__name__})

    def _load(self) -> None:
        """Load what the first poll needs: it takes a quarter of a second, too long for the event loop."""
        import aiohttp  # noqa: F401
        from airflow.sdk import BaseXCom  # noqa: F401

        self.hook()

    async def on_kill(self) -> None:
        """Stop the remote work if a person has stopped the task, and say why not if nobody has.

        Airflow calls this for a trigger that another triggerer took over, too (airflow.md section 3.5). And it cancels the
        trigger again every second or so, and ``on_kill`` with it (section 3.4): the stopping is a task of its own.
        """
        if not self._is_ours():
            return
        if self.newer:
            self.log.warning("%s", self._say_newer(f"Nothing of {self.what} is stopped"))
            await lines_written()
            return
        stopping = asyncio.create_task(self._stop_if_stopped())
        _stopping.add(stopping)
        stopping.add_done_callback(_stopping.discard)
        while not stopping.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([stopping])
        if not stopping.cancelled():
            stopping.result()

    def _say_newer(self, outcome: str) -> str:
        return (
            f"A newer version of this package has deferred the task, with arguments that this triggerer does not know: "
            f"{', '.join(sorted(self.newer))}. {outcome}. Upgrade the package in the triggerer."
        )

    async def _stop_if_stopped(self) -> None:
        until = time.monotonic() + ON_KILL_SECONDS
        try:
            if reason := await why_not_stopped(self.task_instance):
                self.log.warning("Nothing of %s is stopped: %s.", self.what, reason)
            else:
                await self._stop(until - time.monotonic())
        finally:
            await lines_written()

    @abstractmethod
    def _is_ours(self) -> bool:
        """Whether the task began the remote work, and stopping the task is to stop it."""

    @abstractmethod
    async def _stop(self, seconds: float) -> None:
        """Cancel what can be cancelled of the remote work, and name what goes on.

        :param seconds: how long this may take.
        """

    def _named(self) -> Collection[str] | None:
        """Ids of the executions that alone count; None where others may."""
        return None

    def _rules(self) -> WaitingRules:
        return WaitingRules(
            started=self.started,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            expected=self.expected,
            quiet_for=self.quiet_for,
        )

    def _event(self, verdict: judging.Verdict) -> dict[str, Any]:
        going = sum(
            count for state, count in verdict.totals.executions.items() if not RemoteStatus(state).over
        )
        return {
            "state": EVENT_STATES[type(verdict)],
            **self._about(),
            "executions": verdict.totals.total,
            "going": going,
            "lines_accepted": verdict.totals.accepted,
            "lines_failed": verdict.totals.failed,
        }


class ExecutionsTrigger(WaitingTrigger[S]):
    """Fires when the executions that count are over, or the deadline has passed; its event carries totals only.

    :param conn_id: the connection.
    :param expected: executions that must be there before anything is over.
    :param executions: only these count; None counts as the subclass says.
    :param newest: the newest execution when the task deferred: ``on_kill`` cancels no later one.
    :param started: seconds since 1970 of the submission.
    :param deadline: seconds since 1970 after which waiting ends.
    :param poll_interval: seconds between two polls once the work has aged.
    :param quiet_for: seconds without a new execution before all are there.
    :param cancel_on_kill: cancel PENDING executions when a person stops the task.
    :param first: seconds until the first poll.
    :param newer: as for :class:`WaitingTrigger`.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        expected: int = 1,
        executions: Sequence[str] | None = None,
        newest: str | None = None,
        started: float,
        deadline: float | None = None,
        poll_interval: float = 30.0,
        quiet_for: float = 0.0,
        cancel_on_kill: bool = False,
        first: float = 0.0,
        **newer: Any,
    ) -> None:
        super().__init__(
            started=started,
            deadline=deadline,
            poll_interval=poll_interval,
            expected=expected,
            quiet_for=quiet_for,
            first=first,
            **newer,
        )
        self.conn_id = conn_id
        self.executions = list(executions) if executions is not None else None
        self.newest = newest
        self.cancel_on_kill = cancel_on_kill

    def _arguments(self) -> tuple[str, ...]:
        return ("conn_id", "executions", "newest", "cancel_on_kill", *super()._arguments())

    @abstractmethod
    def _of(self, hook: Any) -> RemoteExecutions[S]:
        """The executions as a hook sees them."""

    def _is_ours(self) -> bool:
        return self.cancel_on_kill

    async def _stop(self, seconds: float) -> None:
        """Cancel what can be cancelled, newest first, and name what cannot."""
        try:
            async with shared_hooks().borrow(self.conn_id, self.hook) as hook:
                left = await self._of(hook).acancel_pending(self.executions, seconds, up_to=self.newest)
        except (PlatformError, TimeoutError) as error:
            self.log.error(
                "What of %s keeps running is not known: %s.",
                self.what,
                str(error).rstrip(".") or f"no answer within {seconds:.0f} s",
            )
            return
        if left:
            named = judging.name_ids(newest_first(one.id for one in left))
            self.log.warning("Not cancelled, since only PENDING executions can be: %s.", named)
        else:
            self.log.info("Nothing of %s keeps running.", self.what)

    def _connection(self) -> str:
        return self.conn_id

    def _named(self) -> Collection[str] | None:
        return self.executions

    async def _poll(self, hook: Any) -> list[S]:
        return await self._of(hook).asnapshots()


class UploadTrigger(ExecutionsTrigger[RemoteSnapshot]):
    """Waits for the executions of one import, on any platform that takes uploads.

    A subclass says which platform: :meth:`port` and :meth:`~airflow_bulk.triggers.waiting.WaitingTrigger.hook`. Arguments
    of its own, which ``port`` may need, it names in ``own_arguments`` as well: the triggerer makes the trigger anew of
    them. It carries the import and a count, not thousands of ids; its event carries totals only.

    :param import_id: the import.
    :param without_canceled: leave cancelled executions out unless nothing else is there, or they are named.
    :param arguments: those of :class:`ExecutionsTrigger`; ``executions`` names ours of an import that others feed, None
        counts all.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ("import_id", "without_canceled")

    def __init__(self, *, import_id: str, without_canceled: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.import_id = import_id
        self.without_canceled = without_canceled

    @abstractmethod
    def port(self) -> UploadPort:
        """How the platform takes uploads."""

    @property
    def what(self) -> str:
        """The import, in words."""
        return f"{self.port().noun} {self.import_id}"

    def _key(self) -> Hashable:
        return (*sorted(self.port().place.items()), self.import_id)

    def _of(self, hook: Any) -> UploadExecutions:
        return UploadExecutions(hook, self.port(), self.import_id)

    def _counting(self, found: Sequence[RemoteSnapshot]) -> list[RemoteSnapshot]:
        return judging.counting(found, self.executions, without_canceled=self.without_canceled)

    def _about(self) -> dict[str, Any]:
        return {"import_id": self.import_id}
