"""A log that nobody reads."""

from __future__ import annotations

import contextvars
import logging
import threading

#: Whose line it is, in tests that ask.
TASK: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="none")
#: Seconds after which a writer that nobody lets go on gives up, so that a test fails instead of hanging.
PATIENCE = 10.0


class UnreadPipe(logging.Handler):
    """Writes a line only once the pipe is read: the supervisor of Airflow's triggerer does not read while it stores events."""

    def __init__(self) -> None:
        super().__init__()
        self.read = threading.Event()
        #: (task, line), as they were written.
        self.lines: list[tuple[str, str]] = []
        #: Whether a line was written although nobody has read.
        self.gave_up = False

    def emit(self, record: logging.LogRecord) -> None:
        self.gave_up |= not self.read.wait(PATIENCE)
        self.lines.append((TASK.get(), record.getMessage()))
