"""A real Redis for tests: ``REDIS_URL`` if set, else the one on 127.0.0.1:6379, else one of our own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

LOCAL = "redis://127.0.0.1:6379/0"


class NoRedis(Exception):
    """There is none, and none can be started; says why."""


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Give the URL of a server; what was started is stopped.

    :raises NoRedis: neither found nor startable.
    """
    if url := os.environ.get("REDIS_URL"):
        yield url
    elif answers(LOCAL):
        yield LOCAL
    else:
        with own_server(folder) as url:
            yield url


def answers(url: str) -> bool:
    """Say whether a Redis answers there."""
    import redis

    with contextlib.suppress(redis.RedisError):
        return bool(redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2).ping())
    return False


@contextlib.contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """Start a Redis that keeps nothing on disk, on a free port of loopback."""
    program = shutil.which("redis-server")
    if program is None:
        raise NoRedis("REDIS_URL is not set, nothing listens on 127.0.0.1:6379, and there is no redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        until = time.monotonic() + 30
        while not answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise NoRedis(f"redis-server did not start; its log is {folder / 'redis.log'}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)
