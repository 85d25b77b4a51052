"""Executions of an import or of a batch instance: list them, cancel one, cancel many within a time limit.

The synchronous side serves operators and sensors, the asynchronous one triggers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_bulk.judging import id_order, name_ids
from airflow_bulk.platforms.call import CallSequence, arun_calls, run_calls
from airflow_bulk.platforms.errors import Forbidden, PlatformError, Unauthorized
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.unblocked_log import UnblockedLog

if TYPE_CHECKING:
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.platforms.upload_port import UploadPort

S = TypeVar("S", bound=RemoteSnapshot)
log = UnblockedLog(logging.getLogger(__name__))

#: Cancels under way at once: a platform is not to be flooded by a task that is stopped.
AT_ONCE = 8
#: Share of the time that is kept to prove by a list what was cancelled.
PROOF = 0.25


def newest_first(executions: Iterable[str]) -> list[str]:
    """Ids in the order of cancelling: the newest are the likeliest to be PENDING still."""
    return sorted(executions, key=id_order, reverse=True)


class RemoteExecutions(ABC, Generic[S]):
    """The executions of one remote object.

    :param hook: the platform.
    """

    def __init__(self, hook: PlatformHook) -> None:
        self.hook = hook

    @abstractmethod
    def listing(self) -> CallSequence[list[S]]:
        """The calls of a full list, whoever carries them out."""

    @abstractmethod
    def canceling(self, execution_id: str) -> CallSequence[Any]:
        """The calls that cancel one."""

    @abstractmethod
    def get(self, execution_id: str) -> S:
        """One execution."""

    @abstractmethod
    def cancel(self, execution_id: str) -> S:
        """Cancel one and return it as re-read; its status alone tells whether it worked."""

    def snapshots(self, **options: Any) -> list[S]:
        """All executions, one call a page.

        :param options: ``tries`` and ``timeout`` of each call.
        """
        return run_calls(self.listing(), lambda call: self.hook.send(call, **options))

    async def asnapshots(self, **options: Any) -> list[S]:
        """:meth:`snapshots` on the event loop."""
        return await arun_calls(self.listing(), lambda call: self.hook.asend(call, **options))

    def cancel_pending(self, executions: Sequence[str], seconds: float) -> list[S]:
        """Cancel what is still PENDING, newest first, 8 at a time, and prove it by a list.

        For ``on_kill``: touches neither the task's state nor connections, one attempt each.

        :param executions: ids to cancel.
        :param seconds: everything ends within them; a quarter is kept for the proof.
        :returns: those of ``executions`` that are not cancelled and not over; empty when all is well.
        :raises PlatformError: nothing is proved; the log names all of them.
        """
        until = time.monotonic() + seconds
        proof = until - seconds * PROOF

        def cancel(execution_id: str) -> None:
            left = proof - time.monotonic()
            if left > 0:
                try:
                    run_calls(
                        self.canceling(execution_id),
                        lambda call: self.hook.send(call, tries=1, timeout=left),
                    )
                except PlatformError as error:
                    log.info("%s", error)

        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="cancel")
        try:
            for future in [pool.submit(cancel, one) for one in newest_first(executions)]:
                future.result(timeout=max(0.05, proof - time.monotonic()))
        except TimeoutError:
            log.warning("Not all cancels were answered within %.0f s.", seconds)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        wanted = set(executions)
        try:
            found = run_calls(
                self.listing(),
                lambda call: self.hook.send(call, tries=1, timeout=max(0.5, until - time.monotonic())),
            )
        except PlatformError as error:
            _say_unproved(executions, error)
            raise
        return [one for one in found if one.id in wanted and not one.remote_status.over]

    async def acancel_pending(
        self, executions: Sequence[str] | None, seconds: float, *, up_to: str | None = None
    ) -> list[S]:
        """:meth:`cancel_pending` on the event loop.

        :param executions: ids to cancel; None for all of an import that nothing else feeds.
        :param up_to: with None, the newest id to cancel: a later one belongs to a newer try.
        :raises PlatformError: nothing is proved; the log names what is known.
        """
        wanted = set(executions) if executions is not None else None

        def ours(found: Sequence[S]) -> list[S]:
            return [
                one
                for one in found
                if (
                    one.id in wanted
                    if wanted is not None
                    else not up_to or id_order(one.id) <= id_order(up_to)
                )
            ]

        brief = {"tries": 2, "timeout": seconds * PROOF}
        pending = newest_first(executions or ())
        try:
            async with asyncio.timeout(seconds * (1 - PROOF)):
                try:
                    found = ours(await self.asnapshots(**brief))
                    pending = newest_first(
                        one.id for one in found if one.remote_status is RemoteStatus.PENDING
                    )
                except PlatformError:
                    if wanted is None:
                        raise
                    # Ours are known by name, and a cancel harms none that is not PENDING.
                await self._acancel(pending, **brief)
        except TimeoutError:
            log.warning("Not all cancels were answered within %.0f s.", seconds)
        try:
            async with asyncio.timeout(seconds * PROOF):
                return [one for one in ours(await self.asnapshots(**brief)) if not one.remote_status.over]
        except (PlatformError, TimeoutError) as error:
            _say_unproved(pending, error)
            raise

    async def _acancel(self, executions: Sequence[str], **options: Any) -> None:
        """Cancel each, a few at a time; a refusal is logged and no more."""
        at_once = asyncio.Semaphore(AT_ONCE)

        async def cancel(execution_id: str) -> None:
            async with at_once:
                try:
                    await arun_calls(
                        self.canceling(execution_id), lambda call: self.hook.asend(call, **options)
                    )
                except PlatformError as error:
                    log.info("%s", error)

        await asyncio.gather(*(cancel(one) for one in executions))


def _say_unproved(executions: Iterable[str], error: Exception) -> None:
    why = error.why if isinstance(error, PlatformError) else "no answer in time"
    named = name_ids(newest_first(executions)) or "none is known"
    log.warning("Whether these executions were cancelled is not proved (%s): %s.", why, named)


class UploadExecutions(RemoteExecutions[RemoteSnapshot]):
    """The executions of one import, on any platform that takes uploads.

    :param hook: the platform's hook.
    :param port: how the platform takes uploads.
    :param import_id: the import.
    """

    def __init__(self, hook: PlatformHook, port: UploadPort, import_id: str) -> None:
        super().__init__(hook)
        self.port = port
        self.import_id = import_id

    def listing(self) -> CallSequence[list[RemoteSnapshot]]:
        """The calls of a full list."""
        return self.port.list_executions(self.import_id)

    def canceling(self, execution_id: str) -> CallSequence[Any]:
        """The one call that cancels."""
        return (yield self.port.cancel_execution(self.import_id, execution_id))

    def get(self, execution_id: str) -> RemoteSnapshot:
        """One execution."""
        return self.hook.send(self.port.get_execution(self.import_id, execution_id))

    def cancel(self, execution_id: str) -> RemoteSnapshot:
        """Cancel one and return it as re-read: only its status tells whether it worked.

        A refused cancel is no error here; refused credentials are.
        """
        try:
            run_calls(self.canceling(execution_id), self.hook.send)
        except (Unauthorized, Forbidden):
            raise
        except PlatformError as error:
            log.info("%s", error)
        return self.get(execution_id)
