"""What a trigger tells the page of a task that waits: on change, and never at the cost of the wait."""

from __future__ import annotations

import asyncio
import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_bulk.judging import KeepWaiting, Totals
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.shown import NOW_KEY, Pace
from airflow_bulk.triggers import shown
from airflow_bulk.triggers.shown import ShownWaiting

TI = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=3)


class Supervisor:
    """The supervisor's channel of a triggerer: takes XCom, fails, or never answers."""

    def __init__(self, how: str = "takes") -> None:
        self.how = how
        self.set: list[Any] = []

    async def asend(self, message: Any) -> None:
        if self.how == "hangs":
            await asyncio.Event().wait()
        if self.how == "fails":
            raise ConnectionError("no supervisor")
        self.set.append(message)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    played = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", played, raising=False)
    return played


def seen(status: str) -> list[RemoteSnapshot]:
    state = RemoteStatus.GOING if status == "RUNNING" else RemoteStatus.PENDING
    return [RemoteSnapshot(id="7", remote_status=state, status=status)]


def waiting(status: str) -> KeepWaiting:
    return KeepWaiting(5.0, Totals(executions={status.lower(): 1}), "1 of 1 execution is not over")


async def told(one: ShownWaiting, *statuses: str) -> None:
    for status in statuses:
        await one.tell(seen(status), waiting(status))


def watching() -> ShownWaiting:
    one = ShownWaiting(TI)
    one._pace = Pace(every=0.0)
    return one


async def test_it_tells_what_has_changed(supervisor: Supervisor) -> None:
    await told(watching(), "PENDING", "PENDING", "RUNNING")
    assert [(one.key, one.map_index, one.value["each"][0][1]) for one in supervisor.set] == [
        (NOW_KEY, 3, "PENDING"),
        (NOW_KEY, 3, "RUNNING"),
    ]


async def test_a_write_that_fails_is_made_up_for(supervisor: Supervisor) -> None:
    one = watching()
    supervisor.how = "fails"
    await told(one, "PENDING")
    # Nobody need change for it: the trigger wakes for that.
    assert math.isfinite(one.again_at)
    supervisor.how = "takes"
    await told(one, "PENDING")
    assert len(supervisor.set) == 1
    assert math.isinf(one.again_at)


async def test_a_write_that_never_ends_does_not_hold_up_the_wait(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "WRITING_SECONDS", 0.01)
    supervisor.how = "hangs"
    await asyncio.wait_for(told(watching(), "PENDING"), 30)


async def test_all_that_wait_share_the_pace(supervisor: Supervisor) -> None:
    one = watching()
    with contextlib.ExitStack() as all_that_wait:
        for _ in range(100):
            all_that_wait.enter_context(one)
        await told(one, "PENDING", "RUNNING")
    assert len(supervisor.set) == 1  # of 100 that wait, each one at most every 5 s
    assert ShownWaiting.waiting == 0


async def test_the_first_words_of_a_crowd_are_spread(supervisor: Supervisor) -> None:
    crowd = [ShownWaiting(TI) for _ in range(400)]
    with contextlib.ExitStack() as all_that_wait:
        for one in crowd:
            all_that_wait.enter_context(one)
        for one in crowd:
            await told(one, "PENDING")
    # 400 tasks at 10 a second take 40 s; each of them wakes when its time has come.
    assert len(supervisor.set) < 200
    assert sum(math.isfinite(one.again_at) for one in crowd) == 400 - len(supervisor.set)


async def test_without_a_task_nothing_is_told(supervisor: Supervisor) -> None:
    await told(ShownWaiting(None), "PENDING")
    assert supervisor.set == []
