"""Wait for executions without a worker, and cancel them when a person stops the deferred task.

A trigger says what it watches and which of it counts. How to wait stands in :mod:`airflow_bulk.triggers.waiting`;
what ``on_kill`` does stands here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow_bulk import judging
from airflow_bulk.hooks.executions import RemoteExecutions, UploadExecutions, newest_first
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.triggers.poller import shared_hooks
from airflow_bulk.triggers.waiting import WaitingTrigger

if TYPE_CHECKING:
    from airflow_bulk.platforms.upload_port import UploadPort


S = TypeVar("S", bound=RemoteSnapshot)

#: Seconds that on_kill gives itself of the framework's 30 (ARCHITECTURE.md section 6).
TRIGGER_KILL_SECONDS = 25.0


class ExecutionsTrigger(WaitingTrigger[S]):
    """Fires when the executions that count are over, or the deadline has passed; its event carries totals only.

    :param conn_id: the connection.
    :param expected: executions that must be there before anything is over.
    :param executions: only these count; None counts as the subclass says.
    :param newest: the newest execution when the task deferred: ``on_kill`` cancels no later one.
    :param started: seconds since 1970 of the submission.
    :param deadline: seconds since 1970 after which waiting ends.
    :param poll_interval: seconds between two looks once the work has aged.
    :param quiet_for: seconds without a new execution before all are there.
    :param cancel_on_kill: cancel PENDING executions when a person stops the task.
    :param first: seconds until the first look.
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
    ) -> None:
        super().__init__(
            started=started,
            deadline=deadline,
            poll_interval=poll_interval,
            expected=expected,
            quiet_for=quiet_for,
            first=first,
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

    async def on_kill(self) -> None:
        """Cancel what can be cancelled, newest first, and name what cannot."""
        if not self.cancel_on_kill:
            return
        try:
            async with shared_hooks().borrow(self.conn_id, self.hook) as hook:
                left = await self._of(hook).acancel_pending(
                    self.executions, TRIGGER_KILL_SECONDS, up_to=self.newest
                )
        except (PlatformError, TimeoutError) as error:
            self.log.error(
                "What of %s keeps running is not known: %s.",
                self.what,
                str(error).rstrip(".") or f"no answer within {TRIGGER_KILL_SECONDS:.0f} s",
            )
            return
        if left:
            named = judging.name_ids(newest_first(one.id for one in left))
            self.log.warning("Not cancelled, since only PENDING executions can be: %s.", named)
        else:
            self.log.info("Nothing of %s keeps running.", self.what)

    def _connection(self) -> str:
        return self.conn_id

    async def _look(self, hook: Any) -> list[S]:
        return await self._of(hook).alook()


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
