"""The sensor of a stored batch: poke, reschedule and deferrable mean the same, so each case goes through all three."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from delegating import HANGING, ONE, store_another, stored
from one_sensor import MODES, SensorTask
from played_airflow import stop

from airflow_bulk.platforms.errors import Unauthorized
from airflow_bulk.sensors.extract_load import ExtractLoadBatchSensor
from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger

every_mode = pytest.mark.parametrize("mode", MODES)


class StoredBatchTask(SensorTask):
    """One task instance of the sensor."""

    def _sensor(self, arguments: dict[str, Any]) -> Any:
        how: dict[str, Any] = {"deferrable": True} if self.mode == "deferrable" else {"mode": self.mode}
        given = {"batch_id": self.import_id, "poke_interval": 0.05, "timeout": 60, **how, **arguments}
        return ExtractLoadBatchSensor(task_id="t", extract_load_conn_id="el_server", **given)


@pytest.fixture(autouse=True)
def _early_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no worker here that has to report first."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")


@every_mode
def test_waits_and_returns_what_is_known(extract_load: Any, mode: str) -> None:
    extract_load.emulator.settings(start_delay=1, run_seconds=0.5)
    batch_id = store_another()
    task = StoredBatchTask(mode, batch_id)
    result = task.run()
    assert result == {
        "batch_id": batch_id,
        "finished_at": stored()[0].finished_at,
        "status": None,
        "errors": None,
        "error_kinds": None,
    }
    assert (task.waits > 0) is (mode != "poke")
    conn_ids = {trigger.extract_load_conn_id for trigger in task.triggers}
    assert conn_ids == ({"el_server"} if mode == "deferrable" else set())


@every_mode
@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_failure_that_the_server_tells(extract_load: Any, mode: str, soft_fail: bool) -> None:
    extract_load.emulator.settings(extract_load_status=True, start_delay=0, run_seconds=0.5)
    extract_load.fail(side="source", object="Vendor", page=1)
    task = StoredBatchTask(mode, store_another(), soft_fail=soft_fail)
    with pytest.raises(AirflowSkipException if soft_fail else AirflowFailException) as caught:
        task.run()
    error = caught.value.__cause__ if soft_fail else caught.value
    assert "is finished, but failed: status failed, errors in Vendor. A retry cannot change that" in str(
        error
    )


@every_mode
def test_too_late(extract_load: Any, mode: str) -> None:
    batch_id = store_another(HANGING)
    task = StoredBatchTask(mode, batch_id, timeout=0.4)
    with pytest.raises(AirflowSensorTimeout, match=rf"{batch_id} was not over 0\.4 s after the first poll"):
        task.run()


@every_mode
@pytest.mark.parametrize(
    ("batch_id", "said"), [("0" * 24, "404.*A retry cannot help"), ("batch 7", "batch_id cannot be used")]
)
def test_no_such_batch(extract_load: Any, mode: str, batch_id: str, said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        StoredBatchTask(mode, batch_id).run()


@every_mode
def test_trouble_that_passes_fails_the_try(extract_load: Any, mode: str) -> None:
    extract_load.emulator.settings(start_delay=0, run_seconds=0)
    batch_id = store_another()
    extract_load.emulator.fault("unauthorized", path=ONE, times=1)
    task = StoredBatchTask(mode, batch_id)
    with pytest.raises(Unauthorized):
        task.run()
    assert task.run()["batch_id"] == batch_id


@pytest.mark.parametrize("own", [True, False])
def test_a_stopped_trigger_says_what_goes_on(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = ExtractLoadBatchTrigger(
        extract_load_conn_id="el_server", batch_id="b1", own=own, started=time.time()
    )
    with structlog.testing.capture_logs() as logs:
        stop(trigger, monkeypatch=monkeypatch)
    said = [one["event"] % tuple(one.get("positional_args", ())) for one in logs]
    assert said == (
        ["Batch b1 goes on at the server. No call that stops a batch is documented."] if own else []
    )
