"""One connection, one body at a time: exact length, the last block held back, a reset on every other way out.

Plain ``http.client`` under one 1 MB buffer: the quickest client measured (performance.md section 2).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_bulk.documents.source.parts import SourceChanged
from airflow_bulk.hooks.limits.bodies import BodyTurns, NoPlace
from airflow_bulk.hooks.limits.store import StoreUnreachable, boot_time
from airflow_bulk.hooks.sending.protocol import ANSWER_LIMIT, Answer, AnswerLost, SendingCut, Target

try:
    import fcntl
except ImportError:  # pragma: no cover (not on Windows)
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
BUFFER = 1 << 20
EARLY_SECONDS = 5.0  # to read an answer that is there already
HANGS_UP = select.POLLHUP | getattr(select, "POLLRDHUP", 0)
LAST_BLOCK = 16 << 10  # small enough to leave at once: one TLS record, less than any socket buffer
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops what is queued and resets
LINGER_OFF = struct.pack("ii", 0, 0)
UNSENT_BYTES = 0x894B  # SIOCOUTQNSD: what the kernel has not yet put on the network (Linux)


class Body(Protocol):
    """What is sent."""

    @property
    def digest(self) -> str:
        """Of what has been read so far."""

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes into the view; 0 at the end."""


class UploadConnection:
    """A kept-alive connection to the target.

    :param turns: asked before the request and before each block.
    """

    def __init__(self, target: Target, turns: BodyTurns) -> None:
        self._target, self._turns = target, turns
        self._url = urlsplit(target.url)
        self._connection: http.client.HTTPConnection | None = None
        self._buffer = memoryview(bytearray(BUFFER))
        self._context: ssl.SSLContext | None = None
        self._last = self._buffer[:0]
        self._stopped = self._complete = False

    def cut(self) -> None:
        """Shut the connection down, now and for good. Safe in a signal handler: no lock is taken."""
        self._stopped = True
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that would change the TLS state under a sendall in progress.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; resets it if a body is incomplete."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def post(self, length: int, body: Body, digest: str, may_finish: Callable[[], float]) -> Answer:
        """Send one body.

        :param length: bytes of the body, more than 0.
        :param digest: what the body's digest must be when all of it has been read.
        :param may_finish: asked before the last block; returns the boot time by which that must have left.
        :raises SendingCut: the body was not completed.
        :raises AnswerLost: it was, and no answer came.
        :raises SourceChanged: the body is not the one that was checked; it was cut.
        """
        self._complete = False
        early = self._network(lambda: self._send_most(length, body))
        if early is not None:
            return early
        try:
            if body.digest != digest:
                raise SourceChanged("the source has changed since it was checked")
            # Whatever this raises is the caller's, an OSError of a broken pipe to Airflow included.
            deadline = may_finish()
        except BaseException:
            self.close()
            raise
        return self._network(lambda: self._finish(deadline))

    def _network(self, act: Callable[[], T]) -> T:
        """Do something on the network: what goes wrong there is a cut, or leaves the fate unknown."""
        try:
            return act()
        except (OSError, http.client.HTTPException, NoPlace, StoreUnreachable) as error:
            self.close()
            why = "cut by request" if self._stopped else _why(error)
            if isinstance(error, NoPlace) and not self._stopped:
                raise SendingCut(str(error)) from error
            if self._complete:
                raise AnswerLost(f"the whole body left, but no answer came ({why})") from error
            raise SendingCut(f"the body was cut before its end ({why})") from error
        except BaseException:
            self.close()
            raise

    def _send_most(self, length: int, body: Body) -> Answer | None:
        """Send all but the last block; returns an answer only if one came before."""
        self._turns.request()
        sock = self._ready()
        self._put_head(length)
        left, most = length, min(BUFFER, self._turns.block or BUFFER)
        while left:
            count = body.readinto(self._buffer[: min(most, left)])
            if not count:
                raise SourceChanged("the source has become shorter since it was checked")
            left -= count
            kept = 0 if left else min(count, LAST_BLOCK)
            self._turns.bytes(count)
            if early := self._put(sock, self._buffer[: count - kept]):
                return early
            self._last = self._buffer[count - kept : count]
        # A refusal that has come by now saves the commit.
        return self._drain(sock) or self._put(sock, self._buffer[:0])

    def _finish(self, deadline: float) -> Answer:
        assert self._connection is not None  # noqa: S101
        self._put_last(self._connection.sock, self._last, deadline)
        return self._answer()

    def _ready(self) -> socket.socket:
        """Return a connected socket that resets when it is closed."""
        connection = self._connection
        if connection is not None and (connection.sock is None or _readable(connection.sock)):
            self.close()  # the server has hung up in the meantime
        if self._connection is None:
            self._connection = self._new_connection()
            self._connection.connect()
        sock = self._connection.sock
        if self._stopped:
            raise ConnectionAbortedError("cut by request")
        sock.settimeout(self._target.read_timeout)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return sock

    def _new_connection(self) -> http.client.HTTPConnection:
        url, target = self._url, self._target
        proxy = target.proxies.get(url.scheme) or target.proxies.get("all")
        host, port = url.hostname or "", url.port
        seconds = target.connect_timeout
        if proxy and url.scheme == "http":
            via = _proxy(proxy)
            return http.client.HTTPConnection(via.hostname or "", via.port or 80, timeout=seconds)
        if url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=seconds)
        if self._context is None:
            self._context = tls_context(target.verify)
        context = self._context
        if not proxy:
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        via = _proxy(proxy)
        connection = http.client.HTTPSConnection(
            via.hostname or "", via.port or 80, timeout=seconds, context=context
        )
        connection.set_tunnel(host, port, _proxy_login(via))
        return connection

    def _put_head(self, length: int) -> None:
        connection, url = self._connection, self._url
        assert connection is not None  # noqa: S101
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = dict(self._target.headers)
        proxy = self._target.proxies.get(url.scheme) or self._target.proxies.get("all")
        if proxy and url.scheme == "http":
            path = f"http://{url.netloc.rpartition('@')[2]}{path}"
            headers |= _proxy_login(_proxy(proxy))
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", url.netloc.rpartition("@")[2])
        for name, value in headers.items():
            try:
                connection.putheader(name, value)
            except ValueError:  # its message would quote the value, which may be the token
                raise ValueError(
                    f"The header {name!r} would hold characters that no header may have, so nothing was sent: look at the "
                    "password of the connection, and at its other fields. A retry cannot help before that."
                ) from None
        connection.putheader("Content-Length", str(length))
        connection.endheaders()

    def _put(self, sock: socket.socket, block: memoryview) -> Answer | None:
        """Send a block that is not the last. An answer that comes meanwhile is taken: it is a refusal."""
        if self._stopped:
            raise ConnectionAbortedError("cut by request")
        if _answers(sock):
            return self._early_answer(sock)
        try:
            sock.sendall(block)
        except OSError:
            early = None
            if _readable(sock):  # it may have said why before it hung up
                with contextlib.suppress(OSError, http.client.HTTPException):
                    early = self._early_answer(sock)
            if early is None:
                raise
            return early
        return None

    def _early_answer(self, sock: socket.socket) -> Answer:
        """Read an answer that came before the body's end, and reset."""
        sock.settimeout(min(EARLY_SECONDS, self._target.read_timeout))
        answer = self._answer()
        self.close()
        if answer.status < 400:
            raise http.client.HTTPException(f"status {answer.status} before the body's end")
        return answer

    def _drain(self, sock: socket.socket) -> Answer | None:
        """Wait until the network has all that was sent: the last block must not wait in a queue behind it."""
        if fcntl is None:
            return None
        deadline, pause, before = boot_time() + self._target.read_timeout, 0.0002, -1
        while True:
            try:
                waiting = struct.unpack("i", fcntl.ioctl(sock.fileno(), UNSENT_BYTES, b"\0\0\0\0"))[0]
            except OSError:
                return None  # another system than Linux
            if not waiting:
                return None
            if _answers(sock):  # bytes that wait on a connection that has been reset wait for ever
                return self._early_answer(sock)
            if waiting != before:
                before, deadline = waiting, boot_time() + self._target.read_timeout
            elif boot_time() > deadline:
                raise TimeoutError("the server takes no more bytes")
            time.sleep(pause)
            pause = min(2 * pause, 0.01)

    def _put_last(self, sock: socket.socket, block: memoryview, deadline: float) -> None:
        left = deadline - boot_time()
        if left <= 0:
            raise TimeoutError("the commit is too long ago")
        sock.settimeout(left)
        if self._stopped:
            raise ConnectionAbortedError("cut by request")
        sock.sendall(block)
        self._complete = True  # the kernel has the last byte
        sock.settimeout(self._target.read_timeout)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)

    def _answer(self) -> Answer:
        assert self._connection is not None  # noqa: S101
        with self._connection.getresponse() as response:
            body = response.read(ANSWER_LIMIT + 1)
            headers = {name.lower(): value for name, value in response.getheaders()}
            if len(body) > ANSWER_LIMIT:
                self.close()
            return Answer(response.status, headers, body[:ANSWER_LIMIT])


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Make the TLS context that ``requests`` would use for this ``verify``."""
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if verify is True:
        import certifi  # what requests trusts, so that control calls and bodies agree

        verify = certifi.where()
    if Path(verify).is_dir():
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)


def _proxy(url: str) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http":
        raise ValueError(
            f"File bodies go through a proxy of scheme http alone, and not of {parts.scheme!r}: nothing was sent. Change the "
            "proxies of the connection, or of the worker's environment; a retry cannot help before that."
        )
    return parts


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def _answers(sock: socket.socket) -> bool:
    """Say whether an answer is there, or the server has hung up."""
    if isinstance(sock, ssl.SSLSocket):  # readable may mean no more than a session ticket
        return _happens(sock, HANGS_UP)
    return _readable(sock)


def _readable(sock: socket.socket) -> bool:
    return _happens(sock, select.POLLIN | HANGS_UP)


def _happens(sock: socket.socket, events: int) -> bool:
    poll = select.poll()
    poll.register(sock, events)  # errors are always told
    return bool(poll.poll(0))


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
