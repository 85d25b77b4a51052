"""What every platform's hook shares: a declared connection becomes an endpoint, a session and a transport.

Control calls go through the ``requests`` session that ``HttpHook.get_conn`` builds, so proxies,
adapters and TLS settings come with it. Our connection fields never become headers, which is what
``HttpHook`` does with unknown extras (airflow.md section 7.1).
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

from airflow.providers.http.hooks.http import HttpHook

from airflow_bulk.hooks.endpoint import Endpoint
from airflow_bulk.hooks.limits.bodies import BodyLimits
from airflow_bulk.hooks.limits.rate import RateBudget, budget_for
from airflow_bulk.hooks.limits.store import Store, StoreAddress, StoreUnreachable, open_store
from airflow_bulk.hooks.network import shared_cookies
from airflow_bulk.hooks.transport import Transport

if TYPE_CHECKING:
    import requests

    from airflow_bulk.platforms.call import Call

T = TypeVar("T")


class ConnectionFieldError(ValueError):
    """A field of the Airflow connection is missing or malformed; nothing was sent."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem} A retry cannot help until that is changed.")


class _HeaderAuth:
    """Sets the credential headers of a ``requests`` session.

    As an auth object, not as plain headers: ``requests`` would let a netrc file override those.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class PlatformHook(HttpHook):
    """Base of the platforms' hooks.

    :param conn_id: the Airflow connection.
    """

    #: Fallback of the connection's host.
    base_url_default: ClassVar[str] = ""
    #: What the platform calls its credentials, for messages.
    credentials: ClassVar[str] = "credentials"

    def __init__(self, conn_id: str) -> None:
        super().__init__(http_conn_id=conn_id)
        self.conn_id = conn_id
        self._connection: Any = None
        self._endpoint: Endpoint | None = None
        self._transport: Transport | None = None
        self._limits_connection: Any = None
        self._renewal = asyncio.Lock()

    @abstractmethod
    def authentication(self, connection: Any) -> dict[str, str]:
        """Return the headers that carry the credentials."""

    def send(self, call: Call[T], **options: Any) -> T:
        """Carry out a call in a worker; see :meth:`airflow_bulk.hooks.transport.Transport.send`."""
        return self.prepare().send(call, **options)

    def download(self, call: Call[Any], into: BinaryIO, most_bytes: int) -> int:
        """Carry out a call whose good answer is a file, and write that into an open file, block by block.

        :param call: the call; what it makes of the body is not asked.
        :param into: an open binary file that can seek and truncate; the body is put at its position.
        :param most_bytes: a longer body is refused.
        :returns: bytes written.
        :raises TooLarge: the body is longer.
        """
        from airflow_bulk.hooks.download import Download

        file = Download(into, most_bytes)
        size: int = self.send(dataclasses.replace(call, parse=lambda reply: file.size), into=file)
        return size

    def prepare(self, connections: int = 0) -> Transport:
        """Read the connection and make the session, before a moment that may do neither.

        An ``on_kill`` is one: it may interrupt a call to the supervisor, whose lock reading a connection takes. Threads that
        share the hook are another.

        :param connections: how many connections to the platform to keep alive, where that is more than usual: as many as
            threads send at once.
        """
        if self._transport is None:
            endpoint = self.endpoint
            self._transport = Transport(endpoint, self.get_conn(), self.budget)
        self._transport.widen(connections)
        return self._transport

    async def asend(self, call: Call[T], **options: Any) -> T:
        """Carry out a call on the event loop of a trigger."""
        await self.aprepare()
        if self._transport is None:
            budget = await asyncio.to_thread(lambda: self.budget)  # it may load a client of Redis
            if self._transport is None:  # asked after the await: many triggers share one hook
                self._transport = Transport(self.endpoint, None, budget)
        return await self._transport.asend(call, **options)

    async def aprepare(self) -> None:
        """Read the connection without blocking the event loop; call before any asynchronous use."""
        if self._connection is None:
            connection = await self.aget_connection(self.conn_id)
            # Before it is adopted: whoever finds it adopted asks no more, and must not read another one on the event loop.
            if conn_id := str(connection.extra_dejson.get("limits_conn_id") or "").strip():
                self._limits_connection = await self.aget_connection(conn_id)
            self._adopt(connection)

    async def arenew(self, refused: Endpoint) -> bool:
        """Read the connection again after its credentials were refused.

        :param refused: the endpoint that they were part of.
        :returns: whether there are others now, so that asking again makes sense.
        """
        async with self._renewal:
            if self.endpoint.headers == refused.headers:
                self._adopt(await self.aget_connection(self.conn_id))
                if self._transport is not None:
                    self._transport.endpoint = self.endpoint
            return self.endpoint.headers != refused.headers

    @property
    def connection(self) -> Any:
        """The Airflow connection, read once."""
        if self._connection is None:
            self._adopt(self.get_connection(self.conn_id))
        return self._connection

    @property
    def endpoint(self) -> Endpoint:
        """Where and how the platform is reached."""
        if self._endpoint is None:
            self._adopt(self.connection)
        assert self._endpoint is not None  # noqa: S101  (set by _adopt)
        return self._endpoint

    def _adopt(self, connection: Any) -> None:
        from airflow.sdk.log import mask_secret

        self._connection = connection
        if connection.password:
            mask_secret(connection.password)
        headers = self.authentication(connection)
        for value in headers.values():
            mask_secret(value)
        verify = self.flag("verify", True)
        self._endpoint = Endpoint(
            base_url=self._base_url(connection),
            headers=headers,
            secrets=((connection.password or "").strip(),),
            connect_timeout=self.number("connect_timeout", 10.0),
            read_timeout=self.number("read_timeout", 60.0),
            verify=self._trusted() if verify else False,
            proxies=self._proxies(),
            credentials=self.credentials,
        )

    def _trusted(self) -> bool | str:
        path = self.text("ca_path")
        if path and not Path(path).exists():
            raise ConnectionFieldError(f"Connection {self.conn_id!r}: there is no file ca_path={path!r}.")
        return path or True

    # The limits, which all who use the connection share.

    def budget_names(self) -> tuple[str, ...]:
        """Return the names of the connection's limits; the first one is their name for all processes."""
        return (f"{self.conn_id} {self.endpoint.base_url}",)

    @property
    def requests_per_minute(self) -> float | None:
        """The limit of requests; None: no limit of ours."""
        return self.number("requests_per_minute", 0.0) or None

    @property
    def budget(self) -> RateBudget:
        """The rate budget of the connection; without any limit it is this process's own.

        :raises ConnectionFieldError: there is a limit, and no store to share it in.
        """
        store = self._limits_store() if self.body_limits else None
        return budget_for(self.budget_names(), self.requests_per_minute, store)

    def silence(self, seconds: float) -> None:
        """Hold the whole connection back, as the platform has asked in an answer to a body."""
        self.prepare().silence(seconds)

    @property
    def body_limits(self) -> BodyLimits | None:
        """What the bodies of all tasks share; None: nothing is limited."""
        limits = {
            "requests_per_minute": self.requests_per_minute,
            "max_uploads": int(self.number("max_uploads", 0.0)) or None,
            "max_bytes_per_second": self.number("max_bytes_per_second", 0.0) or None,
        }
        if not any(limits.values()):
            return None
        return BodyLimits(address=self._limits_address, names=self.budget_names(), **limits)  # type: ignore[arg-type]

    def _limits_store(self) -> Store:
        try:
            return open_store(self._limits_address)
        except StoreUnreachable as error:
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r}: its limits cannot be shared: {error}."
            ) from None

    @functools.cached_property
    def _limits_address(self) -> StoreAddress:
        from airflow_bulk.hooks.limits.sharing import address_of, installation_address

        if conn_id := self.text("limits_conn_id"):
            self._limits_connection = self._limits_connection or self.get_connection(conn_id)
            return address_of(self._limits_connection)
        return installation_address(self.conn_id)

    def _base_url(self, connection: Any) -> str:
        host = (connection.host or self.base_url_default).rstrip("/")
        if not host:
            raise ConnectionFieldError(f"Connection {self.conn_id!r} has no base URL (field host).")
        if "://" not in host:
            host = f"{connection.schema or 'https'}://{host}"
        scheme, _, rest = host.partition("://")
        if connection.port and ":" not in rest.partition("/")[0]:
            name, slash, path = rest.partition("/")
            host = f"{scheme}://{name}:{connection.port}{slash}{path}"
        if scheme not in ("http", "https"):
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r}: the base URL must begin with https:// or http://."
            )
        return host

    def _proxies(self) -> dict[str, str]:
        proxies = self.connection.extra_dejson.get("proxies") or {}
        if not isinstance(proxies, dict):
            raise ConnectionFieldError(f"Connection {self.conn_id!r}: extra field proxies must be an object.")
        return {str(k): str(v) for k, v in proxies.items() if v}

    # Declared connection fields, read leniently: the form stores text, JSON stores what it is.

    def text(self, name: str) -> str:
        """Return an extra field as text, empty when it is not set."""
        value = self.connection.extra_dejson.get(name)
        return "" if value is None else str(value).strip()

    def number(self, name: str, default: float) -> float:
        """Return an extra field as a number; raises :class:`ConnectionFieldError` when it is none."""
        text = self.text(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r}: field {name} must be a number from 0 up."
            )
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return an extra field as a boolean."""
        text = self.text(name).lower()
        if text in ("", "none"):
            return default
        if text in ("true", "1", "yes", "on"):
            return True
        if text in ("false", "0", "no", "off"):
            return False
        raise ConnectionFieldError(f"Connection {self.conn_id!r}: field {name} must be true or false.")

    # What HttpHook.get_conn asks while it builds the session.

    def _set_base_url(self, connection: Any) -> None:
        self.base_url = self.endpoint.base_url
        self._base_url_initialized = True

    def _configure_session_from_auth(self, session: requests.Session, connection: Any) -> requests.Session:
        session.auth = _HeaderAuth(self.endpoint.headers)

        def rebuild_auth(prepared: requests.PreparedRequest, response: requests.Response) -> None:
            # On the way to another host, requests drops "Authorization" alone; ours may be in other headers.
            for name in self.endpoint.headers:
                prepared.headers.pop(name, None)

        session.rebuild_auth = rebuild_auth  # type: ignore[method-assign]
        session.cookies = shared_cookies()
        return session

    def _configure_session_from_extra(
        self, session: requests.Session, connection: Any, extra_options: dict[str, Any]
    ) -> requests.Session:
        session.proxies = dict(self.endpoint.proxies)
        session.verify = self.endpoint.verify
        return session

    def close(self) -> None:
        """Close the hook's session."""
        if self._transport is not None:
            self._transport.close()

    async def aclose(self) -> None:
        """Close the hook's asynchronous session."""
        if self._transport is not None:
            await self._transport.aclose()
