"""Log lines that hold up no event loop.

What a triggerer logs goes through a pipe that another process of the triggerer reads, and that process does not read while it
stores events in the metadata database. Once the pipe is full, a line waits: 1.1 s were measured at the end of 500 deferred tasks,
with every other trigger of the loop waiting, too. So a thread writes, as Airflow's own ``ainfo`` does.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class UnblockedLog(logging.LoggerAdapter[Any]):
    """A logger that may be used on an event loop: there a thread writes its lines, in the order in which they are said.

    Where no event loop runs, a line is written at once.

    :param logger: the logger, of ``logging`` or of ``structlog``.
    """

    def __init__(self, logger: Any) -> None:
        super().__init__(logger)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a line, or have it written."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # The line names the place of the caller, not this one.
            self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
            return
        if kwargs.get("exc_info") is True:
            kwargs["exc_info"] = sys.exc_info()
        # The context says to which task's log the line belongs.
        line = functools.partial(self.logger.log, level, msg, *args, **kwargs)
        _writer().submit(contextvars.copy_context().run, line)


async def lines_written() -> None:
    """Wait until all that was said so far is written: with a trigger's event, Airflow closes the log of its task."""
    await asyncio.wrap_future(_writer().submit(int))


@functools.cache
def _writer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="writes-log-lines")
