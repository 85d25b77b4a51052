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
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class UnblockedLog(logging.LoggerAdapter[Any]):
    """A logger that may be used on an event loop: there a thread writes its lines, in the order in which they are said.

    The text is put together by the thread, so an argument must not change after the call. Where no event loop runs, a line is
    written at once.

    :param logger: the logger, of ``logging`` or of ``structlog``.
    """

    def __init__(self, logger: Any) -> None:
        super().__init__(logger)

    def __getattr__(self, name: str) -> Any:
        # What else the logger can do: a subclass of a trigger may say `await self.log.ainfo(...)`.
        if name == "logger":
            raise AttributeError(name)
        return getattr(self.logger, name)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a line, or have it written."""
        standard = isinstance(self.logger, logging.Logger)
        if not _on_a_loop():
            if standard:  # the line names the place of the caller, not this one
                kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self.logger.log(level, msg, *args, **kwargs)
            return
        if kwargs.get("exc_info") is True:
            kwargs["exc_info"] = sys.exc_info()
        # The context says to which task's log the line belongs.
        context = contextvars.copy_context()
        if standard:
            if not self.logger.isEnabledFor(level):
                return
            line = functools.partial(self.logger.handle, self._record(level, msg, args, **kwargs))
        else:
            line = functools.partial(self.logger.log, level, msg, *args, **kwargs)
            context.run(_name_caller)
        _submit(functools.partial(context.run, _write, line))

    def _record(
        self,
        level: int,
        msg: object,
        args: tuple[object, ...],
        *,
        exc_info: Any = None,
        extra: Any = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> logging.LogRecord:
        """The record as ``logging`` makes it: here, where the place and the time of the caller are known."""
        logger = self.logger
        file, line, function, stack = logger.findCaller(stack_info, stacklevel + 2)
        if isinstance(exc_info, BaseException):
            exc_info = type(exc_info), exc_info, exc_info.__traceback__
        record: logging.LogRecord = logger.makeRecord(
            logger.name, level, file, line, msg, args, exc_info or None, function, extra, stack
        )
        return record


async def lines_written() -> None:
    """Wait until all that was said so far is written: with a trigger's event, Airflow closes the log of its task."""
    if (writing := _submit(_nothing)) is not None:
        await asyncio.wrap_future(writing)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _name_caller() -> None:
    """Tell ``structlog`` whose line it is, as its own ``ainfo`` does; the name is private, and without it a line names this file."""
    import structlog

    if (calling := getattr(structlog.contextvars, "_ASYNC_CALLING_STACK", None)) is not None:
        # Above this function stand `log`, and the method of LoggerAdapter, which structlog leaves out.
        calling.set(sys._getframe(2))


def _write(line: Callable[[], object]) -> None:
    try:
        line()
    except Exception:  # noqa: BLE001  (a line that cannot be written must not take those after it along)
        traceback.print_exc()


def _nothing() -> None:
    """The work of one who only waits for those before it."""


def _submit(work: Callable[[], None]) -> Future[None] | None:
    """Have the thread do some work. Without a thread it is done here: the interpreter ends, or has no thread left."""
    try:
        return _writer().submit(work)
    except RuntimeError:
        work()
        return None


@functools.cache
def _writer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="writes-log-lines")


# A child has no thread of its parent.
os.register_at_fork(after_in_child=_writer.cache_clear)
