"""Where the numbers of a limit lie: in this process, in a file of this machine, or in Redis.

A store does one thing: it changes a value of a few numbers while nobody else can. So each limit is written once, whoever shares it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec

try:
    import fcntl
except ImportError:  # pragma: no cover (not on Windows)
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
#: A value as a store keeps it. Times in it are seconds on the store's own clock.
Value = dict[str, Any]
#: Seconds that another process may hold the lock of a file: it needs microseconds, unless it stands still.
LOCK_SECONDS = 5.0
#: Seconds for one command of Redis, and for connecting; a connection that has broken is opened once more.
REDIS_SECONDS = 3.0
#: Seconds after which Redis forgets a value that nobody has changed.
FORGOTTEN_AFTER = 86_400


class StoreUnreachable(Exception):
    """The shared limits cannot be read or written now. The message holds no credentials."""


class StoreAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Which store to open; it can be sent to a child.

    :param folder: of the files of this machine; empty: Redis.
    :param redis_url: URL of the Redis database. Secret: the repr does not show it.
    """

    folder: str = ""
    redis_url: str = ""

    def __repr__(self) -> str:
        return f"StoreAddress(folder={self.folder!r}, redis={bool(self.redis_url)})"


class Store(Protocol):
    """Keeps values by name."""

    #: Whether a change may wait for another process or for the network.
    shared: bool

    def change(self, name: str, change: Callable[[float, Value], T]) -> T:
        """Change a value while nobody else can.

        :param name: of the value; a secret in it is not shown to anybody.
        :param change: gets the store's clock (seconds) and the value (empty at first), changes the value in place, and may be called
            more than once; what it returns is returned.
        :raises StoreUnreachable: it was not changed, or nobody knows.
        """


class ProcessStore:
    """The store of one process.

    :param clock: seconds, monotonic; a test's own clock.
    """

    shared = False

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, Value] = {}
        #: Reentrant: an operator's on_kill runs on the main thread, perhaps inside a change.
        self._lock = threading.RLock()

    def change(self, name: str, change: Callable[[float, Value], T]) -> T:
        """Change a value."""
        with self._lock:
            return change(self._clock(), self._values.setdefault(name, {}))


class MachineStore:
    """The store of one machine: one small file a value, changed under a lock of the kernel, which ends with its process.

    :param folder: made if missing; it must be this user's own, since others could write into it.
    """

    shared = True

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def change(self, name: str, change: Callable[[float, Value], T]) -> T:
        """Change a value."""
        try:
            with self._locked(name) as file:
                before = os.pread(file, 1 << 20, 0)
                value: Value = json.loads(before or b"{}")
                known = dict(value)
                result = change(boot_time(), value)
                if value != known:
                    # One write and never shorter than what is there: a process that is killed leaves the old value or the new one.
                    data = json.dumps(value).encode().ljust(len(before))
                    if os.pwrite(file, data, 0) < len(data):
                        raise OSError(errno.ENOSPC, "the disk is full")
                return result
        except OSError as error:
            raise StoreUnreachable(
                f"the file of the limits in {str(self._folder)!r} cannot be used ({error.strerror or type(error).__name__})"
            ) from None
        except ValueError:
            raise StoreUnreachable(
                f"a file of the limits in {str(self._folder)!r} is not what was written there; delete that folder"
            ) from None

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[int]:
        if fcntl is None:  # pragma: no cover
            raise OSError(0, "this system has no file locks")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        if found.st_uid != os.getuid() or self._folder.is_symlink():
            raise OSError(0, "the folder belongs to another user")
        # Times since the machine started mean nothing after the next start.
        path = self._folder / _file_name(name, _boot_id())
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise OSError(
                            0, f"another process has held its lock for {LOCK_SECONDS:.0f} s"
                        ) from None
                    time.sleep(0.002)
            yield file
        finally:
            # Said, and not left to closing: a process that was forked meanwhile has the file open, too.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)


class RedisStore:
    """The store of an installation: values in Redis, and the clock of Redis.

    :param url: ``redis://``, ``rediss://`` or ``unix://``, as the package ``redis`` takes it.
    """

    shared = True

    def __init__(self, url: str) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise StoreUnreachable(
                "the package redis is not installed; the extra [redis] of this package brings it"
            ) from None
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=REDIS_SECONDS,
                socket_connect_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 1),
            )
        except (ValueError, TypeError):  # their messages may quote the URL
            raise StoreUnreachable("the URL of Redis cannot be read") from None

    def change(self, name: str, change: Callable[[float, Value], T]) -> T:
        """Change a value; a change that another process has overtaken is made again."""
        key = f"airflow-bulk:limits:{_file_name(name)}"

        def work(pipe: Any) -> Any:
            seconds, microseconds = pipe.time()
            value: Value = _read(pipe.get(key))
            known = dict(value)
            result = change(seconds + microseconds / 1e6, value)
            if value == known:
                pipe.unwatch()  # a look overtakes nobody
                return result
            pipe.multi()
            pipe.set(key, json.dumps(value), ex=FORGOTTEN_AFTER)
            return result

        try:
            made: Any = self._redis.transaction(work, key, value_from_callable=True, watch_delay=0.001)
        except self._errors as error:
            kind = type(error).__name__
            raise StoreUnreachable(f"Redis, which holds the limits, gave no answer ({kind})") from None
        except TypeError:  # an option that no connection of Redis has; seen at the first command
            raise StoreUnreachable("the URL of Redis cannot be read") from None
        return cast(T, made)


def _read(text: bytes | None) -> Value:
    try:
        value = json.loads(text or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise StoreUnreachable(
            "a value of the limits in Redis is not what was written there; delete airflow-bulk:limits:*"
        )
    return value


def open_store(address: StoreAddress) -> Store:
    """Return the process's one store of an address.

    :raises StoreUnreachable: it cannot be opened here.
    """
    return _opened(address.folder, address.redis_url)


@functools.lru_cache(maxsize=64)
def _opened(folder: str, redis_url: str) -> Store:
    return RedisStore(redis_url) if redis_url else MachineStore(folder)


def machine_address() -> StoreAddress:
    """The store of this machine and user."""
    return StoreAddress(folder=str(Path(tempfile.gettempdir()) / f"airflow-bulk-limits-{os.getuid()}"))


def boot_time() -> float:
    """Seconds that went by since the machine started; time asleep counts, in every process the same."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@functools.cache
def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _file_name(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
