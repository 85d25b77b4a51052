"""Cancelling many before a bell rings, on the worker's side; the trigger's side is in tests/triggers."""

from __future__ import annotations

import logging
import socket

import pytest
import requests
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.endpoint import Endpoint
from airflow_bulk.hooks.executions import UploadExecutions, newest_first
from airflow_bulk.hooks.limits.rate import RateBudget
from airflow_bulk.hooks.transport import Transport
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics import document_import_calls as calls
from both_ways import Connected


@pytest.fixture
def fed(bulk_emulator: Emulator) -> FedImport:
    bulk_emulator.settings(start_delay=100_000)
    return FedImport(bulk_emulator)


@pytest.fixture
def executions(fed: FedImport, connected: Connected) -> UploadExecutions:
    return connected.hook().executions(fed.id, fed.emulator.datamart_id)


def test_newest_first_counts_digits() -> None:
    assert newest_first(["9", "1000", "999", "10"]) == ["1000", "999", "10", "9"]


def test_a_look_follows_all_pages(executions: UploadExecutions, fed: FedImport) -> None:
    fed.emulator.settings(max_page_size=2)
    ids = [fed.upload() for _ in range(5)]
    assert [one.id for one in executions.snapshots()] == ids[::-1]
    assert fed.looks() == 3


def test_it_cancels_proves_and_leaves_others_alone(executions: UploadExecutions, fed: FedImport) -> None:
    ids = [fed.upload() for _ in range(20)]
    theirs = fed.upload()
    assert executions.cancel_pending(ids, 30) == []
    assert {fed.status(one) for one in ids} == {"CANCELED"}
    assert fed.status(theirs) == "PENDING"
    asked = [one["path"].split("/")[-2] for one in fed.emulator.requests() if one["path"].endswith("/action")]
    assert all(newest_first(ids).index(one) <= place + 7 for place, one in enumerate(asked))
    assert len(asked) == 20
    assert fed.emulator.requests()[-1]["path"].endswith("/executions")


def test_what_could_not_be_cancelled_comes_back(executions: UploadExecutions, fed: FedImport) -> None:
    over, running, pending = fed.upload(), fed.upload(), fed.upload()
    fed.end(over)
    fed.start(running)
    assert [one.id for one in executions.cancel_pending([over, running, pending], 30)] == [running]


def test_no_attempt_is_repeated_while_a_bell_is_ringing(executions: UploadExecutions, fed: FedImport) -> None:
    pending = fed.upload()
    fed.emulator.fault("server_error", path="/action$")
    fed.emulator.clear_requests()
    assert [one.id for one in executions.cancel_pending([pending], 30)] == [pending]
    assert [one["status"] for one in fed.emulator.requests()] == [503, 200]


def test_what_cannot_be_proved_is_named(
    executions: UploadExecutions, fed: FedImport, caplog: pytest.LogCaptureFixture
) -> None:
    pending = fed.upload()
    fed.emulator.fault("server_error", method="GET")
    with pytest.raises(PlatformError):
        executions.cancel_pending([pending], 5)
    assert "is not proved (the platform answered 503" in caplog.text and pending in caplog.text
    assert fed.status(pending) == "CANCELED"


def test_a_platform_that_does_not_answer_does_not_hold_the_bell(
    executions: UploadExecutions, fed: FedImport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ids = [fed.upload() for _ in range(3)]
    fed.emulator.fault("slow", answer_delay=600.0)
    with pytest.raises(PlatformError):
        executions.cancel_pending(ids, 1)
    assert all(one in caplog.text for one in ids)


def test_a_rate_limit_does_not_hold_the_bell_either(fed: FedImport, connected: Connected) -> None:
    # One call a minute, and others wait for it: what was stopped is cancelled all the same, and proved.
    hook = connected.hook(requests_per_minute=1)
    executions = hook.executions(fed.id, fed.emulator.datamart_id)
    ids = [fed.upload() for _ in range(3)]
    for _ in range(5):
        hook.budget.reserve()
    assert executions.cancel_pending(ids, 20) == []
    assert {fed.status(one) for one in ids} == {"CANCELED"}


def test_a_silence_that_the_platform_asks_for_is_said_and_not_waited_for(
    fed: FedImport, connected: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hook = connected.hook(requests_per_minute=60)
    executions = hook.executions(fed.id, fed.emulator.datamart_id)
    ids = [fed.upload() for _ in range(3)]
    hook.budget.retry_after(100)
    with pytest.raises(PlatformError):
        executions.cancel_pending(ids, 2)
    assert "no call may leave for another" in caplog.text
    assert [fed.status(one) for one in ids] == ["PENDING"] * 3


def test_a_server_that_takes_no_connection_does_not_hold_the_bell() -> None:
    """Our own limit ends it, not the connection's long one, nor the kernel's."""
    with socket.socket() as full, socket.socket() as one, socket.socket() as two, socket.socket() as three:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filling in (one, two, three):
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        endpoint = Endpoint(
            base_url=f"http://127.0.0.1:{full.getsockname()[1]}", headers={}, connect_timeout=3600
        )
        transport = Transport(endpoint, requests.Session(), RateBudget())
        with pytest.raises(PlatformError, match="ConnectTimeout"):
            transport.send(calls.list_executions("1", "2"), tries=1, timeout=0.3)
