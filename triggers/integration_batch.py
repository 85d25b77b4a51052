"""Wait for the runs of an integration batch without a worker, and start DAGs when a run of its cron is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from airflow_bulk import judging
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    CANCEL_WAYS,
    CRON,
    IntegrationBatchSnapshot,
    cron_runs,
    run_report,
)
from airflow_bulk.triggers.poller import AFTER_ERROR, Answers, shared_hooks
from airflow_bulk.triggers.waiting import ExecutionsTrigger
from airflow_bulk.unblocked_log import UnblockedLog

#: Lists begin at the start of a day, so that all waiters of that day share each poll.
DAY = 86_400.0


class IntegrationBatchTrigger(ExecutionsTrigger[IntegrationBatchSnapshot]):
    """Fires when executions of a batch instance are over, or the deadline has passed.

    With ``executions`` these executions count; else the runs that the instance's cron made for a window count, but for
    cancelled ones.

    :param instance_id: the instance.
    :param since: seconds since 1970; executions that were created and were to start before need not be listed.
    :param window: two times, in seconds since 1970: a run counts that was to start at the first, or later, but before
        the second.
    :param cancel_ways: how ``on_kill`` cancels.
    :param arguments: those of :class:`~airflow_bulk.triggers.waiting.ExecutionsTrigger`.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ("instance_id", "since", "window", "cancel_ways")

    def __init__(
        self,
        *,
        instance_id: str,
        since: float = 0.0,
        window: Sequence[float] | None = None,
        cancel_ways: Sequence[str] = CANCEL_WAYS,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.instance_id = instance_id
        self.since = since
        self.window = None if window is None else list(window)
        self.cancel_ways = list(cancel_ways)

    @property
    def what(self) -> str:
        """Say in words what is watched."""
        return f"batch instance {self.instance_id}"

    def _key(self) -> Hashable:
        return ("batch", self.instance_id, self._reach())

    def _reach(self) -> float:
        return self.since - self.since % DAY

    def hook(self) -> Any:
        """The mediarithmics hook."""
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

        return MediarithmicsHook(self.conn_id)

    def _of(self, hook: Any) -> IntegrationBatchExecutions:
        return IntegrationBatchExecutions(hook, self.instance_id, self._reach(), self.cancel_ways)

    def _counting(self, found: Sequence[IntegrationBatchSnapshot]) -> list[IntegrationBatchSnapshot]:
        if self.executions is None and self.window is not None:
            return cron_runs(found, self.window[0], self.window[1])
        wanted = set(self.executions or ())
        return [one for one in found if one.id in wanted]

    def _about(self) -> dict[str, Any]:
        return {"instance_id": self.instance_id}


class _Poll:
    """One poll of a watcher: the runs that are over, and, once events were fired for them, what remembers that."""

    def __init__(self, over: list[IntegrationBatchSnapshot]) -> None:
        self.over = over
        self.memory: _Memory | None = None
        self.fired: list[IntegrationBatchSnapshot] = []


class _Memory:
    """For which runs an event was fired: remembered in this process, and stored in the asset's state.

    :param store: the state of one asset; None (outside a triggerer) remembers in memory only.
    """

    KEY = "integration_batch.{}"
    #: How many ids are stored; a run that was to start before the oldest of them fires no event again.
    KEPT = 1_000

    def __init__(self, store: Any, instance_id: str) -> None:
        self._store = store
        self._key = self.KEY.format(instance_id)
        self._kept: dict[str, float] = {}
        self._fired: set[str] = set()
        self._floor = 0.0
        self._unwritten = False
        self.fresh = True

    async def load(self) -> None:
        """Read what was stored."""
        stored = await self._store.aget(self._key) if self._store is not None else None
        if isinstance(stored, dict):
            self.fresh = False
            self._kept = {str(one): float(at) for one, at in stored["told"].items()}
            self._floor = float(stored["floor"])

    def unknown(self, runs: Sequence[IntegrationBatchSnapshot]) -> list[IntegrationBatchSnapshot]:
        """Return the runs for which no event was fired, oldest first."""
        known = self._kept.keys() | self._fired
        left = [one for one in runs if one.id not in known and _at(one) >= self._floor]
        return sorted(left, key=lambda one: (_at(one), judging.id_order(one.id)))

    def fire(self, runs: Sequence[IntegrationBatchSnapshot]) -> None:
        """Remember that these runs were fired, in this process only."""
        self._fired.update(one.id for one in runs)

    async def keep(self, runs: Sequence[IntegrationBatchSnapshot]) -> None:
        """Store these runs, and no others that were fired: Airflow may not have stored their events yet.

        When the store fails, this raises, and the next call stores these runs, too.
        """
        self._unwritten = self._unwritten or self.fresh or bool(runs)
        self.fresh = False
        self._kept.update({one.id: _at(one) for one in runs})
        if len(self._kept) > self.KEPT:
            newest = sorted(self._kept.items(), key=lambda item: item[1])[-self.KEPT :]
            self._floor = newest[0][1]
            self._kept = dict(newest)
        if self._unwritten and self._store is not None:
            await self._store.aset(self._key, {"told": self._kept, "floor": self._floor})
        self._unwritten = False


def _at(run: IntegrationBatchSnapshot) -> float:
    return run.expected_start or run.created or 0.0


class IntegrationBatchEventTrigger(BaseEventTrigger):
    """For an ``AssetWatcher``: fires once for each run that an instance's own cron made and that is over.

    The event's payload has ``instance_id``, ``execution_id``, ``status``, ``execution_type``, ``expected_start_date``
    and ``start_date`` (ISO 8601, UTC), ``tasks`` and ``tasks_failed``. Cancelled runs never ran and fire nothing.

    A run that was over when the watching began fires nothing. After that each run fires once, also over restarts of the
    triggerer: the run's id is stored in the asset's state when Airflow has stored the event. Only when the triggerer is
    killed between these two writes (a second or two), a run fires a second time, with the same ``execution_id``.

    :param instance_id: the instance.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    :param poll_interval: seconds between two polls.
    :param execution_types: which runs count: ``CRON``, ``MANUAL``.
    :param statuses: fire only for runs that ended so; None fires for every end but CANCELED.
    :param reach_days: how many days back lists are read; an older run that ends now fires nothing.
    """

    def __init__(
        self,
        instance_id: str,
        mediarithmics_conn_id: str = "mediarithmics_default",
        poll_interval: float = 60.0,
        execution_types: Sequence[str] = (CRON,),
        statuses: Sequence[str] | None = None,
        reach_days: float = 30.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.instance_id = str(instance_id)
        self.mediarithmics_conn_id = mediarithmics_conn_id
        self.poll_interval = float(poll_interval)
        self.execution_types = list(execution_types)
        self.statuses = None if statuses is None else list(statuses)
        self.reach_days = float(reach_days)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments; no secret is among them."""
        names = (
            "instance_id",
            "mediarithmics_conn_id",
            "poll_interval",
            "execution_types",
            "statuses",
            "reach_days",
        )
        return (
            "airflow_bulk.triggers.integration_batch.IntegrationBatchEventTrigger",
            {name: getattr(self, name) for name in names},
        )

    @property
    def log(self) -> Any:
        """The trigger's logger."""
        return UnblockedLog(super().log)

    def shared_stream_key(self) -> Hashable:
        """Return all arguments. Airflow says only to a shared stream when our events are stored."""
        _, arguments = self.serialize()
        return tuple((name, str(value)) for name, value in sorted(arguments.items()))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return what polls, and learns when the events of a poll are stored."""
        return _Producer(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[_Poll]) -> AsyncIterator[TriggerEvent]:
        """Turn polls into events."""
        memory = _Memory(self._one_store(), self.instance_id)
        await memory.load()
        async for poll in shared_stream:
            if memory.fresh:
                # The watching begins: runs that are over already fire nothing.
                await memory.keep(poll.over)
                continue
            poll.memory, poll.fired = memory, memory.unknown(poll.over)
            memory.fire(poll.fired)
            for run in poll.fired:
                yield TriggerEvent(run_report(self.instance_id, run))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll and fire where Airflow shares no stream; a run is stored as soon as Airflow has taken its event."""
        memory = _Memory(self._one_store(), self.instance_id)
        await memory.load()
        async with aclosing(self.polls()) as polls:
            async for poll in polls:
                if memory.fresh:
                    await memory.keep(poll.over)
                for run in memory.unknown(poll.over):
                    yield TriggerEvent(run_report(self.instance_id, run))
                    await memory.keep([run])

    async def polls(self) -> AsyncGenerator[_Poll, None]:
        """Poll for ever. Every error is logged and waited out: no retry would start a watcher that ended."""
        while True:
            try:
                watching: Answers[list[IntegrationBatchSnapshot]] = await shared_hooks().watch(
                    self.mediarithmics_conn_id,
                    ("watch", self.instance_id, self.reach_days),
                    self.hook,
                    self._list,
                    0.0,
                    lambda found: self.poll_interval,
                )
                async with aclosing(watching) as found:
                    async for runs in found:
                        yield _Poll([one for one in runs if self._counts(one)])
            except PlatformError as error:
                self.log.error("%s Looking again in %.0f s.", error, self._after_error())
            except Exception:
                self.log.exception("Watching batch instance %s failed.", self.instance_id)
            await asyncio.sleep(self._after_error())

    def _after_error(self) -> float:
        return max(self.poll_interval, AFTER_ERROR)

    def _counts(self, run: IntegrationBatchSnapshot) -> bool:
        if run.execution_type not in self.execution_types or not run.remote_status.over:
            return False
        return run.status in self.statuses if self.statuses is not None else run.ran

    def hook(self) -> Any:
        """The mediarithmics hook."""
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

        return MediarithmicsHook(self.mediarithmics_conn_id)

    async def _list(self, hook: Any) -> list[IntegrationBatchSnapshot]:
        since = time.time() - self.reach_days * DAY
        return await IntegrationBatchExecutions(hook, self.instance_id, since).asnapshots()

    def _one_store(self) -> Any:
        """Return the state of one asset; where this trigger serves several, of the first by name."""
        stores = self.asset_state_store
        if stores is None:
            return None
        # Airflow 3.3 names the assets of a trigger nowhere else, and its accessor needs a name where there are several.
        by_name = {**stores._by_uri, **stores._by_name}
        return by_name[min(by_name)] if by_name else None


class _Producer(SharedStreamProducer):
    """Polls for a watcher, and stores which runs were fired once Airflow has stored the events.

    :param trigger: a copy of the watcher; its assets are not known here.
    """

    def __init__(self, trigger: IntegrationBatchEventTrigger) -> None:
        self._trigger = trigger

    async def open_stream(self) -> AsyncIterator[tuple[_Poll, _Poll]]:
        """Yield each poll twice: as the raw event, and as what :meth:`advance` gets back."""
        async with aclosing(self._trigger.polls()) as polls:
            async for poll in polls:
                yield poll, poll

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Store the runs of these polls. A restart fires again the events that Airflow has not stored."""
        for item in batch:
            poll: _Poll = item.broker_payload
            if poll.memory is not None and item.outcome.is_clean:
                try:
                    await poll.memory.keep(poll.fired)
                except Exception:
                    # Raised, it would end the stream, and the runs would fire at once again. The next poll stores them.
                    self._trigger.log.exception(
                        "Which runs of %s were fired is not stored yet.", self._trigger.instance_id
                    )
