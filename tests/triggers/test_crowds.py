"""Many triggers wait at once: what they log, how many connections they open, and what leaves after a ``Retry-After``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from fed_import import FedImport
from unread_pipe import UnreadPipe

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.transport import CALLS_AT_ONCE
from airflow_bulk.triggers.document_import import DocumentImportTrigger

Make = Callable[..., DocumentImportTrigger]
OTHERS = 3 * CALLS_AT_ONCE


async def fired(trigger: DocumentImportTrigger) -> Any:
    async with aclosing(trigger.run()) as events:
        async for event in events:
            return event.payload["state"]
    raise AssertionError("no event")


async def looked(fed: FedImport, times: int) -> None:
    """Until the list was asked for so often from now on."""
    wanted = fed.looks() + times
    while fed.looks() < wanted:
        await asyncio.sleep(0.02)


async def start_and_end(fed: FedImport, executions: list[str], triggers: list[DocumentImportTrigger]) -> Any:
    """Each execution begins, later each ends, while the triggers wait."""
    waiting = [asyncio.create_task(fired(one)) for one in triggers]
    await looked(fed, 5)
    for one in executions:
        fed.start(one)
    await looked(fed, 2)
    for one in executions:
        fed.end(one)
    return await asyncio.gather(*waiting)


def said_by_the_triggerer(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "airflow_bulk.triggers.looks"]


class TaskLog:
    """The log of a task: the tests' Airflow drops lines below a warning."""

    def __init__(self, trigger: DocumentImportTrigger) -> None:
        self.lines: list[str] = []
        trigger._log = self

    def log(self, level: int, text: str, *values: Any) -> None:
        self.lines.append(text % values)


def test_a_change_is_one_line_however_many_wait(
    make: Make, fed: FedImport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ids = [fed.upload() for _ in range(10)]
    triggers = [make(executions=[one], first=0.3) for one in ids]
    logs = [TaskLog(one) for one in triggers]
    assert asyncio.run(start_and_end(fed, ids, triggers)) == ["over"] * 10
    lines = said_by_the_triggerer(caplog)
    assert f"10 tasks wait for document import {fed.id}: 10 pending; 0 lines accepted, 0 failed." in lines
    assert any("10 running;" in one for one in lines)
    assert len(lines) == len(set(lines)) <= fed.looks()
    # Each task says once in its own log what it waits for, and where each change is told.
    assert all(len(one.lines) <= 1 for one in logs)
    own = [line for one in logs for line in one.lines]
    assert own and all(
        "10 tasks wait for the same: the triggerer's log has each change" in one for one in own
    )


def test_a_log_that_nobody_reads_holds_up_no_poll(
    make: Make, fed: FedImport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ids = [fed.upload() for _ in range(10)]
    pipe = UnreadPipe()

    async def story() -> Any:
        waiting = [asyncio.create_task(fired(make(executions=[one], first=0.3))) for one in ids]
        await looked(fed, 3)
        for one in ids:
            fed.end(one)
        await looked(fed, 1)
        # Only the loop lets the writer go on: polls that waited for a line would wait in vain.
        pipe.read.set()
        return await asyncio.gather(*waiting)

    logging.getLogger("airflow_bulk").addHandler(pipe)
    try:
        assert asyncio.run(story()) == ["over"] * 10
    finally:
        logging.getLogger("airflow_bulk").removeHandler(pipe)
    assert pipe.lines and not pipe.gave_up


def test_who_waits_alone_tells_each_change_itself(
    make: Make, fed: FedImport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mine = fed.upload()
    trigger = make()
    log = TaskLog(trigger)
    assert asyncio.run(start_and_end(fed, [mine], [trigger])) == ["over"]
    assert [one.partition("over. ")[2] for one in log.lines] == [
        "1 pending; 0 lines accepted, 0 failed.",
        "1 running; 0 lines accepted, 0 failed.",
    ]
    assert said_by_the_triggerer(caplog) == []


def test_it_fires_once_it_was_quiet_though_nothing_changes(make: Make, fed: FedImport) -> None:
    fed.end(fed.upload())
    assert asyncio.run(fired(make(quiet_for=1.5))) == "over"
    assert fed.looks() > 2


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the connections that are opened."""

    opened = 0

    async def create_connection(self, *given: Any, **named: Any) -> Any:
        self.opened += 1
        return await super().create_connection(*given, **named)


async def all_fired(triggers: list[DocumentImportTrigger]) -> list[Any]:
    return await asyncio.gather(*(fired(one) for one in triggers))


@pytest.fixture
def crowd(make: Make, emulator: Emulator) -> list[DocumentImportTrigger]:
    """Each waits for an import of its own, which is over; all look at once."""
    imports = [FedImport(emulator) for _ in range(OTHERS)]
    for one in imports:
        one.end(one.upload())
    emulator.clear_requests()
    return [make(import_id=one.id, first=0.3) for one in imports]


def test_many_imports_are_looked_at_over_few_connections(
    crowd: list[DocumentImportTrigger], emulator: Emulator
) -> None:
    emulator.fault("slow", answer_delay=0.2, method="GET")
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(all_fired(crowd)) == ["over"] * OTHERS
        assert runner.get_loop().opened == CALLS_AT_ONCE  # type: ignore[attr-defined]
    assert len(emulator.requests()) == OTHERS


def test_nothing_leaves_within_a_retry_after(crowd: list[DocumentImportTrigger], emulator: Emulator) -> None:
    # The others of the first calls are answered while the platform wants to be left alone, so that connections are free.
    emulator.fault("rate_limited", retry_after=3, times=1)
    emulator.fault("slow", answer_delay=1.0, method="GET", skip=1, times=CALLS_AT_ONCE - 1)
    assert asyncio.run(all_fired(crowd)) == ["over"] * OTHERS
    asked = sorted(one["at"] for one in emulator.requests())
    assert len(asked) == OTHERS + 1
    (refused,) = (one for one in emulator.requests() if one["status"] == 429)
    # Those that were on their way had left before the answer came.
    assert sum(at < refused["at"] + 3000 for at in asked) <= CALLS_AT_ONCE
