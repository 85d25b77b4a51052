"""The emulator's clock: real time until a test drives it. Kept over restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from airflow_bulk.emulator.database import Database


class Clock:
    """Milliseconds since 1970, as the platform counts time.

    :param database: where the clock's state is kept.
    :param real: seconds since 1970; another source for tests of the clock itself.
    """

    def __init__(self, database: Database, real: Callable[[], float] = time.time) -> None:
        self._database = database
        self._real = real
        kept = database.recall("clock") or {}
        self._offset = float(kept.get("offset", 0.0))
        self._frozen: float | None = kept.get("frozen")

    def now(self) -> int:
        """Return the emulator's time in ms since 1970."""
        seconds = self._real() + self._offset if self._frozen is None else self._frozen
        return int(seconds * 1000)

    def advance(self, seconds: float) -> None:
        """Move forward. Never backward: the platform's dates do not run back.

        :param seconds: how far, 0 or more.
        """
        if not seconds >= 0:
            raise ValueError("the clock only goes forward: advance takes 0 or more seconds")
        if self._frozen is None:
            self._offset += seconds
        else:
            self._frozen += seconds
        self._keep()

    def freeze(self) -> None:
        """Stop the clock; :meth:`advance` still moves it."""
        if self._frozen is None:
            self._frozen = self._real() + self._offset
            self._keep()

    def resume(self) -> None:
        """Let the clock run again from where it stands."""
        if self._frozen is not None:
            self._offset = self._frozen - self._real()
            self._frozen = None
            self._keep()

    def reset(self) -> None:
        """Go back to real time."""
        self._offset, self._frozen = 0.0, None
        self._keep()

    def state(self) -> dict[str, Any]:
        """Return ``now`` (ms), ``frozen`` and ``offset`` (s against real time)."""
        return {"now": self.now(), "frozen": self._frozen is not None, "offset": self._offset}

    def _keep(self) -> None:
        self._database.remember("clock", {"offset": self._offset, "frozen": self._frozen})
