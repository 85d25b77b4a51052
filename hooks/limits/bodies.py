"""What a sender asks before a body and within it: a place among the bodies at once, a request's turn, time for each block."""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from airflow_bulk.hooks.limits.rate import ON_THE_WAY, RateBudget, reserve_bytes
from airflow_bulk.hooks.limits.store import Store, StoreAddress, StoreUnreachable, Value, open_store

log = logging.getLogger(__name__)

#: Seconds that a place lasts unless it is renewed: a sender that was killed gives it back so late.
LEASE = 30.0
#: Seconds between two renewals, and between two looks for a free place (at random: nobody is always first).
RENEWAL = 8.0
LOOK = 0.25
#: Seconds that a part waits for a place before its task is asked again: its deadline may have passed.
PATIENCE = 20.0
#: Seconds for which a body that is on its way asks again where nobody answers: less than a server waits for a byte.
ASKING = 15.0
#: The longest Retry-After that a body waits for (seconds); beyond it the task fails, and its retry comes later.
LONGEST_WAIT = 120.0
#: Seconds of the whole rate that one block takes: of many senders each still sends something every few seconds.
BLOCK_SECONDS = 0.25


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a connection's bodies; can be sent to a child.

    :param address: the store that all senders share.
    :param names: of the connection's budget in the store, the best known one first.
    :param requests_per_minute: the POST of a body is one of these requests, too; None: no limit.
    :param max_uploads: bodies on the wire at once, over all tasks; None: no limit.
    :param max_bytes_per_second: bytes of bodies in a second, over all tasks; None: no limit.
    :param deadline: seconds since 1970 after which nothing waits any more.
    """

    address: StoreAddress
    names: tuple[str, ...]
    requests_per_minute: float | None = None
    max_uploads: int | None = None
    max_bytes_per_second: float | None = None
    deadline: float = float("inf")


class NoPlace(Exception):
    """A body may not leave, or go on, within the time that a part waits: the platform cannot have taken it."""


class BodyTurns:
    """Waits for what the limits allow. One for a sender, for one body at a time.

    :param limits: None: nothing is limited.
    :param stopped: says whether the sender was stopped; waiting ends then.
    """

    def __init__(self, limits: BodyLimits | None, stopped: Callable[[], bool]) -> None:
        self._limits, self._stopped = limits, stopped
        self._store: Store | None = open_store(limits.address) if limits else None

    @contextmanager
    def body(self) -> Iterator[None]:
        """Hold a place among the bodies at once.

        :raises NoPlace: none became free.
        :raises StoreUnreachable: nobody can be asked.
        """
        if self._limits is None or self._store is None or not self._limits.max_uploads:
            yield
            return
        place = _BodyPlace(self._store, f"bodies {self._limits.names[0]}", self._limits.max_uploads)
        self._wait_for(place)
        with place.renewed():
            yield

    def _wait_for(self, place: _BodyPlace) -> None:
        until, told = time.monotonic() + PATIENCE, False
        while not self._stopped() and not self._is_overdue():
            late = time.monotonic() > until
            try:
                if place.take():
                    return
            except StoreUnreachable:
                if late:
                    raise
            if late:
                break
            if not told:
                log.warning("A part waits: all %d places of max_uploads are taken.", place.most)
                told = True
            time.sleep(random.uniform(0.5, 1.5) * LOOK)  # noqa: S311 (not a secret)
        raise NoPlace("all places are taken")

    def request(self) -> None:
        """Wait until the POST may leave.

        :raises NoPlace: the platform has asked for a longer silence than a body waits for.
        :raises StoreUnreachable: nobody can be asked.
        """
        if self._limits is None or self._store is None:
            return
        budget = RateBudget(
            self._limits.requests_per_minute, self._store, f"requests {self._limits.names[0]}"
        )
        while True:
            place = budget.reserve(longest_hold=LONGEST_WAIT)
            if not place.taken:
                why = f"no body may leave for another {place.wait:.0f} s, as the platform or the rate limit asks"
                raise NoPlace(why)
            leaves = time.monotonic() + place.wait
            self._sleep(place.wait)
            # The platform may have asked to be left alone meanwhile, and a process may have stood still.
            is_late = time.monotonic() > leaves + ON_THE_WAY
            if not place.wait or self._stopped() or not (is_late or budget.held):
                return

    @property
    def block(self) -> int | None:
        """Bytes of a block that may leave at once; None: no limit."""
        rate = self._limits.max_bytes_per_second if self._limits else None
        return max(1 << 15, int(rate * BLOCK_SECONDS)) if rate else None

    def bytes(self, count: int) -> None:
        """Wait until so many bytes may leave.

        :raises NoPlace: the deadline has passed meanwhile.
        :raises StoreUnreachable: nobody can be asked.
        """
        if self._limits and self._store and self._limits.max_bytes_per_second:
            name = f"bytes {self._limits.names[0]}"
            until = time.monotonic() + ASKING
            while True:
                try:
                    wait = reserve_bytes(self._store, name, count, self._limits.max_bytes_per_second)
                    break
                except StoreUnreachable:
                    if self._stopped() or time.monotonic() > until:
                        raise
                    time.sleep(LOOK)
            self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped() and (left := until - time.monotonic()) > 0:
            if self._is_overdue():
                raise NoPlace("the deadline of the task has passed while it waited for the limits")
            time.sleep(min(left, 0.5))

    def _is_overdue(self) -> bool:
        return self._limits is not None and time.time() >= self._limits.deadline


class _BodyPlace:
    """One of so many places; it is renewed while it is held, so that a sender that is killed does not keep it."""

    def __init__(self, store: Store, name: str, most: int) -> None:
        self._store, self._name, self.most = store, name, most
        self._holder = f"{os.getpid()}-{secrets.token_hex(8)}"

    def take(self) -> bool:
        """Take a place if one is free."""

        def take(now: float, value: Value) -> bool:
            for holder in [one for one, until in value.items() if until < now or until > now + 2 * LEASE]:
                del value[holder]
            if self._holder not in value and len(value) >= self.most:
                return False
            value[self._holder] = now + LEASE
            return True

        return self._store.change(self._name, take)

    def _renew(self, now: float, value: Value) -> bool:
        was_there = self._holder in value
        value[self._holder] = now + LEASE
        return was_there

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the place until the body is over, and give it back then."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEWAL):
                try:
                    if not self._store.change(self._name, self._renew):
                        log.warning(
                            "The place of a body was lost meanwhile: more bodies than allowed may be on their way."
                        )
                except StoreUnreachable as error:
                    log.warning("The place of a body is not renewed: %s.", error)

        renewing = threading.Thread(target=renew, name="renews-body-place", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            try:
                self._store.change(self._name, lambda now, value: value.pop(self._holder, None))
            except StoreUnreachable as error:
                log.warning("The place of a body is given back in %.0f s: %s.", LEASE, error)
