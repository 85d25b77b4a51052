"""One poller for all waiters: each (connection, import) is listed once an interval, however many triggers wait.

One hook serves a connection in this process, and so one session and one rate budget. When the last waiter leaves, its
poller ends; when the last poller of a connection ends, the session is closed.
"""

from __future__ import annotations

import asyncio
import contextvars
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


#: How many waiters get an answer before the event loop serves others again.
SLICE = 20


class _Failure:
    """An error instead of an answer, as it was raised first: each waiter that raises it adds to its traceback."""

    def __init__(self, error: Exception) -> None:
        self.error, self.raised_at = error, error.__traceback__


#: No answer lies ready.
_NOTHING: Any = object()


@dataclass(eq=False, slots=True)
class _Waiter(Generic[T]):
    """One trigger: when it wants the next poll and the latest one, which answers wake it, and the newest of these.

    Times are those of the event loop. A trigger that is busy while several polls are answered misses all but the last answer.
    """

    due: float
    latest: float
    interval: Callable[[T], float]
    heeds: Callable[[T], bool]
    #: In which its lines are logged.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    answer: Any = _NOTHING
    woken: asyncio.Future[None] | None = None

    async def next(self) -> T:
        """The next answer; raises the error that came instead."""
        if self.answer is _NOTHING:
            self.woken = asyncio.get_running_loop().create_future()
            await self.woken
        answer, self.answer = self.answer, _NOTHING
        if isinstance(answer, _Failure):
            raise answer.error.with_traceback(answer.raised_at)
        taken: T = answer
        return taken

    def hand(self, answer: T | _Failure) -> None:
        """Wake the trigger with an answer; no poll is due until it says when it wants the next one."""
        self.due = math.inf
        if not isinstance(self.answer, _Failure):
            self.answer = answer
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


class Poller(Generic[T]):
    """Polls one thing for all triggers that wait for it.

    :param poll: one poll: all calls that it needs, on the event loop.
    :param share: given what a poll has found and how many wait, makes the answer that all of them get.
    """

    def __init__(
        self, poll: Callable[[], Awaitable[Any]], share: Callable[[Any, int], T] | None = None
    ) -> None:
        self._poll = poll
        self._share = share
        self._waiters: dict[_Waiter[T], None] = {}
        self._changed = asyncio.Event()
        #: When the next poll is due while we sleep, by the event loop's clock; before, nobody need wake us.
        self._due = -math.inf
        self._spread = 1.0
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no trigger waits."""
        return not self._waiters

    async def answers(
        self,
        first: float,
        interval: Callable[[T], float],
        deadline: float | None = None,
        heeds: Callable[[T], bool] | None = None,
    ) -> AsyncGenerator[T, None]:
        """Yield the answer of each poll, until the caller stops asking.

        :param first: seconds until this waiter's first poll.
        :param interval: given an answer, the seconds until this waiter's next poll. The waiter also gets the answer of
            an earlier poll that another waiter asked for.
        :param deadline: seconds since 1970 at which this waiter gets an answer or an error at the latest.
        :param heeds: whether an answer concerns this waiter; it does not get the others. None for all.
        :raises PlatformError: an error that waiting cannot mend, or the platform cannot be asked at the deadline.
        """
        loop = asyncio.get_running_loop()
        latest = math.inf if deadline is None else loop.time() + deadline - time.time()
        waiter: _Waiter[T] = _Waiter(loop.time() + first, latest, interval, heeds or _every_answer)
        self._waiters[waiter] = None
        self._wake_for(waiter)
        if self._task is None or self._task.done():
            # In no trigger's context: what is logged for several does not belong into the log of one.
            self._task = loop.create_task(self._run(), context=contextvars.Context())
        try:
            while True:
                answer = await waiter.next()
                yield answer
                waiter.due = self._next_due(waiter, answer, loop.time())
                # The wait for the next one may be long, and an answer may be large.
                del answer
                self._wake_for(waiter)
        finally:
            del self._waiters[waiter]
            if self.idle and self._task is not None:
                self._task.cancel()
                self._task = None

    def _wake_for(self, waiter: _Waiter[T]) -> None:
        if waiter.due < self._due:
            self._changed.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            self._changed.clear()
            self._due = min(waiter.due for waiter in self._waiters)
            wait = self._due - loop.time()
            if wait > 0:
                # A waiter that is due earlier may arrive while we sleep.
                try:
                    await asyncio.wait_for(self._changed.wait(), wait)
                except TimeoutError:
                    if min((waiter.due for waiter in self._waiters), default=math.inf) > self._due:
                        continue  # who was due has left
                else:
                    continue
            self._due = -math.inf
            await self._poll_once(loop)

    async def _poll_once(self, loop: asyncio.AbstractEventLoop) -> None:
        answer: Any
        try:
            answer = await loop.create_task(self._look(), context=self._voice())
        except TryLater as error:
            self._voice().run(log.warning, "%s", error)
            self._put_off(error, loop.time())
            return
        except Exception as error:  # noqa: BLE001  (nothing awaits this task, so the waiters get the error)
            answer = _Failure(error)
        await self._hand_on(answer, loop)

    async def _look(self) -> Any:
        found = await self._poll()
        return found if self._share is None else self._share(found, len(self._waiters))

    def _voice(self) -> contextvars.Context:
        """Where what is logged goes: to the one task that waits, else to the log of the triggerer."""
        if len(self._waiters) == 1:
            (alone,) = self._waiters
            return alone.context.copy()
        return contextvars.Context()

    async def _hand_on(self, answer: Any, loop: asyncio.AbstractEventLoop) -> None:
        """Wake whom the answer concerns, a few at a time, and put the others off until their next poll."""
        # One for all who wait: of many, the shortest would count.
        self._spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (not a secret)
        for number, waiter in enumerate(list(self._waiters), 1):
            if waiter in self._waiters:  # it may have left meanwhile
                if isinstance(answer, _Failure) or self._is_heeded(waiter, answer):
                    waiter.hand(answer)
                else:
                    waiter.due = self._next_due(waiter, answer, loop.time())
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _is_heeded(self, waiter: _Waiter[T], answer: T) -> bool:
        try:
            return waiter.heeds(answer)
        except Exception:  # noqa: BLE001  (here it would end the polls for all; the waiter itself meets it again)
            return True

    def _next_due(self, waiter: _Waiter[T], answer: T, now: float) -> float:
        """When a waiter wants the next poll, having had this answer.

        It is no later than the deadline; after the deadline the waiter's own interval counts.
        """
        due = now + waiter.interval(answer) * self._spread
        return min(due, waiter.latest) if waiter.latest > now else due

    def _put_off(self, error: TryLater, now: float) -> None:
        """Poll again later. A waiter whose deadline comes before that gets the error, now or at its deadline."""
        pause = max(error.retry_after or 0.0, AFTER_ERROR)
        failure = _Failure(error)
        for waiter in self._waiters:
            if now >= waiter.latest:
                waiter.hand(failure)
            else:
                waiter.due = min(max(waiter.due, now + pause), waiter.latest)


def _every_answer(answer: Any) -> bool:
    return True


class SharedHooks:
    """The hooks and pollers of one event loop, by connection and by what is polled."""

    def __init__(self) -> None:
        self._hooks: dict[Hashable, Any] = {}
        self._users: dict[Hashable, int] = {}
        self._pollers: dict[Hashable, Poller[Any]] = {}
        self._loaded: set[Hashable] = set()
        self._loading = asyncio.Lock()

    async def load(self, key: Hashable, load: Callable[[], Any]) -> None:
        """Call this in a thread, once for all who ask: loading modules takes long, and others wait on the event loop."""
        if key not in self._loaded:
            # Whoever has queued goes on one after the other, with a turn of the event loop between two.
            async with self._loading:
                if key not in self._loaded:
                    await asyncio.to_thread(load)
                    self._loaded.add(key)

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
        self._enter(connection)
        try:
            yield self.hook(connection, make)
        finally:
            await self._leave(connection)

    def _enter(self, connection: Hashable) -> None:
        self._users[connection] = self._users.get(connection, 0) + 1

    async def _leave(self, connection: Hashable) -> None:
        self._users[connection] -= 1
        if not self._users[connection]:
            del self._users[connection]
            await self.forget(connection)

    async def watch(
        self,
        connection: Hashable,
        what: Hashable,
        make: Callable[[], Any],
        poll: Callable[[Any], Awaitable[Any]],
        first: float,
        interval: Callable[[T], float],
        deadline: float | None = None,
        heeds: Callable[[T], bool] | None = None,
        sharing: Callable[[], Callable[[Any, int], T]] | None = None,
    ) -> AsyncGenerator[T, None]:
        """Yield the answers of the one poller for this thing; close the generator to stop waiting.

        ``first``, ``interval``, ``deadline`` and ``heeds`` as for :meth:`Poller.answers`.

        :param connection: key of the hook.
        :param what: key of the thing within the connection.
        :param make: makes the hook.
        :param poll: one poll with the hook.
        :param sharing: makes the ``share`` of a new :class:`Poller`.
        """
        key = (connection, what)

        async def poll_with_hook() -> Any:
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

        poller = self._pollers.get(key)
        if poller is None:
            poller = self._pollers[key] = Poller(poll_with_hook, sharing and sharing())
        self._enter(connection)
        try:
            # Read the connection now and not in on_kill: a triggerer's first look-up of a connection takes seconds,
            # and on_kill has few seconds.
            await self.hook(connection, make).aprepare()
            async with aclosing(poller.answers(first, interval, deadline, heeds)) as answers:
                async for answer in answers:
                    yield answer
                    del answer
        finally:
            try:
                await self._leave(connection)
            finally:
                if poller.idle:
                    self._pollers.pop(key, None)


_shared: dict[asyncio.AbstractEventLoop, SharedHooks] = {}


def shared_hooks() -> SharedHooks:
    """Return the running loop's hooks and pollers; those of closed loops are forgotten."""
    for loop in [one for one in _shared if one.is_closed()]:
        del _shared[loop]
    return _shared.setdefault(asyncio.get_running_loop(), SharedHooks())
