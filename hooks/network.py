"""What ``requests`` and ``aiohttp`` see differently, seen alike: failures, proxies, certificates.

``requests`` sets the measure, since it carries out the control calls that the whole of Airflow knows how to
configure; ``aiohttp`` is told to do the same.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests
    from requests.cookies import RequestsCookieJar


class HowFar(enum.Enum):
    """How far an unanswered request had come."""

    UNTRUSTED = "the certificate of the server was refused, so nothing was sent"
    NOT_CONNECTED = "there was no connection, so nothing was sent"
    UNKNOWN = "it may have arrived"


class Address(NamedTuple):
    """Where a call goes.

    :param url: whole, without the query of the call.
    :param trusted: whether it is at the connection's own origin, and so gets its credentials.
    """

    url: str
    trusted: bool


def address_of(base_url: str, path: str, url: str | None) -> Address:
    """Return where a call goes.

    :param url: a whole URL in place of base URL and path, from an answer.
    """
    if url is None:
        return Address(base_url + path, True)
    return Address(url, origin(url) == origin(base_url))


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: what may see the same credentials."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def how_far(error: Exception) -> HowFar:
    """How far ``requests`` came."""
    import ssl

    import requests
    from urllib3.exceptions import NameResolutionError, NewConnectionError, ProxyError, SSLError

    if isinstance(error, requests.ConnectTimeout):
        return HowFar.NOT_CONNECTED
    reason = getattr(error.args[0], "reason", None) if error.args else None
    cause = reason.args[0] if isinstance(reason, SSLError) and reason.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return HowFar.UNTRUSTED
    # urllib3's ProxyError means that the way through the proxy was never opened.
    never = isinstance(reason, NewConnectionError | NameResolutionError | ProxyError)
    return HowFar.NOT_CONNECTED if never else HowFar.UNKNOWN


def how_far_async(error: Exception) -> HowFar:
    """How far ``aiohttp`` came."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return HowFar.UNTRUSTED
    never = isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    )
    return HowFar.NOT_CONNECTED if never else HowFar.UNKNOWN


def proxy_of(base_url: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy that ``requests`` would take: the connection's, else the environment's.

    :param proxies: the connection's, by scheme (``https``), by scheme and host (``https://name``) or ``all``.
    """
    from requests.utils import get_environ_proxies, select_proxy

    chosen: str | None = select_proxy(base_url, {**get_environ_proxies(base_url), **proxies})
    return chosen


def tls_context(verify: bool | str) -> Any:
    """What ``aiohttp`` takes for ``ssl``, trusting what ``requests`` would trust. Reads files.

    :param verify: False trusts everybody; a text is the path of a file or a folder of authorities.
    """
    import ssl

    if verify is False:
        return False
    if verify is True:
        from certifi import where

        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or where()
    if Path(verify).is_dir():
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)


def widen_pool(session: requests.Session, connections: int) -> None:
    """Let a session keep so many connections to one host alive; more than it keeps would be opened anew each time.

    :param connections: fewer than the session keeps already changes nothing.
    """
    from requests.adapters import HTTPAdapter

    adapters: list[Any] = [one for one in session.adapters.values() if isinstance(one, HTTPAdapter)]
    for adapter in adapters:
        # requests has no method for it: an adapter is told its size when it is made, and Airflow makes ours.
        if adapter._pool_maxsize < connections:
            adapter.close()
            adapter.proxy_manager.clear()
            adapter.init_poolmanager(adapter._pool_connections, connections, block=adapter._pool_block)


def shared_cookies() -> RequestsCookieJar:
    """A session's cookies that several threads may share: one may read them while another one's answer sets one."""
    from requests.cookies import RequestsCookieJar

    class SharedCookies(RequestsCookieJar):
        def __iter__(self) -> Any:
            with self._cookies_lock:  # type: ignore[attr-defined]
                return iter(list(super().__iter__()))

    return SharedCookies()
