"""Runs the application on a loopback socket."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from airflow_bulk.emulator.app import build
from airflow_bulk.emulator.connections import Connections
from airflow_bulk.emulator.world import World

# On every answer, so that nobody takes the emulator for the platform.
MARK = ("X-Bulk-Emulator", "airflow-provider-bulk")
# A small window, so that a slowly read body holds its sender back early.
RECEIVE_BUFFER = 256 * 1024
# Line checking shares the interpreter with the event loop: let the loop have its turn sooner.
SWITCH_INTERVAL = 0.001


def loopback_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    :raises ValueError: the host is not, or not only, this machine's loopback.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for entry in found:
        if not ipaddress.ip_address(entry[4][0]).is_loopback:
            raise ValueError(f"{host} is not a loopback address: the emulator does not leave this machine")
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(address)
    sock.listen(512)
    return sock


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()


def serve(
    world: World,
    sock: socket.socket,
    ready: Callable[[], None],
    *,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, or until standard input ends.

    :param ready: called once when the first request can be served.
    """
    connections = Connections()
    config = uvicorn.Config(
        build(world, connections),
        http=connections.protocol(),
        ws="none",
        loop="asyncio",
        log_config=None,
        # Its lines would hold query strings, tokens among them; the request log does without.
        access_log=False,
        server_header=False,
        # Even the answers to what is no HTTP carry it.
        headers=[MARK],
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    server = _Server(config, ready)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # uvicorn ends by raising the signal once more, with these handlers back in place: ours let it return,
    # so that the state folder is cleaned up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    asyncio.run(_serve(server, sock, until_stdin_closes))


async def _serve(server: uvicorn.Server, sock: socket.socket, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            server.should_exit = True

    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), on_input)
    await server.serve(sockets=[sock])


def url_of(sock: socket.socket, *, tls: bool) -> str:
    """Return the base URL of a listening socket."""
    address: Any = sock.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{'https' if tls else 'http'}://{host}:{address[1]}"
