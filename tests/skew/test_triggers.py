"""What waits in a triggerer while the package is upgraded: triggers of the version before, events that a worker of another one reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from saved_world import bring_back, from_text, new_world, time_of
from stored import SAMPLES, Sample, brought_back, chosen, contents, samples, versions
from watcher import NAME, WatchedAsset, told

from airflow_bulk.get_provider_info import get_provider_info


async def first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


@pytest.mark.parametrize("sample", chosen("deferred"))
def test_a_stored_trigger_fires_and_the_task_goes_on(sample: Sample, tmp_path: Path) -> None:
    """The trigger is built of its stored arguments and sees what it saw then; the task takes the event of the older triggerer."""
    with brought_back(sample, tmp_path) as (one, kind, plain):
        one.deferrals += 1
        kind.meanwhile()
        path, arguments = plain["trigger"]
        trigger = import_string(path)(**arguments)
        assert trigger.serialize() == (path, arguments)
        assert trigger.newer == {}
        trigger.first = 0.0  # seconds for a worker that is gone
        event = asyncio.run(first_event(trigger))
        assert {name: event.get(name) for name in plain["event"]} == plain["event"]
        one.resume(plain["event"])
        kind.check(one.ended)


@pytest.mark.parametrize("version", versions())
def test_a_stored_watcher_tells_new_runs_alone(version: str, tmp_path: Path) -> None:
    """It remembers by what the older version has stored in the asset's state."""
    text = (SAMPLES / version / "watcher.json").read_text()
    with new_world(tmp_path, NAME) as world:
        plain = from_text(text, world)
        bring_back(plain["world"], world, contents(version))
        path, arguments = plain["trigger"]
        trigger = import_string(path)(**arguments)
        assert trigger.serialize() == (path, arguments)
        with time_of(plain["world"]):
            event = asyncio.run(told(world, trigger, WatchedAsset(plain["remembered"])))
    assert plain["event"].keys() <= event.keys()
    assert event["execution_id"] > plain["event"]["execution_id"]


def test_every_trigger_is_sampled() -> None:
    """Each class that waits for a task has a sample, so that none is renamed unseen."""
    sampled = {one.plain["trigger"][0].rpartition(".")[0] for one in samples() if one.moment == "deferred"}
    listed = {module for each in get_provider_info()["triggers"] for module in each["python-modules"]}
    bases = {f"airflow_bulk.triggers.{name}" for name in ("poller", "shown", "stopped", "waiting")}
    assert listed - bases == sampled
