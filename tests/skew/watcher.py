"""A watcher of a batch's cron: its stored arguments, what it remembers in the state of its asset, and an event of it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from airflow.sdk.module_loading import import_string
from killed_world import World
from saved_world import Contents, as_text, new_world, save

HOUR = 3600.0
NAME = "watcher"


class WatchedAsset:
    """The state of one asset, as a triggerer hands it to a watcher."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.values = values or {}
        self._by_name = {"scores": self}
        self._by_uri: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


def watched_instance(world: World) -> str:
    """An instance with an hourly cron, whose runs are over at once."""
    instance: str = world.batches.add("watched", cron="0 * * * *", cron_status="ACTIVE")
    return instance


async def told(world: World, trigger: Any, asset: WatchedAsset) -> dict[str, Any]:
    """Watch until the run of the next hour is told, and remembered as told."""
    trigger.asset_state_store = asset
    events = trigger.run()
    following = asyncio.ensure_future(anext(events))
    while not asset.values:  # the watching begins: what is over already is not told
        await asyncio.sleep(0.02)
    await asyncio.to_thread(world.emulator.clock.advance, HOUR)
    event: dict[str, Any] = (await following).payload
    following = asyncio.ensure_future(anext(events))
    while event["execution_id"] not in next(iter(asset.values.values()))["told"]:
        await asyncio.sleep(0.02)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await events.aclose()
    return event


def take_watcher(contents: Contents) -> dict[str, Any]:
    """A watcher that has told one run."""
    from airflow_bulk.triggers.integration_batch import IntegrationBatchEventTrigger

    with tempfile.TemporaryDirectory() as folder, new_world(Path(folder), NAME) as world:
        trigger = IntegrationBatchEventTrigger(watched_instance(world), poll_interval=0.05)
        path, arguments = trigger.serialize()
        asset = WatchedAsset()
        event = asyncio.run(told(world, import_string(path)(**arguments), asset))
        taken = {"trigger": [path, arguments], "remembered": asset.values, "event": event}
        text = as_text({**taken, "world": save(world, contents)}, world)
    sample: dict[str, Any] = json.loads(text)
    return sample
