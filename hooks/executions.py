"""Executions as a waiter sees them: list, cancel, cancel many before a bell rings; of an import or of a batch instance.

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

from airflow_bulk.hooks.mediarithmics_batches import cancel_calls
from airflow_bulk.judging import id_order, name_ids
from airflow_bulk.platforms.call_sequence import CallSequence, arun_calls, run_calls
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics import document_import_calls as calls
from airflow_bulk.platforms.mediarithmics import document_imports as api
from airflow_bulk.platforms.mediarithmics import integration_batch_calls as batch_calls
from airflow_bulk.platforms.mediarithmics import integration_batches as batches
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

S = TypeVar("S", bound=RemoteSnapshot)
log = logging.getLogger(__name__)

#: Cancels under way at once (design section 6).
AT_ONCE = 8
#: Executions that must have come newest first before a list is believed to be in that order.
EVIDENCE = 20
#: Share of the time that is kept to prove by a list what was cancelled.
PROOF = 0.25


def newest_first(executions: Iterable[str]) -> list[str]:
    """Ids in the order of cancelling: the newest are the likeliest to be PENDING still."""
    return sorted(executions, key=id_order, reverse=True)


class RemoteExecutions(ABC, Generic[S]):
    """The executions of one remote object.

    :param hook: the platform.
    """

    def __init__(self, hook: MediarithmicsHook) -> None:
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

    def look(self, **options: Any) -> list[S]:
        """All executions, one call a page.

        :param options: ``tries`` and ``timeout`` of each call.
        """
        return run_calls(self.listing(), lambda call: self.hook.send(call, **options))

    async def alook(self, **options: Any) -> list[S]:
        """:meth:`look` on the event loop."""
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

        gate = asyncio.Semaphore(AT_ONCE)
        brief = {"tries": 2, "timeout": seconds * PROOF}

        async def cancel(execution_id: str) -> None:
            async with gate:
                try:
                    await arun_calls(
                        self.canceling(execution_id), lambda call: self.hook.asend(call, **brief)
                    )
                except PlatformError as error:
                    log.info("%s", error)

        pending = newest_first(executions or ())
        try:
            async with asyncio.timeout(seconds * (1 - PROOF)):
                try:
                    found = ours(await self.alook(**brief))
                    pending = newest_first(
                        one.id for one in found if one.remote_status is RemoteStatus.PENDING
                    )
                except PlatformError:
                    if wanted is None:
                        raise
                    # Ours are known by name, and a cancel harms none that is not PENDING.
                await asyncio.gather(*(cancel(one) for one in pending))
        except TimeoutError:
            log.warning("Not all cancels were answered within %.0f s.", seconds)
        try:
            async with asyncio.timeout(seconds * PROOF):
                return [one for one in ours(await self.alook(**brief)) if not one.remote_status.over]
        except (PlatformError, TimeoutError) as error:
            _say_unproved(pending, error)
            raise


def _say_unproved(executions: Iterable[str], error: Exception) -> None:
    why = error.why if isinstance(error, PlatformError) else "no answer in time"
    named = name_ids(newest_first(executions)) or "none is known"
    log.warning("Whether these executions were cancelled is not proved (%s): %s.", why, named)


class ImportExecutions(RemoteExecutions[RemoteSnapshot]):
    """The executions of one document import, newest first.

    :param hook: the platform.
    :param datamart_id: the import's datamart.
    :param import_id: the import.
    """

    def __init__(self, hook: MediarithmicsHook, datamart_id: str, import_id: str) -> None:
        super().__init__(hook)
        self.datamart_id = datamart_id
        self.import_id = import_id

    def listing(self) -> CallSequence[list[RemoteSnapshot]]:
        """The calls of a full list."""
        found: list[RemoteSnapshot] = []
        offset: int | None = 0
        while offset is not None:
            page = yield calls.list_executions(self.datamart_id, self.import_id, first_result=offset)
            found += [api.snapshot(one) for one in page.data]
            offset = page.next_offset(offset, api.PAGE_SIZE)
        # One that others add meanwhile pushes the last of a page on to the next: it is still one.
        return list({one.id: one for one in found}.values())

    def canceling(self, execution_id: str) -> CallSequence[Any]:
        """The one call that cancels."""
        return (yield calls.cancel_execution(self.datamart_id, self.import_id, execution_id))

    def get(self, execution_id: str) -> RemoteSnapshot:
        """One execution."""
        return api.snapshot(self.hook.get_execution(self.import_id, execution_id, self.datamart_id))

    def cancel(self, execution_id: str) -> RemoteSnapshot:
        """Cancel one and return it as re-read."""
        return api.snapshot(self.hook.cancel_execution(self.import_id, execution_id, self.datamart_id))


class IntegrationBatchExecutions(RemoteExecutions[batches.IntegrationBatchSnapshot]):
    """The executions of one integration batch instance.

    An instance lives for years and its list grows with every run. No filter is documented, so reading stops at the
    first page that ends before ``since``, provided that what was read shows the newest first, which nobody promises.

    :param hook: the platform.
    :param instance_id: the instance.
    :param since: seconds since 1970: what was created, and was to start, before may be left out.
    :param cancel_ways: how to cancel (conflict 1).
    """

    def __init__(
        self,
        hook: MediarithmicsHook,
        instance_id: str,
        since: float = 0.0,
        cancel_ways: Sequence[str] = batches.CANCEL_WAYS,
    ) -> None:
        super().__init__(hook)
        self.instance_id = instance_id
        self.since = since
        self.cancel_ways = tuple(cancel_ways)

    def listing(self) -> CallSequence[list[batches.IntegrationBatchSnapshot]]:
        """The calls of a list back to ``since``."""
        found: list[batches.IntegrationBatchSnapshot] = []
        offset: int | None = 0
        while offset is not None:
            page = yield batch_calls.list_batch_executions(self.instance_id, first_result=offset)
            found += [batches.run_snapshot(one) for one in page.data]
            offset = None if self._far_enough(found) else page.next_offset(offset, api.PAGE_SIZE)
        return found

    def _far_enough(self, found: Sequence[batches.IntegrationBatchSnapshot]) -> bool:
        created = [one.created for one in found]
        if len(found) < EVIDENCE or any(one is None for one in created):
            return False
        known = [one for one in created if one is not None]
        if known != sorted(known, reverse=True) or known[-1] >= self.since:
            return False
        # A cron run may be created long before it is to start; each is created after the one before it.
        starts = [one.expected_start for one in found if one.execution_type == batches.CRON]
        return not starts or (starts[-1] is not None and starts[-1] < self.since)

    def canceling(self, execution_id: str) -> CallSequence[Any]:
        """The calls that cancel, in the order of the ways."""
        return cancel_calls(self.instance_id, execution_id, self.cancel_ways)

    def get(self, execution_id: str) -> batches.IntegrationBatchSnapshot:
        """One execution."""
        return batches.run_snapshot(self.hook.get_batch_execution(self.instance_id, execution_id))

    def cancel(self, execution_id: str) -> batches.IntegrationBatchSnapshot:
        """Cancel one and return it as re-read."""
        found = self.hook.cancel_batch_execution(self.instance_id, execution_id, self.cancel_ways)
        return batches.run_snapshot(found)
