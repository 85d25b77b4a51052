"""Carries calls out: ``send`` in workers, ``asend`` in triggers, and nothing else does HTTP but file bodies.

The rules stand here once (ARCHITECTURE.md section 3): one kept-alive session, connect and read timeouts always
set, TLS verified, redirects never followed (a token must not travel), retries only of what is
repeatable or was certainly not carried out, with capped exponential backoff, jitter and
``Retry-After``. No message holds a header.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from airflow_bulk.hooks.answers import ASK_AGAIN, Again, asks_for_silence, settle, unanswered
from airflow_bulk.hooks.endpoint import Endpoint
from airflow_bulk.hooks.limits.rate import ON_THE_WAY
from airflow_bulk.hooks.limits.store import StoreUnreachable
from airflow_bulk.hooks.network import (
    address_of,
    how_far,
    how_far_async,
    proxy_of,
    tls_context,
    widen_pool,
)
from airflow_bulk.hooks.retry_after import LONGEST_RETRY_AFTER, say_retry
from airflow_bulk.pausing import pause
from airflow_bulk.platforms.call import Call, Reply
from airflow_bulk.platforms.errors import TryLater
from airflow_bulk.unblocked_log import UnblockedLog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import aiohttp
    import requests

    from airflow_bulk.hooks.download import Download
    from airflow_bulk.hooks.limits.rate import RateBudget

T = TypeVar("T")
log = UnblockedLog(logging.getLogger(__name__))

#: Tries of one call in all, and the cap of the wait between two (seconds).
TRIES = 5
LONGEST_WAIT = 30.0

#: Seconds that a call which has little time waits to hear whether it may leave.
ASKING_SECONDS = 1.0
#: Calls under way at once on one event loop, and so connections: a thousand tasks that wait are one client to the platform.
CALLS_AT_ONCE = 8
#: Seconds that an idle connection of an event loop is kept: longer than the usual 30 s between two polls, shorter than the 60 s
#: after which servers and balancers close theirs.
KEEP_ALIVE = 55.0


class Transport:
    """The two ways to carry out a call.

    :param endpoint: where and how.
    :param session: the ``requests`` session of ``HttpHook.get_conn``; made on first use.
    :param budget: the connection's rate budget.
    """

    def __init__(self, endpoint: Endpoint, session: requests.Session | None, budget: RateBudget) -> None:
        self.endpoint = endpoint
        self._session = session
        self._bare: requests.Session | None = None
        self._budget = budget
        self._client: aiohttp.ClientSession | None = None
        self._slots: asyncio.Semaphore | None = None
        #: Made once: a context of its own for each call would also mean a connection of its own.
        self._tls: tuple[bool | str, Any] | None = None
        #: Chosen once, too: looking through the environment costs more than the rest of a call.
        self._proxy: tuple[Endpoint, str | None] | None = None

    def send(
        self, call: Call[T], *, tries: int = TRIES, timeout: float | None = None, into: Download | None = None
    ) -> T:
        """Carry a call out and return its record.

        :param call: the call.
        :param tries: attempts in all; 1 never repeats.
        :param timeout: seconds to connect and without a byte, and at most to wait for the end of a silence; such a
            call leaves before those that wait for a place in the rate budget. None takes the connection's, and waits for a place as long as it takes.
        :param into: takes the body of a good answer as it comes; the call then reads an answer without one. A body that
            is cut short is asked for again from its beginning.
        :raises PlatformError: the platform refused, or could not be asked.
        """
        for attempt in tenacity.Retrying(sleep=pause, **_policy(tries)):
            with attempt:
                wait = self._wait(call, timeout)
                while wait:
                    leaves = time.monotonic() + wait
                    pause(wait)
                    wait = self._wait_again(call, timeout, leaves)
                reply = self._attempt(call, timeout, into)
                self.silence(asks_for_silence(call, reply, self.endpoint))
                return settle(call, reply, self.endpoint)
        raise AssertionError("unreachable")  # pragma: no cover

    async def asend(self, call: Call[T], *, tries: int = TRIES, timeout: float | None = None) -> T:
        """Carry a call out on the event loop; the same promises as :meth:`send`.

        :data:`CALLS_AT_ONCE` are under way at once, but for those with a ``timeout``: a trigger that is stopped has few
        seconds, and does not queue behind the polls of others.
        """
        import asyncio

        if self._slots is None:
            self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        async for attempt in tenacity.AsyncRetrying(**_policy(tries)):
            with attempt:
                async with self._slots if timeout is None else nullcontext():
                    wait = await self._asking(self._wait, call, timeout)
                    while wait:
                        leaves = time.monotonic() + wait
                        await asyncio.sleep(wait)
                        wait = await self._asking(self._wait_again, call, timeout, leaves)
                    reply = await self._aattempt(call, timeout)
                if (asked := asks_for_silence(call, reply, self.endpoint)) is not None:
                    await self._asking(self.silence, asked)
                return settle(call, reply, self.endpoint)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _asking(self, ask: Callable[..., T], *arguments: Any) -> T:
        """Ask the budget without holding up the event loop: a shared one may take a moment."""
        import asyncio

        if not self._budget.shared:
            return ask(*arguments)
        # In threads of our own: those of the event loop look up host names for everybody. With the context of the task, whose log
        # hears of a store that cannot be reached.
        asking = functools.partial(contextvars.copy_context().run, ask, *arguments)
        return await asyncio.get_running_loop().run_in_executor(_askers(), asking)

    def _wait(self, call: Call[Any], timeout: float | None) -> float:
        """Take a place in the connection's rate budget and return the seconds to wait for it.

        :raises TryLater: the platform asked to be left alone for longer than a call waits.
        """
        try:
            if timeout is None:
                place = self._budget.reserve(longest_hold=LONGEST_RETRY_AFTER)
            else:
                place = self._budget.reserve_at_once(ASKING_SECONDS, min(timeout, LONGEST_RETRY_AFTER))
        except StoreUnreachable as error:
            return _unlimited(call, timeout, error)
        if place.taken:
            return place.wait
        why = f"no call may leave for another {place.wait:.0f} s, as the platform or the rate limit of the connection asks"
        raise TryLater(call.what, why, retry=say_retry(ASK_AGAIN, place.wait), retry_after=place.wait)

    def _wait_again(self, call: Call[Any], timeout: float | None, leaves: float) -> float:
        """The seconds to wait once more, else 0: the platform has asked to be left alone meanwhile, or we stood still.

        :param leaves: when the call was to leave, by the monotonic clock.
        """
        if timeout is not None:
            return 0.0  # it has no time to ask again
        if time.monotonic() > leaves + ON_THE_WAY:
            return self._wait(call, timeout)
        try:
            held = self._budget.held
        except StoreUnreachable as error:
            return _unlimited(call, timeout, error)
        return self._wait(call, timeout) if held else 0.0

    def silence(self, seconds: float | None) -> None:
        """Hold the whole connection back, as the platform asked; None does nothing."""
        if seconds is not None:
            try:
                self._budget.retry_after(seconds)
            except StoreUnreachable as error:
                log.warning("Others do not hear that the platform asks for %.0f s: %s.", seconds, error)

    def _attempt(self, call: Call[Any], timeout: float | None, into: Download | None) -> Reply:
        import requests

        if self._session is None:
            raise RuntimeError("this transport was built for asend only")
        endpoint = self.endpoint
        address = address_of(endpoint.base_url, call.path, call.url)
        try:
            answer = (self._session if address.trusted else self._bare_session()).request(
                call.method,
                address.url,
                params=call.parameters(),
                json=call.json,
                timeout=(_soonest(endpoint.connect_timeout, timeout), timeout or endpoint.read_timeout),
                allow_redirects=False,
                # On the call: environment variables would override the session's (airflow.md section 7.3).
                verify=endpoint.verify,
                proxies=dict(endpoint.proxies),
                stream=into is not None,
                headers=None if into is None else into.headers,
                # None: the session's. Elsewhere none at all, not even those of a netrc file.
                auth=None if address.trusted else _without_authentication,
            )
            body = answer.content if into is None else into.take(call, answer)
        except requests.RequestException as error:
            raise unanswered(call, error, how_far(error), endpoint) from None
        return Reply(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, body)

    def _bare_session(self) -> requests.Session:
        """Return the session for other origins: the connection's would send its cookies along."""
        import requests

        if self._bare is None:
            self._bare = requests.Session()
        return self._bare

    async def _aattempt(self, call: Call[Any], timeout: float | None) -> Reply:
        import aiohttp

        if call.url is not None:
            raise RuntimeError("a URL that an answer has named is followed by send only")
        endpoint = self.endpoint
        if self._client is None or self._client.closed:
            # Without trust_env: aiohttp would take credentials from a netrc file, and proxies are chosen below.
            self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE))
            # It would repeat a call by itself, at once and uncounted; repeating is decided in one place.
            self._client._retry_connection = False
        try:
            async with self._client.request(
                call.method,
                endpoint.base_url + call.path,
                params=call.parameters(),
                json=call.json,
                # On the call, so that renewed credentials need no new session.
                headers=endpoint.headers,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=_soonest(endpoint.connect_timeout, timeout),
                    sock_read=timeout or endpoint.read_timeout,
                ),
                allow_redirects=False,
                proxy=self._proxy_of(endpoint),
                ssl=await self._tls_of(endpoint),
            ) as answer:
                return Reply(
                    answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unanswered(call, error, how_far_async(error), endpoint) from None

    def _proxy_of(self, endpoint: Endpoint) -> str | None:
        if self._proxy is None or self._proxy[0] is not endpoint:
            self._proxy = endpoint, proxy_of(endpoint.base_url, endpoint.proxies)
        return self._proxy[1]

    async def _tls_of(self, endpoint: Endpoint) -> Any:
        """What aiohttp takes for ``ssl``: the same certificates that ``requests`` would trust."""
        import asyncio

        if not endpoint.base_url.startswith("https:"):
            return True
        if self._tls is None or self._tls[0] != endpoint.verify:
            self._tls = endpoint.verify, await asyncio.to_thread(tls_context, endpoint.verify)
        return self._tls[1]

    def widen(self, connections: int) -> None:
        """Let the synchronous session keep so many connections alive, before threads share it."""
        if self._session is not None:
            widen_pool(self._session, connections)

    def close(self) -> None:
        """Close the synchronous sessions."""
        for session in (self._session, self._bare):
            if session is not None:
                session.close()

    async def aclose(self) -> None:
        """Close the asynchronous session."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def _without_authentication(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _soonest(connect_timeout: float, timeout: float | None) -> float:
    """A server that does not even answer a connection attempt must not use up the few seconds of an ``on_kill``."""
    return connect_timeout if timeout is None else min(connect_timeout, timeout)


def _policy(tries: int) -> dict[str, Any]:
    backoff = tenacity.wait_exponential(multiplier=0.5, max=LONGEST_WAIT) + tenacity.wait_random(0, 0.5)

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, Again) else None
        return max(backoff(state), asked or 0.0)

    def give_up(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, Again) else None
        return state.attempt_number >= tries or (asked or 0.0) > LONGEST_RETRY_AFTER

    def out_of_tries(state: tenacity.RetryCallState) -> Any:
        error = state.outcome.exception() if state.outcome else None
        raise error.error if isinstance(error, Again) else RuntimeError("no outcome")

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Again):
            pause = state.next_action.sleep if state.next_action else 0.0
            log.info("Could not %s: %s. Again in %.1f s.", error.error.what, error.error.why, pause)

    return {
        "retry": tenacity.retry_if_exception_type(Again),
        "wait": wait,
        "stop": give_up,
        "retry_error_callback": out_of_tries,
        "before_sleep": tell,
    }


@functools.cache
def _askers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4 * CALLS_AT_ONCE, thread_name_prefix="asks-limits")


def _unlimited(call: Call[Any], timeout: float | None, error: StoreUnreachable) -> float:
    """What a call does when nobody can say whether it may leave: it waits and asks again, but for those that have seconds."""
    if timeout is None:
        raise Again(TryLater(call.what, str(error), retry=ASK_AGAIN)) from None
    log.warning("The limits of the connection are not asked, for there is no time to wait: %s.", error)
    return 0.0
