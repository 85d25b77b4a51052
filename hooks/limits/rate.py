"""So many a minute: requests of a connection, or bytes of its bodies, spaced over all who share the store."""

from __future__ import annotations

import queue
import threading
import time
from typing import NamedTuple

from airflow_bulk.hooks.limits.store import ProcessStore, Store, StoreUnreachable, Value

#: No answer of a platform silences a connection for longer than this many seconds.
LONGEST_HOLD = 3600.0
#: Seconds that a request may be on its way longer than another one: so much closer may the two arrive than they left.
ON_THE_WAY = 1.0
#: A clock that goes back by more than this many seconds was set.
CLOCK_STEP = 1.0
#: Seconds for which those who have no time do not ask a store that gave no answer.
NOT_ASKED = 10.0


class Departure(NamedTuple):
    """A place in the order in which requests leave.

    :param wait: seconds until it may leave.
    :param taken: False: the wait is longer than the caller has patience for, and no place is taken.
    """

    wait: float
    taken: bool


class RateBudget:
    """Spaces requests evenly and obeys ``Retry-After`` for the whole connection.

    In no minute more than ``requests_per_minute`` of them arrive at the platform, whoever sends them. From 60 a minute on, those of one
    second may leave at once.

    :param requests_per_minute: at most this many; None means no limit of ours.
    :param store: where the budget lies; whoever shares it shares the budget. None: this process's own.
    :param name: of the budget in the store.
    """

    def __init__(
        self, requests_per_minute: float | None = None, store: Store | None = None, name: str = ""
    ) -> None:
        # Of a burst and what follows, a minute must hold no more than the limit: so the pace is a little slower than it.
        self._burst = 1.0 if requests_per_minute and requests_per_minute >= 60 else 0.0
        self._interval = (
            (60.0 + self._burst + ON_THE_WAY) / requests_per_minute if requests_per_minute else 0.0
        )
        self._store: Store = store or ProcessStore()
        self._name = name
        self._not_asked_before = 0.0

    @property
    def shared(self) -> bool:
        """Whether asking may take a moment: other processes share the budget."""
        return self._store.shared

    def reserve(self, patience: float = float("inf"), longest_hold: float = float("inf")) -> Departure:
        """Take a place for one request. Who would wait for more than an hour gets none.

        :param patience: seconds; a longer wait takes no place, and the caller does not send then.
        :param longest_hold: the same for a wait that the platform has asked for.
        :raises StoreUnreachable: the shared budget cannot be asked.
        """

        def take(now: float, value: Value) -> Departure:
            held, leaves = _hold(value, now), self._leaves(value, now)
            wait = max(0.0, leaves - now, held)
            taken = wait <= min(patience, LONGEST_HOLD) and held <= longest_hold
            if taken:
                value.update(free_at=leaves, at=now)
            return Departure(wait, taken)

        return self._store.change(self._name, take)

    def reserve_at_once(self, seconds: float, patience: float) -> Departure:
        """Take a place before all who wait: for an ``on_kill``, which has seconds. Those who wait leave that much later.

        :param seconds: to wait for the shared budget's answer.
        :param patience: seconds, for a silence that the platform has asked for.
        :raises StoreUnreachable: there is no answer by then, or there was none a moment ago.
        """

        def take(now: float, value: Value) -> Departure:
            held = _hold(value, now)
            if held <= patience:
                value.update(free_at=self._leaves(value, now), at=now)
            return Departure(held, held <= patience)

        if not self.shared:
            return self._store.change(self._name, take)
        if time.monotonic() < self._not_asked_before:
            raise StoreUnreachable("they gave no answer a moment ago")
        answers: queue.SimpleQueue[Departure | StoreUnreachable] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._store.change(self._name, take))
            except StoreUnreachable as error:
                answers.put(error)

        threading.Thread(target=ask, name="asks-limits", daemon=True).start()
        try:
            answer = answers.get(timeout=seconds)
        except queue.Empty:
            answer = StoreUnreachable(f"they gave no answer within {seconds:.0f} s")
        if isinstance(answer, StoreUnreachable):
            self._not_asked_before = time.monotonic() + NOT_ASKED
            raise answer
        return answer

    def _leaves(self, value: Value, now: float) -> float:
        earliest = max(now - self._burst - self._interval, now + _hold(value, now) - self._interval)
        return max(_free_at(value, now), earliest) + self._interval

    @property
    def held(self) -> float:
        """Seconds that the platform still asked to be left alone for."""
        return self._store.change(self._name, lambda now, value: _hold(value, now))

    def retry_after(self, seconds: float) -> None:
        """Hold every request of the connection back for some seconds, as the platform asked."""

        def hold(now: float, value: Value) -> None:
            until = now + max(_hold(value, now), min(seconds, LONGEST_HOLD))
            value.update(not_before=until, at=now)

        self._store.change(self._name, hold)


def reserve_bytes(store: Store, name: str, count: int, bytes_per_second: float) -> float:
    """Take the time that so many bytes need, and return the seconds to wait before they leave; there is no burst.

    :raises StoreUnreachable: the shared limit cannot be asked.
    """

    def take(now: float, value: Value) -> float:
        leaves = max(_free_at(value, now), now) + count / bytes_per_second
        value.update(free_at=leaves, at=now)
        return leaves - now

    return store.change(name, take)


def _free_at(value: Value, now: float) -> float:
    _follow_clock(value, now)
    free_at: float = value.get("free_at", 0.0)
    return free_at


def _hold(value: Value, now: float) -> float:
    _follow_clock(value, now)
    not_before: float = value.get("not_before", 0.0)
    return min(max(0.0, not_before - now), LONGEST_HOLD)


def _follow_clock(value: Value, now: float) -> None:
    """Where the clock has gone back since the value was written, so do its times: nobody waits until it is there again."""
    back = value.get("at", now) - now
    if back > CLOCK_STEP:
        value.update({name: time_of - back for name, time_of in value.items()})


_budgets: dict[tuple[str, float | None, Store | None], RateBudget] = {}
_lock = threading.RLock()


def budget_for(
    names: tuple[str, ...], requests_per_minute: float | None, store: Store | None = None
) -> RateBudget:
    """Return the process's one budget of a connection.

    :param names: of the budget. The first one is its name in the store; who knows only another one shares it, too, within a
        process.
    """
    with _lock:
        keys = [(name, requests_per_minute, store) for name in names]
        budget = _budgets.get(keys[0]) or RateBudget(requests_per_minute, store, f"requests {names[0]}")
        _budgets.update(dict.fromkeys(keys, budget))
        return budget
