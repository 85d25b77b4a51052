"""What a page shows of a run: two small XCom values of its task, written by the worker and by the triggerer. Pure.

They are for people alone. Nothing that a run does depends on them, they hold no line content and no secret, and a new try
begins without them, since Airflow empties the XCom of a task then (airflow.md section 11.2).

* The *row* is written at each step: begun, checked, created, submitted, ended. Its key names the platform, and Airflow has an
  index on XCom keys, so the list of a page is one bounded query.
* The *state now* is written while something changes: on change, and at most every :data:`EVERY` seconds. A process that
  waits for many tasks writes at most :data:`WRITES_A_SECOND` of them a second, however many they are.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import Any

from airflow_bulk.judging import KeepWaiting
from airflow_bulk.platforms.status import RemoteSnapshot

#: Platforms of this package, and all others: a name in XCom keys -> a name for people.
PLATFORMS = {
    "mediarithmics": "mediarithmics",
    "centrapay": "Centrapay",
    "extract_load": "Extract/load",
    "other": "Others",
}
#: The XCom keys of rows, by platform.
ROW_KEYS = {platform: f"bulk.{platform}" for platform in PLATFORMS}
#: The XCom key of the row of an extract/load group, which is of many tasks.
GROUP_KEY = "bulk.extract_load_group"
#: The XCom key of the state now.
NOW_KEY = "bulk_now"

#: Seconds between two writes of one task's state now.
EVERY = 10.0
#: How many tasks' states one process writes in a second; each write is a DELETE and an INSERT of one row of Airflow's table, and
#: keeps a process of the API server busy for 15 to 20 ms.
WRITES_A_SECOND = 10.0
#: Executions that are shown one by one; more are only counted, so that a value stays below 10 kB.
SHOWN_ONE_BY_ONE = 100


def platform_of(conn_type: str) -> str:
    """The platform of a connection's type; ``other`` for one that this package does not know."""
    return conn_type if conn_type in ROW_KEYS else "other"


class Pace:
    """When the state now may be written again.

    :param every: seconds between two writes, at least.
    """

    __slots__ = ("_every", "_last", "_written_at", "again_at")

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._last: Any = None
        self._written_at: float | None = None
        #: When the state that was not due will be, by the monotonic clock; infinite where it is written.
        self.again_at = math.inf

    def is_due(self, state: dict[str, Any], waiting: int = 1) -> bool:
        """Whether the state has changed, and enough time has passed; the state counts as written then.

        :param state: without its own time, which always changes.
        :param waiting: how many tasks write from this process.
        """
        now = time.monotonic()
        pause = max(self._every, waiting / WRITES_A_SECOND)
        if self._written_at is None:
            # Of more tasks than may be written in the usual pause, the first states are spread over the whole pause.
            spread = pause if waiting > self._every * WRITES_A_SECOND > 0 else 0.0
            self._written_at = now - pause + random.uniform(0.0, spread)  # noqa: S311  (not a secret)
        self.again_at = math.inf if state == self._last else self._written_at + pause
        if now < self.again_at:
            return False
        self._last, self._written_at, self.again_at = state, now, math.inf
        return True

    def forget(self) -> None:
        """The state could not be written: it is due again once the pause has passed."""
        self._last = None
        self.again_at = time.monotonic() + self._every


def waiting_state(seen: Sequence[RemoteSnapshot], verdict: KeepWaiting) -> dict[str, Any]:
    """The state of a task that waits.

    :param seen: the executions that count.
    """
    state: dict[str, Any] = {
        "phase": "waiting",
        "why": verdict.why,
        "executions": verdict.totals.executions,
        "accepted": verdict.totals.accepted,
        "failed": verdict.totals.failed,
    }
    if len(seen) <= SHOWN_ONE_BY_ONE:
        state["each"] = [[one.id, one.status[:40], one.accepted, one.failed] for one in seen]
    return state
