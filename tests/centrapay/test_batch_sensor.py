"""Poke, reschedule and deferrable mean the same: each case goes through all three."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import structlog
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from airflow.sdk.module_loading import import_string
from loading import accounts
from one_sensor import MODES, SensorTask, first_event
from played_airflow import stop

from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.platforms.errors import TryLater, Unauthorized
from airflow_bulk.sensors.centrapay_batch import CentrapayBatchSensor
from airflow_bulk.triggers.centrapay_batch import CentrapayBatchTrigger

every_mode = pytest.mark.parametrize("mode", MODES)


class BatchSensorTask(SensorTask):
    """One task instance of the batch sensor."""

    def _sensor(self, arguments: dict[str, Any]) -> Any:
        how: dict[str, Any] = {"deferrable": True} if self.mode == "deferrable" else {"mode": self.mode}
        given = {"batch_id": self.import_id, "poke_interval": 0.05, "timeout": 60, **how, **arguments}
        return CentrapayBatchSensor(task_id="t", **given)


@pytest.fixture(autouse=True)
def _early_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no worker here that has to report first."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")


def batch(files: Any, count: int = 10, bad: tuple[int, ...] = ()) -> str:
    """One that somebody else created."""
    url = files.put("/a.jsonl", accounts(count, bad))
    return CentrapayHook().create_batch(batch_type="farmlands-external-asset", url=url).id


@every_mode
def test_waits_and_returns_the_counts(centrapay: Any, files: Any, mode: str) -> None:
    centrapay.settings(step_seconds=1.5)
    batch_id = batch(files, 10, bad=(4,))
    task = BatchSensorTask(mode, batch_id, max_failures="10%")
    assert task.run() == {
        "batch_id": batch_id,
        "status": "complete",
        "type": "farmlands-external-asset",
        "count": 10,
        "lines_accepted": 9,
        "lines_failed": 1,
    }
    assert (task.waits > 0) is (mode != "poke")


@every_mode
def test_what_is_over_already_costs_one_look(centrapay: Any, files: Any, mode: str) -> None:
    task = BatchSensorTask(mode, batch(files))
    assert task.run()["lines_accepted"] == 10
    reads = [call for call in centrapay.emulator.requests() if call["method"] == "GET"]
    assert (task.waits, len(reads)) == (0, 1)


@every_mode
@pytest.mark.parametrize("soft_fail", [False, True])
def test_too_many_errors(
    centrapay: Any, files: Any, mode: str, soft_fail: bool, caplog: pytest.LogCaptureFixture
) -> None:
    task = BatchSensorTask(mode, batch(files, 10, bad=(4, 5)), max_failures=1, soft_fail=soft_fail)
    with pytest.raises(AirflowSkipException if soft_fail else AirflowFailException) as caught:
        task.run()
    error = caught.value.__cause__ if soft_fail else caught.value
    assert "2 of 10 records failed (20%), more than max_failures=1" in str(error)
    assert "externalId acc-5: INVALID_BARCODE_LENGTH" in caplog.text


@every_mode
def test_error_means_that_nothing_was_processed(centrapay: Any, files: Any, mode: str) -> None:
    centrapay.settings(step_seconds=0.2)
    made = CentrapayHook().create_batch(batch_type="ticketek-ticket", url=files.url + "/missing")
    with pytest.raises(
        AirflowFailException, match=r"so nothing was processed.* A retry cannot help: it finds the same"
    ):
        BatchSensorTask(mode, made.id).run()


@every_mode
def test_no_such_batch(centrapay: Any, mode: str) -> None:
    with pytest.raises(AirflowFailException, match="no such batch, or no permission"):
        BatchSensorTask(mode, "nobody").run()


@every_mode
def test_too_late(centrapay: Any, files: Any, mode: str) -> None:
    centrapay.settings(step_seconds=100_000)
    batch_id = batch(files)
    with pytest.raises(AirflowSensorTimeout, match=rf"{batch_id} was not over.*no batch can be cancelled"):
        BatchSensorTask(mode, batch_id, timeout=0.4).run()


@every_mode
@pytest.mark.parametrize("given", [{"batch_id": " "}, {"max_failures": "many"}])
def test_arguments_that_cannot_be_used(centrapay: Any, mode: str, given: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="|".join(given)):
        BatchSensorTask(mode, "b", soft_fail=True, **given).run()


@every_mode
def test_trouble_that_passes_fails_the_try(centrapay: Any, files: Any, mode: str) -> None:
    task = BatchSensorTask(mode, batch(files))
    centrapay.emulator.fault("unauthorized", path="^/api/", times=1)
    with pytest.raises((Unauthorized, TryLater)):
        task.run()
    assert task.run()["lines_accepted"] == 10


# -- The trigger -----------------------------------------------------------------------------------------------


def waiting(batch_id: str, **more: Any) -> CentrapayBatchTrigger:
    trigger = CentrapayBatchTrigger(
        **{
            "centrapay_conn_id": "centrapay_default",
            "batch_id": batch_id,
            "started": time.time(),
            "poll_interval": 0.05,
            **more,
        }
    )
    path, arguments = trigger.serialize()
    return import_string(path)(**arguments)  # as the triggerer makes it


def test_the_trigger_fires_with_totals(centrapay: Any, files: Any) -> None:
    centrapay.settings(step_seconds=0.2, unknown_status="hibernating")
    batch_id = batch(files, 5, bad=(1,))
    assert asyncio.run(first_event(waiting(batch_id))) == {
        "state": "over",
        "batch_id": batch_id,
        "executions": 1,
        "going": 0,
        "lines_accepted": 4,
        "lines_failed": 1,
    }


def test_many_triggers_of_one_batch_share_their_looks(centrapay: Any, files: Any) -> None:
    centrapay.settings(step_seconds=0.3)
    batch_id = batch(files)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(first_event(waiting(batch_id)) for _ in range(50)))

    events = asyncio.run(all_of_them())
    assert [event["state"] for event in events] == ["over"] * 50
    reads = [call for call in centrapay.emulator.requests() if call["method"] == "GET"]
    assert len(reads) < 100  # 50 triggers on their own would take a thousand


def test_the_trigger_tells_the_deadline_and_errors(centrapay: Any, files: Any) -> None:
    centrapay.settings(step_seconds=100_000)
    late = asyncio.run(first_event(waiting(batch(files), deadline=time.time() + 0.3)))
    assert (late["state"], late["going"]) == ("deadline", 1)
    gone = asyncio.run(first_event(waiting("nobody")))
    assert gone["state"] == "error" and "no such batch, or no permission" in gone["message"]


@pytest.mark.parametrize("own", [True, False])
def test_a_stopped_trigger_says_what_goes_on(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = waiting("b1", own=own)
    with structlog.testing.capture_logs() as logs:
        stop(trigger, monkeypatch=monkeypatch)
    said = [one["event"] % tuple(one.get("positional_args", ())) for one in logs]
    assert said == (["Batch b1 goes on at Centrapay. No batch can be cancelled."] if own else [])
