"""Every kind of batch that a task runs, and what "everything exactly once" means for it."""

from __future__ import annotations

from typing import Any

from delegating import LIST, REFUSED, DelegatedTask, ids, store_another
from killed_runs import Kind, MortalTask, Named
from killed_world import World, clear, cleared_while_it_waits, failing, run
from loading import accounts, loading, loads, posts
from one_task import running

from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.integration_batch import (
    EnsureIntegrationBatchOperator,
    PauseIntegrationBatchOperator,
    string_property,
)

# Integration batches.


def _batch(world: World, **more: Any) -> Kind:
    instance = world.batches.add(f"batch-{world.folder.name}")

    def check(times: int) -> None:
        made = [one["status"] for one in world.batches.executions(instance)]
        assert made.count("SUCCEEDED") == times and set(made) <= {"SUCCEEDED", "CANCELED"}, made

    return Kind(running(instance, poll_interval=0.1, settle=0.05, **more), check, heal=world.heal)


def batch_runs(world: World) -> Kind:
    return _batch(world)


def batch_runs_cleared_after_success(world: World) -> Kind:
    kind = _batch(world)
    kind.steps = [run, clear, run]
    kind.like = batch_runs
    return kind


def batch_runs_deferred_and_cancelled_by_somebody(world: World) -> Kind:
    kind = _batch(world, deferrable=True)
    world.slow()

    def cancel() -> None:
        for instance in world.batches.instances():
            for one in world.batches.executions(instance["id"]):
                if one["status"] == "PENDING":
                    MediarithmicsHook().cancel_batch_execution(instance["id"], one["id"])
        world.quick()

    kind.meanwhile = cancel
    kind.like = batch_runs
    return kind


def batch_runs_cleared_while_they_wait(world: World) -> Kind:
    kind = _batch(world, deferrable=True)
    world.slow()
    kind.meanwhile, kind.steps = world.later, [cleared_while_it_waits]
    kind.like = batch_runs
    return kind


def batch_runs_that_are_late(world: World) -> Kind:
    options: dict[str, Any] = {"timeout": 0.1}
    kind = _batch(world)
    made = kind.make

    def make() -> Any:
        operator = made()
        operator.timeout = options["timeout"]
        return operator

    def heal() -> None:
        world.heal()
        options["timeout"] = 600

    def again(one: MortalTask) -> None:
        heal()
        one.clear()
        one.run()

    world.slow()
    kind.make, kind.heal, kind.steps = make, heal, [failing, again]
    kind.like = batch_runs
    return kind


def ensured_batches(world: World) -> Kind:
    def ensure() -> Any:
        return EnsureIntegrationBatchOperator(
            task_id="t",
            group_id="com.example.batch",
            artifact_id="nightly",
            version_id="1.0.0",
            name="n",
            plugin_properties=[
                string_property("provider", "example", origin="PLUGIN_STATIC"),
                string_property("name", "first", origin="PLUGIN_STATIC"),
            ],
            settle=0.05,
        )

    def check(times: int) -> None:
        assert len(world.batches.instances()) == 1

    return Kind(ensure, check, [run, clear, run])


def paused_batches(world: World) -> Kind:
    instance = world.batches.add("paused", cron="0 3 * * *", cron_status="ACTIVE")

    def check(times: int) -> None:
        (one,) = world.batches.instances()
        assert one["cron_status"] == "PAUSED"

    def pause() -> Any:
        return PauseIntegrationBatchOperator(task_id="t", instance_id=instance)

    return Kind(pause, check, [run, clear, run])


# Centrapay batches.


def _centrapay(world: World, **more: Any) -> Kind:
    url = world.files.put("/a.jsonl", accounts(3))

    def check(times: int) -> None:
        assert len(world.centrapay.batches()) == times and loads(world.centrapay) == {times}

    def asked() -> None:
        assert posts(world.centrapay) <= 1 and len(world.centrapay.batches()) <= 1

    return Kind(loading(url=url, **more), check, heal=world.heal, asks="a batch may exist", asked=asked)


def centrapay_batches(world: World) -> Kind:
    return _centrapay(world)


def centrapay_batches_deferred(world: World) -> Kind:
    world.slow()
    kind = _centrapay(world, deferrable=True)
    kind.meanwhile = world.later
    kind.like = centrapay_batches
    return kind


def centrapay_batches_refused_at_first(world: World) -> Kind:
    world.emulator.fault("forbidden", path="^/api/batches$", method="POST", times=1)
    kind = _centrapay(world)
    kind.steps = [failing, run]
    kind.asked = lambda: None
    kind.like = centrapay_batches
    return kind


# Batches that an extract/load server runs.


def _delegated(world: World, **more: Any) -> Kind:
    old = {store_another()}
    made = DelegatedTask(poll_interval=0.1, settle=0.05, **more)

    def check(times: int) -> None:
        assert len(set(ids()) - old) == times, ids()

    return Kind(made.make, check, heal=world.heal)


def delegated_batches(world: World) -> Kind:
    return _delegated(world)


def delegated_batches_deferred(world: World) -> Kind:
    world.slow()
    kind = _delegated(world, deferrable=True)
    kind.meanwhile = world.later
    kind.like = delegated_batches
    return kind


def delegated_batches_refused_at_first(world: World) -> Kind:
    kind = _delegated(world)
    world.emulator.fault("rate_limited", path=LIST, method="POST", times=1, retry_after=0)
    kind.like = delegated_batches
    return kind


def delegated_batches_cleared_while_they_wait(world: World) -> Kind:
    world.slow()
    kind = _delegated(world, deferrable=True)

    kind.meanwhile, kind.steps = world.later, [cleared_while_it_waits]
    kind.like = delegated_batches
    return kind


def delegated_batches_that_a_person_decides(world: World) -> Kind:
    """The answer is lost and another of the same jobs appears: a person looks, and clears."""
    others = {store_another()}
    made = DelegatedTask(poll_interval=0.1, settle=0.05)

    def in_doubt(one: MortalTask) -> None:
        world.emulator.fault("lost_answer", path=LIST, method="POST", times=1)
        world.emulator.fault(**REFUSED, path=LIST, skip=1, times=1)
        failing(one)
        others.add(store_another())
        failing(one)

    def check(times: int) -> None:
        # Once another one is there, only a person who was asked can have had a second one stored.
        assert len(set(ids()) - others) == len(others)

    def asked() -> None:
        assert len(others) == 2
        assert len(set(ids()) - others) == 1

    return Kind(
        made.make,
        check,
        [in_doubt, clear, run],
        heal=world.heal,
        like=delegated_batches,
        asks="stores nothing while this is so",
        asked=asked,
    )


BATCHES: list[Named] = [
    batch_runs,
    batch_runs_cleared_after_success,
    batch_runs_deferred_and_cancelled_by_somebody,
    batch_runs_cleared_while_they_wait,
    batch_runs_that_are_late,
    ensured_batches,
    paused_batches,
    centrapay_batches,
    centrapay_batches_deferred,
    centrapay_batches_refused_at_first,
    delegated_batches,
    delegated_batches_deferred,
    delegated_batches_refused_at_first,
    delegated_batches_cleared_while_they_wait,
    delegated_batches_that_a_person_decides,
]
#: They die at every write; the others, which add odd circumstances, at the first write of each place in the code.
PLAIN = [batch_runs, centrapay_batches, delegated_batches]
