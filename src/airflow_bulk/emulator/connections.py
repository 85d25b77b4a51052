"""The open TCP connections, so that a fault can end one as a network would."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from typing import Any

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as HttpProtocol
except ImportError:  # httptools is optional for uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol as HttpProtocol  # type: ignore[assignment]

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connections:
    """Transports by the client's address."""

    def __init__(self) -> None:
        self._transports: dict[Any, asyncio.Transport] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """Return uvicorn's HTTP protocol, with every connection noted here."""
        transports = self._transports

        class NotedProtocol(HttpProtocol):
            def connection_made(self, transport: Any) -> None:
                self._peer = _address(transport.get_extra_info("peername"))
                transports[self._peer] = transport
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                transports.pop(self._peer, None)
                super().connection_lost(exc)

        return NotedProtocol

    def broken(self, client: Any) -> bool:
        """Whether a connection was reset, or is gone altogether. An orderly end is not looked for."""
        transport = self._transports.get(_address(client))
        if transport is None:
            return True
        watch = select.poll()
        watch.register(transport.get_extra_info("socket").fileno(), 0)
        return bool(watch.poll(0))

    def cut(self, client: Any, *, reset: bool) -> None:
        """End a connection without an answer.

        :param client: the ``client`` of the ASGI scope.
        :param reset: with a TCP reset; else an orderly end.
        """
        transport = self._transports.get(_address(client))
        if transport is None:
            return
        if reset:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            transport.abort()
        else:
            transport.close()


def _address(peer: Any) -> tuple[str, int] | None:
    return (str(peer[0]), int(peer[1])) if peer else None
