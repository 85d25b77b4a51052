"""Progress for a person who reads the log: parts, GB of GB, MB/s, time left. Never line content."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.judging import estimate_seconds, how_many

log = logging.getLogger(__name__)

#: Seconds between two lines about checking.
EVERY = 10.0


def gigabytes(count: float) -> str:
    """Bytes as text in the unit that fits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return how_many(round(count), "byte")


class SendingProgress:
    """Tells how far checking and sending have come, in the log. A subclass may tell it in another way."""

    def __init__(self) -> None:
        #: Told how far checking or sending is, at every part.
        self.show: Callable[[dict[str, Any]], None] = lambda _: None
        self._began = time.monotonic()
        self._told = self._began
        self._checked = 0
        self._bytes = 0
        self._parts = 0
        self._total_parts = 0
        self._total_bytes = 0
        self._total_is_source = False

    def checking(self, source_bytes: int) -> None:
        """Begin to check the whole source.

        :param source_bytes: bytes to read; 0 where that is not known.
        """
        return

    def before_sending(self, parts: Sequence[Part]) -> None:
        """Everything is checked and good enough, and nothing has left; not called with ``overlap``.

        :raises Exception: whatever is raised here ends the work, and nothing is sent.
        """
        return

    def sending(self, parts: Sequence[Part]) -> None:
        """Begin to send these."""
        self._began = time.monotonic()
        self._parts = self._bytes = 0
        self._total_parts = len(parts)
        self._total_bytes = sum(part.body for part in parts)
        self._total_is_source = False

    def sending_unchecked(self, source_bytes: int) -> None:
        """Begin to send parts as soon as they are checked; how many there are is not known yet.

        :param source_bytes: bytes to read; 0 where that is not known.
        """
        self.sending(())
        self._total_bytes, self._total_is_source = source_bytes, source_bytes > 0

    def checked(self, part: Part) -> None:
        """Count a checked part; tell every few seconds."""
        self._checked += part.length
        if self._total_is_source:
            self._total_bytes += part.body - part.length  # what is left out is not to be sent
        else:
            self.show({"phase": "checking", "parts": part.index + 1, "bytes": self._checked})
        now = time.monotonic()
        if now - self._told >= EVERY:
            self._told = now
            speed = self._checked / max(now - self._began, 1e-9)
            log.info(
                "Checked %s, %s at %.0f MB/s.",
                how_many(part.index + 1, "part"),
                gigabytes(self._checked),
                speed / 1e6,
            )

    def sent(self, part: Part, execution_id: str) -> None:
        """Tell that a part is recorded as an execution."""
        self._parts += 1
        self._bytes += part.body
        elapsed = time.monotonic() - self._began
        left = estimate_seconds(self._bytes, self._total_bytes, elapsed)
        self.show(
            {
                "phase": "sending",
                "rate": self._bytes / max(elapsed, 1e-9),
                "left": left if math.isfinite(left) else None,
            }
        )
        parts = how_many(self._total_parts or self._parts, "part")
        of_bytes = f" of {gigabytes(self._total_bytes)}" if self._total_bytes else ""
        log.info(
            "Part %d (%s, %s) is execution %s. Sent %s, %s%s, %.1f MB/s%s.",
            part.index + 1,
            how_many(part.lines, "line"),
            gigabytes(part.body),
            execution_id,
            f"{self._parts} of {parts}" if self._total_parts else parts,
            gigabytes(self._bytes),
            of_bytes,
            self._bytes / max(elapsed, 1e-9) / 1e6,
            f", about {left:.0f} s left" if self._total_bytes and math.isfinite(left) else "",
        )
