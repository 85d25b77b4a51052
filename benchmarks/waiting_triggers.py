"""One event loop with many waiting triggers, as a triggerer has it, and what that costs the process.

Standard input has the case, and later when the platform ended all executions; standard output says that the triggers are
there, and then what was measured; standard error carries the log, as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

#: Seconds that the ticker sleeps; by how much each sleep is late is the lag of the loop.
TICK = 0.02
PAGE_BYTES = 4096
#: Seconds until the first poll of a trigger: as with ``[workers] min_heartbeat_interval = 1``.
FIRST = 2.0


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the connections that are opened."""

    opened = 0

    async def create_connection(self, *given: Any, **named: Any) -> Any:
        type(self).opened += 1
        return await super().create_connection(*given, **named)


class PlayedSupervisor:
    """Takes XCom, as the supervisor of a triggerer does, and counts it."""

    def __init__(self) -> None:
        self.taken = 0

    def send(self, message: Any) -> None:
        """What is to be masked."""

    async def asend(self, message: Any) -> None:
        self.taken += type(message).__name__ == "SetXCom"
        message.model_dump_json()  # as for the way over the channel
        await asyncio.sleep(0)


class Meter:
    """The lag of the loop, what of it this process has worked, and the memory of the process, sampled while it is entered."""

    def __init__(self) -> None:
        self.worst = self.worst_own = 0.0
        self.memory = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()

    async def own_processor(self) -> float:
        """Processor seconds that the meter itself uses in a second, while nothing else is there."""
        began, processor = time.monotonic(), time.process_time()
        await asyncio.sleep(5)
        return (time.process_time() - processor) / (time.monotonic() - began)

    async def _tick(self) -> None:
        sampled = 0.0
        while True:
            before, processor = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK)
            now = time.monotonic()
            lag = now - before - TICK
            self.worst = max(self.worst, lag)
            self.worst_own = max(self.worst_own, min(lag, time.process_time() - processor))
            if now - sampled > 0.5:
                sampled = now
                self.memory = max(self.memory, resident())


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def wait_for_case() -> None:
    """Read the case, wait, print."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.log import configure_logging

    case = json.loads(sys.stdin.readline())
    channel = os.fdopen(os.dup(2), "wb", buffering=0)
    configure_logging(json_output=True, output=channel, sending_to_supervisor=True)
    supervisor = PlayedSupervisor()
    task_runner.SUPERVISOR_COMMS = supervisor
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        measured, events = runner.run(_all(**case))
    ended = float(sys.stdin.readline())
    late = sorted(at - ended for at in events)
    measured |= {
        "connections": CountingLoop.opened,
        "XCom writes": supervisor.taken,
        "median s to event": statistics.median(late),
        "p99 s to event": late[int(0.99 * (len(late) - 1))],
    }
    print(json.dumps(measured), flush=True)


async def _all(
    datamart_id: str, executions: list[list[str]], interval: float
) -> tuple[dict[str, Any], list[float]]:
    from airflow_bulk.triggers.document_import import DocumentImportTrigger
    from airflow_bulk.triggers.shown import ShownWaiting

    async with Meter() as meter:
        a_second = await meter.own_processor()
        began, processor = time.monotonic(), time.process_time()
        tasks = []
        for number, (import_id, execution_id) in enumerate(executions):
            trigger = DocumentImportTrigger(
                conn_id="wait",
                datamart_id=datamart_id,
                import_id=import_id,
                executions=[execution_id],
                started=time.time() - 3600,
                deadline=time.time() + 86_400,
                poll_interval=interval,
                first=FIRST,
            )
            trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=number)
            tasks.append(asyncio.create_task(_fired(number, trigger)))
            # The triggerer gives the loop a turn after each.
            await asyncio.sleep(0)
        del trigger
        while ShownWaiting.waiting < len(tasks):
            await asyncio.sleep(TICK)
        to_begin = time.process_time() - processor
        print("ready", flush=True)
        events = await asyncio.gather(*tasks)
    seconds = time.monotonic() - began
    return {
        "worst lag s": meter.worst,
        "of it own s": meter.worst_own,
        "s to begin": to_begin,
        "processor s": time.process_time() - processor - to_begin - a_second * seconds,
        "MB": meter.memory / 1e6,
        "meter s": a_second * seconds,
        "seconds": seconds,
    }, events


async def _fired(number: int, trigger: Any) -> float:
    """As ``TriggerRunner.run_trigger`` has it; when the event came, in seconds since 1970."""
    from structlog.contextvars import bind_contextvars

    bind_contextvars(
        trigger_id=number + 1, dag_id="d", task_id="t", run_id="r", try_number=1, map_index=number
    )
    at = 0.0
    async for event in trigger.run():
        if event.payload["state"] != "over":
            raise RuntimeError(f"trigger {number}: {event.payload}")
        at = time.time()
    return at
