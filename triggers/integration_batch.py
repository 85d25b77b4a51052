"""Wait for the runs of an integration batch without a worker; and start DAGs when the batch's own cron has run."""

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
from airflow_bulk.triggers.executions import ExecutionsTrigger
from airflow_bulk.triggers.poller import AFTER_ERROR, shared_hooks

#: Lists reach back to the beginning of a day, so that waiters of the same day share each look.
DAY = 86_400.0


class IntegrationBatchTrigger(ExecutionsTrigger[IntegrationBatchSnapshot]):
    """Fires when executions of a batch instance are over, or the deadline has passed.

    With ``executions`` those count; else the runs that the instance's cron made for a window, cancelled ones left out.

    :param instance_id: the instance.
    :param since: seconds since 1970: what was created, and was to start, before need not be listed.
    :param window: seconds since 1970, from and until (not included) when the runs that count were to start.
    :param cancel_ways: how ``on_kill`` cancels.
    :param arguments: those of :class:`~airflow_bulk.triggers.executions.ExecutionsTrigger`.
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
        """The instance, in words."""
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


class _Look:
    """One look of a watcher: what is over, and, once somebody has fired on it, how that is remembered."""

    def __init__(self, over: list[IntegrationBatchSnapshot]) -> None:
        self.over = over
        self.memory: _Memory | None = None
        self.fired: list[IntegrationBatchSnapshot] = []


class _Memory:
    """Which runs an asset has been told of: fired in this process, and kept in the asset's own state.

    :param store: of one asset; None (outside a triggerer) remembers in memory alone.
    """

    KEY = "integration_batch.{}"
    #: Ids kept; runs that were to start before the oldest of them are never told again.
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
        """Read what was kept."""
        stored = await self._store.aget(self._key) if self._store is not None else None
        if isinstance(stored, dict):
            self.fresh = False
            self._kept = {str(one): float(at) for one, at in stored["told"].items()}
            self._floor = float(stored["floor"])

    def unknown(self, runs: Sequence[IntegrationBatchSnapshot]) -> list[IntegrationBatchSnapshot]:
        """Runs that nobody was told of, oldest first."""
        known = self._kept.keys() | self._fired
        left = [one for one in runs if one.id not in known and _at(one) >= self._floor]
        return sorted(left, key=lambda one: (_at(one), judging.id_order(one.id)))

    def fire(self, runs: Sequence[IntegrationBatchSnapshot]) -> None:
        """Never fire these again in this process."""
        self._fired.update(one.id for one in runs)

    async def keep(self, runs: Sequence[IntegrationBatchSnapshot]) -> None:
        """Keep these, and nothing that was only fired: Airflow may not have stored that yet.

        When it raises, the next call writes these as well.
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

    What was over when the watching began fires nothing. From then on each run fires once, also over restarts of the
    triggerer: what was told is kept in the asset's state, written when Airflow has stored the event. Only a triggerer
    killed between these two writes (a second or two) tells a run again; its ``execution_id`` is the same then.

    :param instance_id: the instance.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    :param poll_interval: seconds between two looks.
    :param execution_types: which runs count: ``CRON``, ``MANUAL``.
    :param statuses: fire only on these; None fires on every end but a cancel.
    :param reach_days: how far back lists are read: an older run that ends now is not seen.
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

    def shared_stream_key(self) -> Hashable:
        """All arguments: Airflow then says when our events are stored, which a trigger of its own never learns."""
        _, arguments = self.serialize()
        return tuple((name, str(value)) for name, value in sorted(arguments.items()))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return what looks, and what is told that the events of a look are stored."""
        return _Producer(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[_Look]) -> AsyncIterator[TriggerEvent]:
        """Turn looks into events."""
        memory = _Memory(self._one_store(), self.instance_id)
        await memory.load()
        async for look in shared_stream:
            if memory.fresh:
                # Watching begins: what is over already is nobody's news.
                await memory.keep(look.over)
                continue
            look.memory, look.fired = memory, memory.unknown(look.over)
            memory.fire(look.fired)
            for run in look.fired:
                yield TriggerEvent(run_report(self.instance_id, run))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look and fire where Airflow does not share streams: remembered as soon as an event was taken."""
        memory = _Memory(self._one_store(), self.instance_id)
        await memory.load()
        async with aclosing(self.looks()) as looks:
            async for look in looks:
                if memory.fresh:
                    await memory.keep(look.over)
                for run in memory.unknown(look.over):
                    yield TriggerEvent(run_report(self.instance_id, run))
                    await memory.keep([run])

    async def looks(self) -> AsyncGenerator[_Look, None]:
        """Look for ever. Whatever goes wrong is told and waited out: a watcher that ends is nobody's retry."""
        while True:
            watching = shared_hooks().watch(
                self.mediarithmics_conn_id,
                ("watch", self.instance_id, self.reach_days),
                self.hook,
                self._list,
                0.0,
                lambda found: self.poll_interval,
            )
            try:
                async with aclosing(watching) as found:
                    async for runs in found:
                        yield _Look([one for one in runs if self._counts(one)])
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
        return await IntegrationBatchExecutions(hook, self.instance_id, since).alook()

    def _one_store(self) -> Any:
        """The state of one asset; of several that this trigger serves, the first by name serves all."""
        stores = self.asset_state_store
        if stores is None:
            return None
        # Airflow tells a trigger's assets nowhere else (3.3), and with several its accessor wants one named.
        by_name = {**stores._by_uri, **stores._by_name}
        return by_name[min(by_name)] if by_name else None


class _Producer(SharedStreamProducer):
    """Looks for a watcher, and remembers what was fired once Airflow has stored it.

    :param trigger: a copy of the watcher; its assets are not known here.
    """

    def __init__(self, trigger: IntegrationBatchEventTrigger) -> None:
        self._trigger = trigger

    async def open_stream(self) -> AsyncIterator[tuple[_Look, _Look]]:
        """Yield each look, and itself as what :meth:`advance` gets back."""
        async with aclosing(self._trigger.looks()) as looks:
            async for look in looks:
                yield look, look

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Remember what was fired on these looks; a look whose events were not stored is told again after a restart."""
        for item in batch:
            look: _Look = item.broker_payload
            if look.memory is not None and item.outcome.is_clean:
                try:
                    await look.memory.keep(look.fired)
                except Exception:
                    # Ending the stream would tell it again at once; the next look writes it, too.
                    self._trigger.log.exception(
                        "What was told of %s is not kept yet.", self._trigger.instance_id
                    )
