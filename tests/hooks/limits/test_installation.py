"""Processes that share a connection: what the platform's request log says of all of them together."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.limits.sharing import address_of, broker_url, installation_address
from airflow_bulk.hooks.limits.store import machine_address
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.errors import TryLater
from airflow_bulk.platforms.mediarithmics.document_import_calls import list_document_imports

SCRIPT = Path(__file__).with_name("calling_script.py")


def connection(emulator: Emulator, **extra: Any) -> str:
    made = json.loads(emulator.connection_json())
    made["extra"].update(extra)
    return json.dumps(made)


def start(way: str, count: int, emulator: Emulator, folder: Path, value: str, **environment: str) -> Any:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), way, str(count), emulator.datamart_id],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW_CONN_LIMITED": value,
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
            **environment,
        },
    )


def times_of(emulator: Emulator) -> list[float]:
    """When each call arrived, in seconds."""
    return sorted(call["at"] / 1000 for call in emulator.requests())


def most_in(times: list[float], seconds: float) -> int:
    return max(sum(begin <= one < begin + seconds for one in times) for begin in times)


@pytest.mark.parametrize("where", ["machine", "celery"])
def test_four_processes_share_one_rate(
    bulk_emulator: Emulator, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    """Two as tasks and two as triggerers, at 120 a minute: 24 calls take 11 s at least, where each alone would take 3."""
    environment = {"TMPDIR": str(tmp_path)}
    if where != "machine":
        environment["AIRFLOW__CORE__EXECUTOR"] = "CeleryExecutor"
        environment["AIRFLOW__CELERY__BROKER_URL"] = request.getfixturevalue("redis_url")
    processes = []
    for number, way in enumerate(("send", "send", "asend", "asend")):
        if where != "machine":  # machines of their own share no folder
            (tmp_path / f"tmp{number}").mkdir()
            environment["TMPDIR"] = str(tmp_path / f"tmp{number}")
        value = connection(bulk_emulator, requests_per_minute=120)
        processes.append(start(way, 6, bulk_emulator, tmp_path / str(number), value, **environment))
    assert [process.wait(300) for process in processes] == [0] * 4
    times = times_of(bulk_emulator)
    assert len(times) == 24
    assert times[-1] - times[0] >= (24 - 1 - 2 - 1) * 0.5
    # Half a second each; a burst of a second's worth, and one that was a second longer on its way, may come closer.
    assert most_in(times, 5) <= 10 + 2 + 2
    if where == "machine":
        assert list(tmp_path.glob("airflow-bulk-limits-*/*"))
    else:
        assert not list(tmp_path.glob("tmp*/airflow-bulk-limits-*"))


def test_a_silence_that_one_process_is_asked_for_holds_for_the_others(
    bulk_emulator: Emulator, tmp_path: Path, redis_url: str
) -> None:
    """They share a Redis that the connection names."""
    bulk_emulator.fault("rate_limited", retry_after=4, times=1)
    value = connection(bulk_emulator, requests_per_minute=6000, limits_conn_id="limits")

    def begin(way: str, count: int, folder: str) -> Any:
        return start(way, count, bulk_emulator, tmp_path / folder, value, AIRFLOW_CONN_LIMITS=redis_url)

    first = begin("send", 1, "1")
    until = time.monotonic() + 300
    while not bulk_emulator.requests() and time.monotonic() < until:
        time.sleep(0.02)
    others = [begin("send", 5, "2"), begin("asend", 5, "3")]
    assert [process.wait(300) for process in (first, *others)] == [0] * 3
    calls = sorted(bulk_emulator.requests(), key=lambda call: call["at"])
    assert [call["status"] for call in calls].count(429) == 1
    assert calls[0]["status"] == 429
    assert (calls[1]["at"] - calls[0]["at"]) / 1000 >= 3.9


def test_a_call_waits_for_limits_that_cannot_be_asked(
    bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GONE", "redis://:canary@127.0.0.1:9/0")
    monkeypatch.setenv(
        "AIRFLOW_CONN_LIMITED", connection(bulk_emulator, requests_per_minute=60, limits_conn_id="gone")
    )
    call = list_document_imports(bulk_emulator.datamart_id)
    with pytest.raises(TryLater, match="gave no answer") as told:
        MediarithmicsHook("limited").send(call, tries=2)
    assert "canary" not in str(told.value)
    assert bulk_emulator.requests() == []
    # Who stops something has seconds, and stops it.
    MediarithmicsHook("limited").send(call, timeout=5)
    assert len(bulk_emulator.requests()) == 1


@pytest.mark.parametrize("way", ["send", "asend"])
def test_who_has_seconds_does_not_wait_for_a_redis_that_is_silent(
    bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A Redis that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AIRFLOW_CONN_SILENT", f"redis://127.0.0.1:{port}/0")
        value = connection(bulk_emulator, requests_per_minute=60, limits_conn_id="silent")
        monkeypatch.setenv("AIRFLOW_CONN_LIMITED", value)
        call = list_document_imports(bulk_emulator.datamart_id)
        hook = MediarithmicsHook("limited")
        if way == "send":
            hook.send(call, timeout=2)
        else:
            asyncio.run(asked(hook, call))
    assert len(bulk_emulator.requests()) == 1


async def asked(hook: MediarithmicsHook, call: Any) -> None:
    await hook.asend(call, timeout=2)
    await hook.aclose()


def test_a_missing_package_is_told_by_the_name_of_its_extra(
    bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setenv("AIRFLOW_CONN_OTHER_LIMITS", "redis://127.0.0.1:9/7")
    monkeypatch.setenv(
        "AIRFLOW_CONN_LIMITED",
        connection(bulk_emulator, requests_per_minute=61, limits_conn_id="other_limits"),
    )
    with pytest.raises(ConnectionFieldError, match=r"\[redis\]"):
        MediarithmicsHook("limited").prepare()


def test_a_redis_connection_becomes_a_url() -> None:
    from airflow.sdk import Connection

    def url(**fields: Any) -> str:
        return address_of(Connection(conn_id="x", conn_type="redis", **fields)).redis_url

    assert url(host="h", port=6380) == "redis://h:6380/0"
    assert url(host="h", password="p/@", extra='{"db": 3}') == "redis://:p%2F%40@h:6379/3"
    assert address_of(Connection.from_uri("redis://:p@h:1/5", conn_id="x")).redis_url == "redis://:p@h:1/5"
    extra = '{"ssl": true, "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca"}'
    assert url(host="h", login="me", password="p", extra=extra) == (
        "rediss://me:p@h:6379/0?ssl_cert_reqs=required&ssl_ca_certs=%2Fca"
    )


@pytest.mark.parametrize(
    ("executor", "broker", "redis", "told"),
    [
        ("LocalExecutor", "redis://b/0", "", False),
        ("CeleryExecutor", "redis://b/0", "redis://b/0", False),
        ("LocalExecutor,CeleryExecutor", "rediss://b/0", "rediss://b/0", False),
        ("CeleryExecutor", "amqp://b", "", True),
        ("KubernetesExecutor", "", "", True),
    ],
)
def test_which_store_an_installation_shares(
    executor: str,
    broker: str,
    redis: str,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", broker)
    address = installation_address(f"{executor}{broker}")
    assert address.redis_url == redis
    assert redis or address == machine_address()
    assert ("limits_conn_id" in caplog.text) is told


@pytest.mark.parametrize(
    ("broker", "tls", "expected"),
    [
        ("redis://:p%40@b:1/2?visibility_timeout=7", {}, "redis://:p%40@b:1/2"),
        ("rediss://b/0?ssl_cert_reqs=CERT_NONE", {}, "rediss://b/0?ssl_cert_reqs=none"),
        ("rediss://b/0?ssl_cert_reqs=required", {}, "rediss://b/0?ssl_cert_reqs=required"),
        ("redis://b/0", {"ssl_ca_certs": "/ca", "ssl_certfile": ""}, "rediss://b/0?ssl_ca_certs=%2Fca"),
    ],
)
def test_celerys_broker_becomes_a_url_that_redis_takes(
    broker: str, tls: dict[str, str], expected: str
) -> None:
    import redis

    made = broker_url(broker, tls)
    assert made == expected
    redis.Redis.from_url(made).connection_pool.make_connection()
