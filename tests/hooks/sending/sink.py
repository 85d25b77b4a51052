"""A small server that takes bodies and tells what it got; it misbehaves on request."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Taken(NamedTuple):
    """One body that arrived whole."""

    head: bytes
    body: bytes

    @property
    def lines(self) -> int:
        return self.body.count(b"\n") + (not self.body.endswith(b"\n"))


class Sink:
    """Listens on loopback. Attributes may be changed between bodies.

    :param certificate: speak TLS with this certificate and key.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.context: ssl.SSLContext | None = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.taken: list[Taken] = []
        self.cut: list[int] = []  # bytes that had arrived of each body that never became whole
        self.resets = 0
        self.connections = 0
        self.begun = 0  # bodies whose head has arrived
        self.answer: Callable[[int], bytes | None] = lambda number: _answer(200, b'{"status":"ok"}')
        self.early: bytes | None = None  # answered after the head, without reading the body
        self.on_bytes: Callable[[int], None] = lambda count: None  # called with the bytes of the body so far
        self.close_after = 0  # requests after which a kept connection is closed
        self._listener = socket.create_server(("127.0.0.1", 0))
        # What the kernel takes without being asked is little, so that a slow reader makes a slow sender.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://localhost:{self.port}/v1/executions"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            self._open.add(sock)
            requests = 0
            with sock:
                while self._request(sock):
                    requests += 1
                    if requests == self.close_after:
                        return
        except OSError:
            return
        finally:
            self._open.discard(sock)

    def _request(self, sock: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return False
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if self.early is not None:
            sock.sendall(self.early)
            return False
        self.begun += 1
        body = bytearray(rest)
        try:
            while len(body) < length:
                self.on_bytes(len(body))
                more = sock.recv(1 << 20)
                if not more:
                    break
                body += more
        except ConnectionResetError:
            self.resets += 1
        if len(body) < length:
            self.cut.append(len(body))
            return False
        answer = self.answer(len(self.taken))
        self.taken.append(Taken(head, bytes(body)))
        if answer is None:
            return False
        sock.sendall(answer)
        return True

    def wait_for(self, seen: Callable[[], bool], seconds: float = 20.0) -> bool:
        """Wait until something shows."""
        end = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(
                socket.SHUT_RDWR
            )  # closing alone does not wake the one who waits in accept
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.close()


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


answer = _answer
