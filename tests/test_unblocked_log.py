"""Log lines of a triggerer: a thread writes them, in their order, to the log of the task that said them."""

from __future__ import annotations

import asyncio
import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from unread_pipe import TASK, UnreadPipe

from airflow_bulk.unblocked_log import UnblockedLog, lines_written


@pytest.fixture
def pipe() -> Iterator[UnreadPipe]:
    handler, logger = UnreadPipe(), logging.getLogger("tests.unblocked")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def log(pipe: UnreadPipe) -> UnblockedLog:
    return UnblockedLog(logging.getLogger("tests.unblocked"))


def test_a_full_pipe_does_not_hold_up_the_loop(log: UnblockedLog, pipe: UnreadPipe) -> None:
    async def says(task: str) -> None:
        TASK.set(task)
        for number in range(3):
            log.info("line %d", number)
            await asyncio.sleep(0)

    async def story() -> None:
        await asyncio.gather(says("a"), says("b"))
        # Only the loop empties the pipe: a line that waited on the loop would wait in vain.
        pipe.read.set()
        await lines_written()

    asyncio.run(story())
    assert not pipe.gave_up
    assert pipe.lines == [(task, f"line {number}") for number in range(3) for task in "ab"]


def test_without_a_loop_a_line_is_written_at_once_and_names_its_caller(
    log: UnblockedLog, caplog: pytest.LogCaptureFixture, pipe: UnreadPipe
) -> None:
    pipe.read.set()
    log.warning("%d lines", 3)
    (record,) = caplog.records
    assert (record.getMessage(), record.levelname, record.filename) == (
        "3 lines",
        "WARNING",
        "test_unblocked_log.py",
    )
    assert record.funcName.startswith("test_without_a_loop")


def says_what_failed(log: UnblockedLog) -> None:
    try:
        raise LookupError("gone")
    except LookupError:
        log.exception("It failed.")


async def on_a_loop(log: UnblockedLog) -> None:
    says_what_failed(log)
    await lines_written()


@pytest.mark.parametrize("loop", [True, False])
def test_an_exception_is_told_with_its_traceback_and_its_place(
    log: UnblockedLog, caplog: pytest.LogCaptureFixture, pipe: UnreadPipe, loop: bool
) -> None:
    pipe.read.set()
    asyncio.run(on_a_loop(log)) if loop else says_what_failed(log)
    (record,) = caplog.records
    assert record.exc_info and record.exc_info[0] is LookupError
    assert (record.filename, record.funcName) == ("test_unblocked_log.py", "says_what_failed")


FORKS = """
import asyncio, os
from airflow_bulk.unblocked_log import lines_written

asyncio.run(lines_written())
if not (child := os.fork()):
    asyncio.run(asyncio.wait_for(lines_written(), 10))
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_has_a_thread_of_its_own() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=60)


def test_it_takes_the_logger_that_airflow_gives_a_trigger(capsys: pytest.CaptureFixture[str]) -> None:
    written = io.StringIO()
    logger: Any = structlog.wrap_logger(
        structlog.PrintLogger(written),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.CallsiteParameterAdder(
                [
                    structlog.processors.CallsiteParameter.FILENAME,
                    structlog.processors.CallsiteParameter.FUNC_NAME,
                ],
            ),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    log = UnblockedLog(logger)

    async def story() -> None:
        with structlog.contextvars.bound_contextvars(task_id="wait"):
            log.info("no number: %d", "x")
            log.info("%s of %d", "some", 3)
            log.debug("nothing of this")
            says_what_failed(log)
        await lines_written()
        await log.ainfo("its own way")

    asyncio.run(story())
    # A line that cannot be put together takes none after it along.
    assert "TypeError" in capsys.readouterr().err
    first, failed, *others = written.getvalue().splitlines()
    place = "filename='test_unblocked_log.py' func_name="
    assert first == f"event='some of 3' {place}'story' task_id='wait'"
    assert "LookupError: gone" in failed and f"{place}'says_what_failed'" in failed
    assert "nothing of this" not in written.getvalue() and "its own way" in "".join(others)
