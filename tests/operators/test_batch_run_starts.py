"""The start that a run of a batch asks for is its own: what another task asked for is never taken for it."""

from __future__ import annotations

import itertools
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from one_task import MemoryStore

from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator


@pytest.fixture
def at() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


class KilledWhen(MemoryStore):
    """Dies once, right after a write that holds a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value, retention=retention)
        if self.text and self.text in self.values[key]:
            self.text = ""
            raise KeyboardInterrupt


def asked_by(task: Any, instance: str, at: datetime, store: MemoryStore | None = None) -> Any:
    return task(
        lambda: RunIntegrationBatchOperator(
            task_id="t",
            instance_id=instance,
            expected_start_date=at,
            wait_for_completion=False,
            settle=0.1,
        ),
        store,
    )


def test_two_tasks_with_one_start_do_not_share_an_execution(
    batches: IntegrationBatchEmulator, task: Any, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed before its POST, and the other one's execution is there when it comes back."""
    # By chance they are the same once in a thousand times; a test must not be.
    chosen = itertools.count()
    monkeypatch.setattr(secrets, "randbelow", lambda below: next(chosen))
    instance = batches.add()
    one = asked_by(task, instance, at, KilledWhen('"posts": 1'))
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert batches.executions(instance) == []
    other = asked_by(task, instance, at).run()
    mine = one.run()
    assert [made["id"] for made in batches.executions(instance)] == [
        other["execution_id"],
        mine["execution_id"],
    ]


@pytest.mark.parametrize("written", ['"posts": 0', '"posts": 1'])
def test_what_somebody_asked_for_at_a_full_second_is_not_taken_for_ours(
    batches: IntegrationBatchEmulator, task: Any, at: datetime, written: str
) -> None:
    instance = batches.add()
    one = asked_by(task, instance, at, KilledWhen(written))
    with pytest.raises(KeyboardInterrupt):
        one.run()
    theirs = MediarithmicsHook().create_batch_execution(instance, int(at.timestamp() * 1000))
    assert one.run()["execution_id"] != theirs.id
    assert len(batches.executions(instance)) == 2


def test_a_try_that_never_came_to_its_post_takes_nothing(
    batches: IntegrationBatchEmulator, task: Any, at: datetime
) -> None:
    """Not even an execution with the very same start."""
    instance = batches.add()
    one = asked_by(task, instance, at, KilledWhen('"posts": 0'))
    with pytest.raises(KeyboardInterrupt):
        one.run()
    (start,) = one.store.get("g1.execution.1")["starts"]
    theirs = MediarithmicsHook().create_batch_execution(instance, start)
    assert one.run()["execution_id"] != theirs.id


def test_the_start_stays_the_same_over_tries(
    batches: IntegrationBatchEmulator, task: Any, at: datetime
) -> None:
    instance = batches.add()
    one = asked_by(task, instance, at, KilledWhen('"posts": 1'))
    with pytest.raises(KeyboardInterrupt):
        one.run()
    (start,) = one.store.get("g1.execution.1")["starts"]
    assert 0 < start - at.timestamp() * 1000 < 1000
    one.run()
    (made,) = batches.executions(instance)
    assert made["parameters"]["expected_start_date"] == start
