"""The triggers of batches against the emulator: when they fire, what they cancel, what they tell once and only once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome
from played_airflow import stop

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.triggers.integration_batch import IntegrationBatchEventTrigger, IntegrationBatchTrigger

DAY = 86_400


def stored(trigger: Any) -> Any:
    """A trigger as it comes out of Airflow's database."""
    path, arguments = trigger.serialize()
    return import_string(path)(**arguments)


@pytest.fixture
def batches(emulator: Emulator) -> IntegrationBatchEmulator:
    emulator.clock.freeze()
    emulator.settings(start_delay=0, run_seconds=60)
    return IntegrationBatchEmulator(emulator)


@pytest.fixture
def instance(batches: IntegrationBatchEmulator) -> str:
    return batches.add(cron="0 3 * * *", cron_status="ACTIVE")


async def first_event(trigger: Any) -> Any:
    async with aclosing(trigger.run()) as events:
        async for event in events:
            return event.payload
    return None


def waiting(conn_id: str, instance: str, **arguments: Any) -> IntegrationBatchTrigger:
    given = {"started": time.time(), "poll_interval": 0.1, **arguments}
    return stored(IntegrationBatchTrigger(conn_id=conn_id, instance_id=instance, **given))


async def test_fires_when_the_execution_is_over(
    conn_id: str, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    hook = MediarithmicsHook(conn_id)
    mine, other = (
        hook.create_batch_execution(instance, emulator.clock.now() + delay).id for delay in (0, 600_000)
    )
    trigger = waiting(conn_id, instance, executions=[mine])
    events = asyncio.create_task(first_event(trigger))
    while not any(one["path"].endswith("/executions") for one in emulator.requests()):
        await asyncio.sleep(0.02)
    assert not events.done()
    await asyncio.to_thread(emulator.clock.advance, 61)
    event = await events
    assert (event["state"], event["instance_id"], event["executions"]) == ("over", instance, 1)
    assert hook.get_batch_execution(instance, other).status == "PENDING"


async def test_the_runs_of_a_window_count(
    conn_id: str, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    (coming,) = batches.executions(instance)
    at = coming["parameters"]["expected_start_date"] / 1000
    emulator.clock.advance(at - emulator.clock.now() / 1000 + 61)
    batches.change_execution(coming["id"], fate="failed")
    trigger = waiting(conn_id, instance, since=at, window=(at, at + 1))
    assert (await first_event(trigger))["state"] == "failed"
    late = waiting(conn_id, instance, since=at, window=(at - 10, at), deadline=time.time())
    assert (await first_event(late))["state"] == "deadline"


async def test_waiters_of_one_day_share_each_look(
    conn_id: str, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    hook = MediarithmicsHook(conn_id)
    ids = [hook.create_batch_execution(instance, emulator.clock.now() + 1).id for _ in range(20)]
    since = emulator.clock.now() / 1000 // DAY * DAY
    emulator.clock.advance(62)
    emulator.clear_requests()
    triggers = [waiting(conn_id, instance, executions=[one], since=since + 1, first=0.3) for one in ids]
    events = await asyncio.gather(*(first_event(one) for one in triggers))
    assert {event["state"] for event in events} == {"over"}
    assert len(emulator.requests()) <= 3


@pytest.mark.parametrize(("cancel", "status"), [(True, "CANCELED"), (False, "PENDING")])
def test_on_kill_cancels_what_is_its_own(
    conn_id: str,
    emulator: Emulator,
    instance: str,
    cancel: bool,
    status: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = MediarithmicsHook(conn_id)
    mine, other = (hook.create_batch_execution(instance, emulator.clock.now() + 600_000).id for _ in range(2))
    emulator.fault("refuse_cancel", method="PUT", path=r"/executions/\d+$")
    stop(waiting(conn_id, instance, executions=[mine], cancel_on_kill=cancel), monkeypatch=monkeypatch)
    assert hook.get_batch_execution(instance, mine).status == status
    assert hook.get_batch_execution(instance, other).status == "PENDING"


# The watcher.


class AssetState:
    """The state of one asset, as a triggerer hands it to a watcher."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._by_name = {"scores": self}
        self._by_uri: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


class Triggerer:
    """Runs a watcher's stream as Airflow does, one look at a time; what was stored may be acknowledged or not."""

    def __init__(self, conn_id: str, instance: str, state: AssetState, **more: Any) -> None:
        self.trigger = stored(IntegrationBatchEventTrigger(instance, conn_id, poll_interval=0.05, **more))
        self.trigger.asset_state_store = state
        _, arguments = self.trigger.serialize()
        self.producer = type(self.trigger).create_shared_stream_producer(arguments)
        self.stream = self.producer.open_stream()

    async def look(self, *, acknowledged: bool = True, of: int = 1) -> list[str]:
        """Look, fire, and acknowledge; return the executions that were told."""
        looks = []

        async def some() -> AsyncIterator[Any]:
            for _ in range(of):
                raw, payload = await anext(self.stream)
                looks.append(payload)
                yield raw

        told = [event.payload["execution_id"] async for event in self.trigger.filter_shared_stream(some())]
        if acknowledged:
            await self.producer.advance([AdvanceItem(one, AdvanceOutcome(1, 0)) for one in looks])
        return told

    async def news(self) -> list[str]:
        """Look until something is told: another watcher's earlier look may come first."""
        for _ in range(100):
            if told := await self.look():
                return told
        raise AssertionError("nothing was told")

    async def close(self) -> None:
        await self.stream.aclose()


@pytest.fixture
async def triggerers(conn_id: str, instance: str) -> AsyncIterator[Any]:
    made: list[Triggerer] = []

    def make(state: AssetState, **more: Any) -> Triggerer:
        made.append(Triggerer(conn_id, more.pop("instance", instance), state, **more))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def fire(emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, **changes: Any) -> str:
    """Let the coming run start and end; return it."""
    coming = batches.executions(instance)[-1]
    if changes:
        batches.change_execution(coming["id"], **changes)
    ahead = coming["parameters"]["expected_start_date"] - emulator.clock.now()
    emulator.clock.advance(ahead / 1000 + 61)
    return str(coming["id"])


async def test_each_run_is_told_once_over_restarts(
    triggerers: Any, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    state = AssetState()
    fire(emulator, batches, instance)
    first = triggerers(state)
    # What was over when the watching began is nobody's news.
    assert await first.look() == []
    ids = [fire(emulator, batches, instance) for _ in range(2)]
    assert await first.look() == ids
    assert await first.look() == []
    await first.close()
    missed = fire(emulator, batches, instance)
    second = triggerers(state)
    assert await second.look() == [missed]
    assert await second.look() == []


async def test_what_airflow_has_not_stored_is_told_again(
    triggerers: Any, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    state = AssetState()
    await triggerers(state).look()
    run = fire(emulator, batches, instance)
    first = triggerers(state)
    assert await first.look(acknowledged=False) == [run]
    await first.close()
    assert await triggerers(state).look() == [run]
    assert await triggerers(state).look() == []


async def test_a_state_that_cannot_be_written_is_written_later(
    triggerers: Any, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    class Refusing(AssetState):
        refusals = 0

        async def aset(self, key: str, value: Any) -> None:
            if self.refusals:
                self.refusals -= 1
                raise ConnectionError("the API server is away")
            await super().aset(key, value)

    state = Refusing()
    watcher = triggerers(state)
    await watcher.look()
    run = fire(emulator, batches, instance)
    state.refusals = 1
    assert await watcher.look(of=2) == [run]
    await watcher.close()
    assert await triggerers(state).look() == []


async def test_within_one_process_nothing_is_told_twice_while_airflow_stores_it(
    triggerers: Any, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    state = AssetState()
    await triggerers(state).look()
    run = fire(emulator, batches, instance)
    assert await triggerers(state).look(acknowledged=False, of=3) == [run]


async def test_cancelled_and_manual_runs_are_no_news_failed_ones_are(
    triggerers: Any,
    conn_id: str,
    emulator: Emulator,
    batches: IntegrationBatchEmulator,
    instance: str,
) -> None:
    state, everything = AssetState(), AssetState()
    watcher = triggerers(state)
    other = triggerers(everything, execution_types=("CRON", "MANUAL"), statuses=("SUCCEEDED",))
    await watcher.look()
    await other.look()
    hook = MediarithmicsHook(conn_id)
    manual = hook.create_batch_execution(instance, emulator.clock.now()).id
    hook.update_batch_instance(instance, {"cron_status": "PAUSED"})
    hook.update_batch_instance(instance, {"cron_status": "ACTIVE"})
    failed = fire(emulator, batches, instance, fate="failed")
    assert await watcher.news() == [failed]
    assert await other.news() == [manual]


async def test_trouble_does_not_end_a_watcher(
    triggerers: Any,
    emulator: Emulator,
    batches: IntegrationBatchEmulator,
    instance: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = AssetState()
    watcher = triggerers(state)
    await watcher.look()
    run = fire(emulator, batches, instance)
    monkeypatch.setattr("airflow_bulk.triggers.integration_batch.AFTER_ERROR", 0.05)
    emulator.fault("forbidden", path="/executions$", times=2)
    assert await watcher.look() == [run]


async def test_without_shared_streams_it_runs_by_itself(
    conn_id: str, emulator: Emulator, batches: IntegrationBatchEmulator, instance: str
) -> None:
    state = AssetState()
    for told in (1, 2):
        trigger = stored(IntegrationBatchEventTrigger(instance, conn_id, poll_interval=0.05))
        trigger.asset_state_store = state
        events = trigger.run()
        following = asyncio.ensure_future(anext(events))
        while not state.values:
            await asyncio.sleep(0.02)
        run = await asyncio.to_thread(fire, emulator, batches, instance)
        assert (await following).payload["execution_id"] == run, told
        # The next step makes what was told last.
        step = asyncio.ensure_future(anext(events))
        while run not in next(iter(state.values.values()))["told"]:
            await asyncio.sleep(0.02)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        await events.aclose()


async def test_memory_is_bounded_and_old_runs_stay_told() -> None:
    from airflow_bulk.platforms.mediarithmics.integration_batches import IntegrationBatchSnapshot
    from airflow_bulk.platforms.status import RemoteStatus
    from airflow_bulk.triggers.integration_batch import _Memory

    state = AssetState()
    memory = _Memory(state, "8801")
    await memory.load()
    runs = [
        IntegrationBatchSnapshot(
            id=str(n), remote_status=RemoteStatus.SUCCEEDED, status="SUCCEEDED", expected_start=60.0 * n
        )
        for n in range(_Memory.KEPT + 500)
    ]
    await memory.keep(runs)
    again = _Memory(state, "8801")
    await again.load()
    assert len(next(iter(state.values.values()))["told"]) == _Memory.KEPT
    assert again.unknown(runs) == []
