"""One poller for all waiters: each (connection, import) is listed once an interval, however many triggers wait.

One hook serves a connection in this process, and so one session and one rate budget. When the last waiter leaves, its
poller ends; when the last poller of a connection ends, the session is closed.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, Self, TypeVar

from airflow_bulk.platforms.errors import TryLater, Unauthorized
from airflow_bulk.unblocked_log import UnblockedLog

T = TypeVar("T")
log = UnblockedLog(logging.getLogger(__name__))

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


class Answers(Generic[T]):
    """What one trigger gets of a poller: an asynchronous iterator over the answers that concern it. Close it to stop waiting.

    A trigger that is busy while several polls are answered misses all but the last answer. Asking for the next one says that the
    trigger has done with the one before. It is no generator: ten thousand wait, and each generator costs a kilobyte.

    :param poller: polls for this trigger.
    :param due: when it wants its first poll, and gets its first answer at the earliest; times are those of the event loop.
    :param latest: when it gets an answer or an error at the latest.
    :param interval: given an answer, the seconds until its next poll.
    :param heeds: whether an answer concerns it.
    """

    __slots__ = (
        "_answer",
        "_closed",
        "_earliest",
        "_heard",
        "_poller",
        "_woken",
        "context",
        "due",
        "heeds",
        "interval",
        "latest",
    )

    def __init__(
        self,
        poller: Poller[T],
        due: float,
        latest: float,
        interval: Callable[[T], float],
        heeds: Callable[[T], bool],
    ) -> None:
        self._poller = poller
        self.due, self.latest = due, latest
        self._earliest = due
        self._closed = False
        self.interval, self.heeds = interval, heeds
        #: In which its lines are logged.
        self.context = contextvars.copy_context()
        self._answer: Any = _NOTHING
        #: The last answer, while the trigger is busy with it.
        self._heard: Any = _NOTHING
        self._woken: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next answer.

        :raises PlatformError: the error that came instead.
        """
        if self._closed:
            raise StopAsyncIteration
        self._poller.expect(self, self._heard)
        # The wait for the next one may be long, and an answer may be large.
        self._heard = _NOTHING
        loop = asyncio.get_running_loop()
        if self._answer is _NOTHING:
            self._woken = loop.create_future()
            await self._woken
        if self._earliest > loop.time():
            # A poll for others has brought it. Whoever fired now might be ahead of its own worker's report (waiting.first_poll).
            await asyncio.sleep(self._earliest - loop.time())
        answer, self._answer = self._answer, _NOTHING
        if self._closed:
            raise StopAsyncIteration
        if isinstance(answer, _Failure):
            raise answer.error.with_traceback(answer.raised_at)
        self._heard = answer
        taken: T = answer
        return taken

    async def aclose(self) -> None:
        """Leave. The last one who leaves ends the polls."""
        if not self._closed:
            self._closed = True
            self._answer = self._heard = _NOTHING
            self._wake()
            await self._poller.leave(self)

    def hand(self, answer: T | _Failure) -> None:
        """Wake the trigger with an answer; no poll is due until it says when it wants the next one."""
        self.due = math.inf
        if not isinstance(self._answer, _Failure):
            self._answer = answer
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def put_off(self, answer: T, spread: float, now: float) -> None:
        """Say when the next poll is wanted, after this answer.

        It is no later than the deadline; after the deadline the trigger's own interval counts.

        :param spread: by which the interval is multiplied.
        """
        due = now + self.interval(answer) * spread
        self.due = min(due, self.latest) if self.latest > now else due


class Poller(Generic[T]):
    """Polls one thing for all triggers that wait for it.

    :param poll: one poll: all calls that it needs, on the event loop.
    :param share: given what a poll has found and how many wait, makes the answer that all of them get.
    :param left: is awaited after each trigger that has left.
    """

    def __init__(
        self,
        poll: Callable[[], Awaitable[Any]],
        share: Callable[[Any, int], T] | None = None,
        left: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._poll = poll
        self._share = share
        self._left = left
        self._waiters: dict[Answers[T], None] = {}
        self._alarm: asyncio.Future[None] | None = None
        #: When the next poll is due while we sleep, by the event loop's clock; before, nobody need wake us.
        self._due = -math.inf
        self._spread = 1.0
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no trigger waits."""
        return not self._waiters

    def answers(
        self,
        first: float,
        interval: Callable[[T], float],
        deadline: float | None = None,
        heeds: Callable[[T], bool] | None = None,
    ) -> Answers[T]:
        """Return what a trigger gets of the polls from now on: their answers, until it closes them.

        :param first: seconds until this trigger's first poll, and before which it gets no answer.
        :param interval: given an answer, the seconds until this trigger's next poll. The trigger also gets the answers of
            polls that others asked for, once its first poll is due.
        :param deadline: seconds since 1970 at which this trigger gets an answer or an error at the latest.
        :param heeds: whether an answer concerns this trigger; it does not get the others. None for all.
        :raises PlatformError: (the answers) an error that waiting cannot mend, or the platform cannot be asked at the deadline.
        """
        now = asyncio.get_running_loop().time()
        latest = math.inf if deadline is None else now + deadline - time.time()
        waiter = Answers(self, now + first, latest, interval, heeds or _every_answer)
        self._waiters[waiter] = None
        return waiter

    def expect(self, waiter: Answers[T], heard: Any) -> None:
        """Poll when this trigger wants it next.

        :param heard: the answer that it has done with.
        """
        loop = asyncio.get_running_loop()
        if heard is not _NOTHING:
            waiter.put_off(heard, self._spread, loop.time())
        if waiter.due < self._due:
            self._wake()
        if self._task is None or self._task.done():
            # In no trigger's context: what is logged for several does not belong into the log of one.
            self._task = loop.create_task(self._run(), context=contextvars.Context())

    async def leave(self, waiter: Answers[T]) -> None:
        """Poll no more for this trigger."""
        self._waiters.pop(waiter, None)
        if self.idle and self._task is not None:
            self._task.cancel()
            self._task = None
        if self._left is not None:
            await self._left()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            self._due = min(waiter.due for waiter in self._waiters)
            if self._due > loop.time():
                # A trigger that is due earlier may arrive meanwhile, and who is due may leave: so it is reckoned anew.
                await self._sleep(loop)
            else:
                self._due = -math.inf
                await self._poll_once(loop)

    async def _sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until the next poll is due, or somebody is due earlier."""
        self._alarm = loop.create_future()
        timer = None if math.isinf(self._due) else loop.call_at(self._due, self._wake)
        try:
            await self._alarm
        finally:
            if timer is not None:
                timer.cancel()
            self._alarm = None

    def _wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

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
            if waiter in self._waiters and (  # it may have left meanwhile
                isinstance(answer, _Failure) or not self._is_put_off(waiter, answer, loop.time())
            ):
                waiter.hand(answer)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _is_put_off(self, waiter: Answers[T], answer: T, now: float) -> bool:
        """Whether the answer does not concern the trigger; then its next poll is due after its interval."""
        try:
            if waiter.heeds(answer):
                return False
            waiter.put_off(answer, self._spread, now)
        except Exception:  # noqa: BLE001  (here it would end the polls for all; the waiter itself meets it again)
            return False
        return True

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
    ) -> Answers[T]:
        """Return the answers of the one poller for this thing; close them to stop waiting.

        ``first``, ``interval``, ``deadline`` and ``heeds`` as for :meth:`Poller.answers`.

        :param connection: key of the hook.
        :param what: key of the thing within the connection.
        :param make: makes the hook.
        :param poll: one poll with the hook.
        :param sharing: makes the ``share`` of a new :class:`Poller`.
        """
        key = (connection, what)
        poller = self._pollers.get(key)
        if poller is None:
            asking = functools.partial(self._poll, connection, make, poll)
            left = functools.partial(self._left, key)
            poller = self._pollers[key] = Poller(asking, sharing and sharing(), left)
        self._enter(connection)
        answers = poller.answers(first, interval, deadline, heeds)
        try:
            # Read the connection now and not in on_kill: a triggerer's first look-up of a connection takes seconds,
            # and on_kill has few seconds.
            await self.hook(connection, make).aprepare()
        except BaseException:
            await answers.aclose()
            raise
        return answers

    async def _poll(
        self, connection: Hashable, make: Callable[[], Any], poll: Callable[[Any], Awaitable[Any]]
    ) -> Any:
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

    async def _left(self, key: tuple[Hashable, Hashable]) -> None:
        try:
            await self._leave(key[0])
        finally:
            if key in self._pollers and self._pollers[key].idle:
                del self._pollers[key]


_shared: dict[asyncio.AbstractEventLoop, SharedHooks] = {}


def shared_hooks() -> SharedHooks:
    """Return the running loop's hooks and pollers; those of closed loops are forgotten."""
    for loop in [one for one in _shared if one.is_closed()]:
        del _shared[loop]
    loop = asyncio.get_running_loop()
    if loop not in _shared:
        _shared[loop] = SharedHooks()
    return _shared[loop]
