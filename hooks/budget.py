"""One rate budget per connection and process: all tasks and triggers of a process share it.

Pure but for its lock: it says how long to wait, the caller sleeps (or awaits).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: No answer of a platform silences a connection for longer than this many seconds.
LONGEST_HOLD = 3600.0


class RateBudget:
    """Spaces requests evenly and obeys ``Retry-After`` for the whole connection.

    :param requests_per_minute: at most this many; None means no limit of ours.
    :param clock: seconds, monotonic; a test's own clock.
    """

    def __init__(
        self, requests_per_minute: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        #: A burst of up to a second's worth may leave at once; beyond it requests are spaced.
        self._burst = max(1.0, requests_per_minute / 60.0) * self._interval if requests_per_minute else 0.0
        self._clock = clock
        self._free_at = 0.0
        self._not_before = 0.0
        #: Reentrant: an operator's on_kill runs on the main thread, perhaps inside reserve().
        self._lock = threading.RLock()

    def reserve(self, patience: float = float("inf")) -> float:
        """Take a place for one request and return the seconds to wait for it.

        :param patience: a wait longer than this takes no place; the caller does not send then.
        """
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - self._burst, self._not_before - self._interval)
            wait = max(0.0, start + self._interval - now, self._not_before - now)
            if wait <= patience:
                self._free_at = start + self._interval
            return wait

    @property
    def held(self) -> float:
        """Seconds that the platform still asked to be left alone for."""
        with self._lock:
            return max(0.0, self._not_before - self._clock())

    def retry_after(self, seconds: float) -> None:
        """Hold every request of the connection back for some seconds, as the platform asked."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + min(seconds, LONGEST_HOLD))


_budgets: dict[tuple[str, float | None], RateBudget] = {}
_lock = threading.RLock()


def budget_for(connection_id: str, requests_per_minute: float | None, *also: str) -> RateBudget:
    """Return the process's one budget of a connection.

    :param also: other names of the same budget: whoever shares one of them shares it.
    """
    with _lock:
        names = [(name, requests_per_minute) for name in (connection_id, *also)]
        budget = next((_budgets[name] for name in names if name in _budgets), None) or RateBudget(
            requests_per_minute
        )
        for name in names:
            _budgets.setdefault(name, budget)
        return budget
