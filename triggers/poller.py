"""One poller for all waiters: each (connection, import) is listed once an interval, however many triggers wait.

One hook serves a connection in this process, and so one session and one rate budget. When the last waiter leaves, its
poller ends; when the last poller of a connection ends, the session is closed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_bulk.platforms.errors import TryLater, Unauthorized

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Share by which an interval varies at random, so that pollers do not all poll at the same moment.
JITTER = 0.1
#: Seconds until the next poll after an error, when the platform named no time.
AFTER_ERROR = 30.0


@dataclass
class _Waiter(Generic[T]):
    """One trigger: when it wants the next poll and the latest one, and where its answers go.

    Times are those of the event loop.
    """

    due: float
    latest: float
    answers: asyncio.Queue[T | Exception] = field(default_factory=asyncio.Queue)


class Poller(Generic[T]):
    """Polls one thing for all triggers that wait for it.

    :param poll: one poll: all calls that it needs, on the event loop.
    """

    def __init__(self, poll: Callable[[], Awaitable[T]]) -> None:
        self._poll = poll
        self._waiters: list[_Waiter[T]] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no trigger waits."""
        return not self._waiters

    async def answers(
        self, first: float, interval: Callable[[T], float], deadline: float | None = None
    ) -> AsyncGenerator[T, None]:
        """Yield the answer of each poll, until the caller stops asking.

        :param first: seconds until this waiter's first poll.
        :param interval: given an answer, the seconds until this waiter's next poll. The waiter also gets the answer of
            an earlier poll that another waiter asked for.
        :param deadline: seconds since 1970 at which this waiter gets an answer or an error at the latest.
        :raises PlatformError: an error that waiting cannot mend, or the platform cannot be asked at the deadline.
        """
        loop = asyncio.get_running_loop()
        latest = math.inf if deadline is None else loop.time() + deadline - time.time()
        waiter: _Waiter[T] = _Waiter(loop.time() + first, latest)
        self._waiters.append(waiter)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            while True:
                answer = await waiter.answers.get()
                if isinstance(answer, Exception):
                    raise answer
                yield answer
                spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (not a secret)
                waiter.due = _no_later(loop.time() + interval(answer) * spread, waiter, loop.time())
                self._changed.set()
        finally:
            self._waiters.remove(waiter)
            self._changed.set()
            if self.idle and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            self._changed.clear()
            due = min(waiter.due for waiter in self._waiters)
            wait = due - loop.time()
            if wait > 0:
                # A waiter that is due earlier may arrive while we sleep.
                try:
                    await asyncio.wait_for(self._changed.wait(), wait)
                except TimeoutError:
                    pass
                else:
                    continue
            await self._poll_once(loop)

    async def _poll_once(self, loop: asyncio.AbstractEventLoop) -> None:
        answer: Any
        try:
            answer = await self._poll()
        except TryLater as error:
            log.warning("%s", error)
            self._put_off(error, loop.time())
            return
        except Exception as error:  # noqa: BLE001  (nothing awaits this task, so the waiters get the error)
            answer = error
        for waiter in self._waiters:
            self._hand(waiter, answer)

    def _put_off(self, error: TryLater, now: float) -> None:
        """Poll again later. A waiter whose deadline comes before that gets the error, now or at its deadline."""
        pause = max(error.retry_after or 0.0, AFTER_ERROR)
        for waiter in self._waiters:
            if now >= waiter.latest:
                self._hand(waiter, error)
            else:
                waiter.due = min(max(waiter.due, now + pause), waiter.latest)

    def _hand(self, waiter: _Waiter[T], answer: T | Exception) -> None:
        # No poll until the waiter says when it wants the next one.
        waiter.due = math.inf
        waiter.answers.put_nowait(answer)


def _no_later(due: float, waiter: _Waiter[Any], now: float) -> float:
    """The next poll is no later than the deadline; after the deadline the waiter's own interval counts."""
    return min(due, waiter.latest) if waiter.latest > now else due


class SharedHooks:
    """The hooks and pollers of one event loop, by connection and by what is polled."""

    def __init__(self) -> None:
        self._hooks: dict[Hashable, Any] = {}
        self._users: dict[Hashable, int] = {}
        self._pollers: dict[Hashable, Poller[Any]] = {}

    def hook(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the one hook of a connection."""
        if key not in self._hooks:
            self._hooks[key] = make()
        return self._hooks[key]

    async def forget(self, key: Hashable) -> None:
        """Forget a hook and close its session."""
        hook = self._hooks.pop(key, None)
        if hook is not None:
            await hook.aclose()

    @asynccontextmanager
    async def borrow(self, connection: Hashable, make: Callable[[], Any]) -> AsyncIterator[Any]:
        """Yield the connection's hook; when its last user ends, its session is closed."""
        self._users[connection] = self._users.get(connection, 0) + 1
        try:
            yield self.hook(connection, make)
        finally:
            self._users[connection] -= 1
            if not self._users[connection]:
                del self._users[connection]
                await self.forget(connection)

    async def watch(
        self,
        connection: Hashable,
        what: Hashable,
        make: Callable[[], Any],
        poll: Callable[[Any], Awaitable[T]],
        first: float,
        interval: Callable[[T], float],
        deadline: float | None = None,
    ) -> AsyncGenerator[T, None]:
        """Yield the answers of the one poller for this thing; close the generator to stop waiting.

        ``first``, ``interval`` and ``deadline`` as for :meth:`Poller.answers`.

        :param connection: key of the hook.
        :param what: key of the thing within the connection.
        :param make: makes the hook.
        :param poll: one poll with the hook.
        """
        key = (connection, what)

        async def poll_with_hook() -> T:
            hook = self.hook(connection, make)
            await hook.aprepare()
            used = hook.endpoint
            try:
                return await poll(hook)
            except Unauthorized:
                # The token may have been renewed in the connection since the hook was made.
                if not await hook.arenew(used):
                    raise
                return await poll(hook)

        poller = self._pollers.setdefault(key, Poller(poll_with_hook))
        try:
            async with self.borrow(connection, make) as hook:
                # Read the connection now and not in on_kill: a triggerer's first look-up of a connection takes seconds,
                # and on_kill has few seconds.
                await hook.aprepare()
                async with aclosing(poller.answers(first, interval, deadline)) as answers:
                    async for answer in answers:
                        yield answer
        finally:
            if poller.idle:
                self._pollers.pop(key, None)


_shared: dict[asyncio.AbstractEventLoop, SharedHooks] = {}


def shared_hooks() -> SharedHooks:
    """Return the running loop's hooks and pollers; those of closed loops are forgotten."""
    for loop in [one for one in _shared if one.is_closed()]:
        del _shared[loop]
    return _shared.setdefault(asyncio.get_running_loop(), SharedHooks())
