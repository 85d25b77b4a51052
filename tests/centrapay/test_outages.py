"""A passing outage of Centrapay is waited out until the task's own deadline, on a worker as while deferred."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from loading import accounts, loading, posts

from airflow_bulk.emulator.centrapay_handle import ACCOUNT

LOOKS = {"method": "GET", "path": "^/api/batches/"}
#: More than one look repeats by itself, or such as it does not repeat.
OUTAGES = [
    {"name": "server_error", "status": 501, "times": 1},
    {"name": "server_error", "status": 503, "times": 5},
    {"name": "rate_limited", "retry_after": 0, "times": 5},
    {"name": "lost_answer", "how": "reset", "times": 5},
]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda one: f"{one['name']}-{one.get('status', '')}")
def test_on_a_worker(
    centrapay: Any, files: Any, task: Any, outage: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    centrapay.emulator.fault(**LOOKS, **outage)
    assert task(loading(url=files.put("/a.jsonl", accounts(3)))).run()["lines_accepted"] == 3
    assert posts(centrapay) == 1
    assert "Waiting on." in caplog.text


def test_a_resumed_task_defers_again(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.emulator.fault(**LOOKS, name="server_error", status=501, times=2)
    one = task(loading(url=files.put("/a.jsonl", accounts(3)), deferrable=True))
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            one.run()
        assert deferred.value.trigger.batch_id == centrapay.batches()[0]["id"]
        assert deferred.value.trigger.centrapay_conn_id == "centrapay_default"
    assert one.run()["lines_accepted"] == 3
    assert posts(centrapay) == 1


def test_an_outage_past_the_deadline_fails_the_try(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.settings(step_seconds=100_000)
    centrapay.emulator.fault(**LOOKS, name="server_error", status=501, skip=1)
    one = task(loading(url=files.put("/a.jsonl", accounts(3)), timeout=0.5))
    with pytest.raises(AirflowException, match="the platform answered 501") as caught:
        one.run()
    assert not isinstance(caught.value, AirflowFailException)
    centrapay.emulator.clear_faults()
    centrapay.settings(step_seconds=0)
    assert one.run()["lines_accepted"] == 3
    assert posts(centrapay) == 1


def test_a_pause_that_the_platform_asks_for_ends_at_the_deadline(
    centrapay: Any, files: Any, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pace of its own: the rate budget stays held after this test.
    value = centrapay.connection_json(account_id=ACCOUNT, requests_per_minute=60_123)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", value)
    centrapay.emulator.fault(**LOOKS, name="rate_limited", retry_after=300)
    begun = time.monotonic()
    with pytest.raises(AirflowException, match="no call may leave"):
        task(loading(url=files.put("/a.jsonl", accounts(3)), timeout=1)).run()
    assert time.monotonic() - begun < 20
