"""What ``make up-distributed`` shows, and what it does where Redis is not there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

import redis_server
from run_distributed import EXAMPLES, examples


def test_airflow_finds_the_shown_examples(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(shown := examples(tmp_path)), bundle_path=shown)
    assert bag.import_errors == {}
    assert set(bag.dags) == {*EXAMPLES, "after_nightly"}


def test_without_any_redis_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("redis")
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(redis_server, "LOCAL", "redis://127.0.0.1:1/0")  # nothing listens there
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(redis_server.NoRedis, match=r"nothing answers .* there is no redis-server"),
        redis_server.redis_server(tmp_path),
    ):
        pass


def test_two_databases_are_never_the_same_and_what_others_hold_stays(tmp_path: Path) -> None:
    redis = pytest.importorskip("redis")
    try:
        with redis_server.redis_server(tmp_path / "redis") as server:
            with redis_server.own_database(server) as one, redis_server.own_database(server) as other:
                assert one != other
                with redis.Redis.from_url(one) as client:
                    client.lpush("default", "a message")
            with redis.Redis.from_url(one) as client:
                assert client.dbsize() == 0
                client.set("somebody-else-s", "value")
            with redis_server.own_database(server) as third:
                assert third != one
            with redis.Redis.from_url(one) as client:
                assert client.get("somebody-else-s") == b"value"
                client.delete("somebody-else-s")
                # One that a killed process has left behind is taken again.
                ended = subprocess.Popen(["true"])
                ended.wait()
                client.set(redis_server.OWNER_KEY, f"{socket.gethostname()}:{ended.pid}:x")
                client.lpush("default", "an old message")
            with redis_server.own_database(server) as again, redis.Redis.from_url(again) as client:
                assert (again, client.dbsize()) == (one, 1)
    except redis_server.NoRedis as error:
        if os.environ.get("REDIS_REQUIRED"):
            raise
        pytest.skip(f"no Redis: {error}")


@pytest.mark.skipif(
    shutil.which("redis-server") is None and not os.environ.get("REDIS_REQUIRED"),
    reason="there is no redis-server",
)
def test_an_own_server_is_started_and_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("redis")
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(redis_server, "LOCAL", "redis://127.0.0.1:1/0")
    with redis_server.redis_server(tmp_path) as url:
        assert redis_server.answers(url)
    assert not redis_server.answers(url)
