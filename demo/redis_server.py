"""A Redis for Celery's messages: ``REDIS_URL`` if set, else the one on 127.0.0.1:6379, else one of our own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil

LOCAL = "redis://127.0.0.1:6379/0"
#: What a database of ours holds, so that nobody else takes it for empty, and so that only ours is emptied.
OWNER_KEY = "airflow-bulk:owner"
#: A server has 16 databases unless told otherwise; what people use by hand is the first.
DATABASES = range(1, 16)


class NoRedis(Exception):
    """There is none, and none can be started; says why."""


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Give the URL of a server; what was started is stopped.

    :param folder: for an own server; made if missing.
    :raises NoRedis: neither found nor startable.
    """
    try:
        import redis  # noqa: F401
    except ImportError:
        raise NoRedis("the package redis is not installed") from None
    if url := os.environ.get("REDIS_URL"):
        yield url
    elif answers(LOCAL):
        yield LOCAL
    else:
        with own_server(folder) as url:
            yield url


@contextlib.contextmanager
def own_database(url: str) -> Iterator[str]:
    """Give the URL of an empty database that nobody else uses, and empty it in the end.

    Celery's names of queues are the same for every Airflow, so two of them need two databases.

    :param url: of the server; its own database number does not count.
    :raises NoRedis: the server cannot be asked, or all its databases hold something.
    """
    import redis

    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    try:
        number = next(found for found in DATABASES if _take(_numbered(url, found), owner))
    except StopIteration:
        raise NoRedis("each of the databases 1 to 15 holds something") from None
    except redis.RedisError as error:
        raise NoRedis(f"no database can be had: {type(error).__name__}") from None
    try:
        yield _numbered(url, number)
    finally:
        with contextlib.closing(redis.Redis.from_url(_numbered(url, number))) as client:
            if client.get(OWNER_KEY) == owner.encode():
                client.flushdb()


def _take(url: str, owner: str) -> bool:
    """Whether a database was empty, and is ours now; of two that come at once neither may find the other's key alone."""
    import redis

    with contextlib.closing(redis.Redis.from_url(url, socket_connect_timeout=5)) as client:
        if _is_left_behind(client.get(OWNER_KEY)):
            client.flushdb()
        if client.dbsize() or not client.set(OWNER_KEY, owner, nx=True):
            return False
        if client.dbsize() == 1:
            return True
        client.delete(OWNER_KEY)
        return False


def _is_left_behind(owner: bytes | str | None) -> bool:
    """Whether a database is ours from a process of this machine that was killed."""
    text = owner.decode(errors="replace") if isinstance(owner, bytes) else owner or ""
    host, _, rest = text.partition(":")
    pid = rest.partition(":")[0]
    return host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _numbered(url: str, number: int) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def answers(url: str) -> bool:
    """Whether a server is there and answers."""
    import redis

    with contextlib.closing(redis.Redis.from_url(url, socket_connect_timeout=2)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


@contextlib.contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """Start a Redis that keeps nothing on disk, on a free port of loopback.

    :raises NoRedis: its program is not there, or it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise NoRedis("REDIS_URL is not set, nothing answers on 127.0.0.1:6379, and there is no redis-server")
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"port": str(port), "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": str(folder)}
    command = [program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        deadline = time.monotonic() + 30
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "redis.log").read_text(errors="replace").strip()[-500:]
                raise NoRedis(f"redis-server did not start: {said}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)
