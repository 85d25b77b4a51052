"""Stores that several processes share: no change is lost, and whoever dies leaves nothing locked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_bulk.hooks.limits.store import StoreAddress, StoreUnreachable, Value, open_store
from redis_server import own_server

SCRIPT = Path(__file__).with_name("shared_script.py")


@pytest.fixture
def name() -> str:
    return f"test {uuid.uuid4()}"


@pytest.fixture(params=["file", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> Iterator[str]:
    if request.param == "file":
        yield str(tmp_path / "limits")
        return
    url = request.getfixturevalue("redis_url")
    yield url
    import redis

    from airflow_bulk.hooks.limits.store import _file_name

    redis.Redis.from_url(url).delete(f"airflow-bulk:limits:{_file_name(name)}")


def address(where: str) -> StoreAddress:
    return StoreAddress(redis_url=where) if "://" in where else StoreAddress(folder=where)


def counting(where: str, name: str, times: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), "count", where, name, str(times)])


def counted(where: str, name: str) -> int:
    return int(open_store(address(where)).change(name, lambda now, value: value.get("count", 0)))


def test_no_change_is_lost_between_processes(where: str, name: str) -> None:
    processes = [counting(where, name, 250) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert counted(where, name) == 1000


def test_who_is_killed_leaves_nothing_locked_and_nothing_broken(where: str, name: str) -> None:
    before = 0
    for _ in range(8):
        process = counting(where, name, 10**9)
        while counted(where, name) < before + 20:
            assert process.poll() is None
        process.kill()
        process.wait(30)
        now = counted(where, name)
        assert now >= before + 20
        before = now


def test_a_change_that_fails_changes_nothing(where: str, name: str) -> None:
    store = open_store(address(where))
    store.change(name, lambda now, value: value.update(count=7))

    def fail(now: float, value: Value) -> None:
        value["count"] = 8
        raise KeyError("no")

    with pytest.raises(KeyError):
        store.change(name, fail)
    assert counted(where, name) == 7


def test_the_clock_is_one_for_all(where: str, name: str) -> None:
    """A value that another process wrote is judged by the same clock."""
    store = open_store(address(where))
    first = store.change(name, lambda now, value: now)
    script = (
        "import sys; from airflow_bulk.hooks.limits.store import *; a, where, name = sys.argv[1:];"
        "print(open_store(StoreAddress(**{a: where})).change(name, lambda now, value: now))"
    )
    kind = "redis_url" if "://" in where else "folder"
    told = subprocess.run(
        [sys.executable, "-c", script, kind, where, name], capture_output=True, text=True, check=True
    )
    last = store.change(name, lambda now, value: now)
    assert first <= float(told.stdout) <= last


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    link = tmp_path / "link"
    link.symlink_to(other)
    with pytest.raises(StoreUnreachable, match="another user"):
        open_store(StoreAddress(folder=str(link))).change(name, lambda now, value: None)
    assert list(other.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreUnreachable, match="cannot be used"):
        open_store(StoreAddress(folder=str(tmp_path / "none" / "limits"))).change(
            name, lambda now, value: None
        )


def test_a_damaged_file_is_told(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "limits"
    store = open_store(StoreAddress(folder=str(folder)))
    store.change(name, lambda now, value: value.update(count=1))
    (file,) = folder.iterdir()
    file.write_bytes(b"{")
    with pytest.raises(StoreUnreachable, match="delete that folder"):
        store.change(name, lambda now, value: None)


def test_what_is_kept_tells_no_secret(tmp_path: Path) -> None:
    folder = tmp_path / "limits"
    open_store(StoreAddress(folder=str(folder))).change(
        "a secret name", lambda now, value: value.update(free_at=now)
    )
    (file,) = folder.iterdir()
    assert "secret" not in file.name + file.read_text()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    shown = repr(StoreAddress(redis_url="redis://:canary@localhost/0"))
    assert "canary" not in shown


# Where Redis must be there (`REDIS_REQUIRED`), so must the program: it fails then.
@pytest.mark.skipif(
    shutil.which("redis-server") is None and not os.environ.get("REDIS_REQUIRED"),
    reason="there is no redis-server",
)
def test_a_redis_that_is_gone_is_told_without_its_password(tmp_path: Path, name: str) -> None:
    with own_server(tmp_path / "redis") as url:
        store = open_store(StoreAddress(redis_url=url.replace("redis://", "redis://:canary@")))
        store.change(name, lambda now, value: None)
    with pytest.raises(StoreUnreachable, match="ConnectionError") as told:
        store.change(name, lambda now, value: None)
    assert "canary" not in str(told.value) + repr(told.value)


def test_a_look_that_changes_nothing_overtakes_nobody(redis_url: str, name: str) -> None:
    """A change is made again where another one came between; a look is none."""
    store = open_store(StoreAddress(redis_url=redis_url))
    store.change(name, lambda now, value: value.update(count=1))
    made = []

    def change(now: float, value: Value) -> None:
        made.append(now)
        store.change(name, lambda now, value: value.get("count"))
        value.update(count=value["count"] + 1)

    store.change(name, change)
    assert len(made) == 1
    assert counted(redis_url, name) == 2


def test_a_value_in_redis_that_is_no_value_is_told(redis_url: str, name: str) -> None:
    import redis

    from airflow_bulk.hooks.limits.store import _file_name

    key = f"airflow-bulk:limits:{_file_name(name)}"
    client = redis.Redis.from_url(redis_url)
    client.set(key, b"[", ex=60)
    with pytest.raises(StoreUnreachable, match="not what was written there"):
        open_store(StoreAddress(redis_url=redis_url)).change(name, lambda now, value: None)
    client.delete(key)


def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path, name: str) -> None:
    store = open_store(StoreAddress(folder=str(tmp_path / "limits")))
    processes: list[subprocess.Popen[bytes]] = []

    def fork(now: float, value: Value) -> None:
        command = [sys.executable, "-c", "input()"]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, close_fds=False))

    store.change(name, fork)
    store.change(name, lambda now, value: value.update(count=1))
    processes[0].communicate(b"\n")
    assert counted(str(tmp_path / "limits"), name) == 1
