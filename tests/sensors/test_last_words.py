"""A sensor that times out says the same in every mode: what was late, last seen how, what a person and a clear can do.

Each case goes through all sensors and all modes; the remote work is never over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException
from fed_import import FedImport
from one_sensor import MODES, SensorTask

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.sensors.centrapay_batch import CentrapayBatchSensor
from airflow_bulk.sensors.document_import import DocumentImportSensor
from airflow_bulk.sensors.extract_load import ExtractLoadBatchSensor
from airflow_bulk.sensors.integration_batch import IntegrationBatchSensor

HANGING = {"jobs": [{"type": "load", "object": "vendors", "required_objects": {"load": ["nowhere"]}}]}
WAITS_ANEW = "Airflow does not retry a sensor that timed out; clearing the task waits anew; a longer timeout waits longer."


class LateTask(SensorTask):
    """One task instance of any sensor.

    :param made: the class of the sensor, and what it watches.
    :param remembers: False for an Airflow that keeps no state for the task.
    """

    def __init__(self, mode: str, made: tuple[type, dict[str, Any]], *, remembers: bool = True, **more: Any):
        super().__init__(mode, "", **more)
        self._sensor_class, self._watched = made
        self._remembers = remembers

    def _sensor(self, arguments: dict[str, Any]) -> Any:
        how: dict[str, Any] = {"deferrable": True} if self.mode == "deferrable" else {"mode": self.mode}
        given = {"poke_interval": 0.05, "timeout": 0.5, **how, **self._watched, **arguments}
        return self._sensor_class(task_id="t", **given)

    def context(self, **params: Any) -> dict[str, Any]:
        context = super().context(**params)
        now = datetime.now(UTC)
        context["dag_run"].__dict__.update(run_after=now, data_interval_start=now, data_interval_end=now)
        if not self._remembers:
            del context["task_state_store"]
        return context


def a_document_import(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> tuple[type, dict[str, Any]]:
    fed = FedImport(emulator)
    fed.upload()
    return DocumentImportSensor, {"import_id": fed.id}


def an_integration_batch(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> tuple[type, dict[str, Any]]:
    instance = IntegrationBatchEmulator(emulator).add(cron="0 3 1 1 *", cron_status="ACTIVE")
    return IntegrationBatchSensor, {"instance_id": instance, "window": 60}


def a_centrapay_batch(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> tuple[type, dict[str, Any]]:
    centrapay = CentrapayEmulator(emulator)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json(account_id=ACCOUNT))
    centrapay.settings(step_seconds=100_000)
    batch = CentrapayHook().create_batch(batch_type="ticketek-ticket", url="http://127.0.0.1:9/tickets")
    return CentrapayBatchSensor, {"batch_id": batch.id}


def an_extract_load_batch(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> tuple[type, dict[str, Any]]:
    server = ExtractLoadEmulator(emulator)
    monkeypatch.setenv("AIRFLOW_CONN_EXTRACT_LOAD_DEFAULT", server.connection_json("server"))
    return ExtractLoadBatchSensor, {"batch_id": ExtractLoadHook().create_batch(HANGING).id}


#: What is watched; what the last words name of how it was seen, and what goes on.
SENSORS: dict[Callable[..., Any], tuple[str, str, str]] = {
    a_document_import: ("Document import {import_id}", "1 pending; 0 lines accepted, 0 failed", "Not over: "),
    an_integration_batch: (
        "The wait for batch instance {instance_id}",
        "no run",
        "check the instance's cron in the console",
    ),
    a_centrapay_batch: ("Batch {batch_id}", "status ", "no batch can be cancelled"),
    an_extract_load_batch: ("Batch {batch_id}", "no finished_at", "airflow bulk batch compile"),
}

every_mode = pytest.mark.parametrize("mode", MODES)
every_sensor = pytest.mark.parametrize("watched", SENSORS, ids=lambda one: one.__name__)


@pytest.fixture
def made(
    watched: Callable[..., Any], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> tuple[type, dict[str, Any]]:
    return watched(emulator, monkeypatch)  # type: ignore[no-any-return]


@pytest.fixture
def slow_log() -> Iterator[None]:
    """Writing what is waited for takes longer than the timeout, so that Airflow's own clock ends the wait."""

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Waiting:"):
                time.sleep(0.7)

    logger, handler = logging.getLogger("airflow_bulk.runs"), Slow()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def last_words(task: SensorTask, kind: type[AirflowException] = AirflowSensorTimeout) -> str:
    with pytest.raises(kind) as caught:
        task.run()
    return str(caught.value)


def are_complete(said: str, watched: Callable[..., Any], made: tuple[type, dict[str, Any]]) -> bool:
    thing, seen, now = SENSORS[watched]
    begins = f"{thing.format(**made[1])} was not over 0.5 s after the first poll (last seen: {seen}"
    return said.startswith(begins) and now in said and WAITS_ANEW in said


@every_mode
@every_sensor
def test_the_last_words_of_a_sensor(mode: str, watched: Any, made: Any) -> None:
    said = last_words(LateTask(mode, made))
    assert are_complete(said, watched, made) and said.endswith(WAITS_ANEW)


@every_mode
@every_sensor
@pytest.mark.parametrize("switch", ["soft_fail", "never_fail"])
def test_a_skip_has_the_same_words(mode: str, watched: Any, made: Any, switch: str) -> None:
    said = last_words(LateTask(mode, made, **{switch: True}), AirflowSkipException)
    assert are_complete(said, watched, made)
    assert said.endswith(f"The task is skipped, since {switch} is set.")


@every_mode
@every_sensor
def test_airflows_own_clock_has_the_same_words(mode: str, watched: Any, made: Any, slow_log: None) -> None:
    said = last_words(LateTask(mode, made))
    assert are_complete(said, watched, made) and said.endswith(WAITS_ANEW)


@every_mode
@pytest.mark.parametrize("watched", [a_document_import])
@pytest.mark.parametrize("switch", ["soft_fail", "never_fail"])
def test_airflows_own_clock_skips_with_the_same_words(
    mode: str, watched: Any, made: Any, slow_log: None, switch: str
) -> None:
    said = last_words(LateTask(mode, made, **{switch: True}), AirflowSkipException)
    assert are_complete(said, watched, made)
    assert said.endswith(f"The task is skipped, since {switch} is set.")


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@every_sensor
def test_a_task_without_state_has_the_same_words(mode: str, watched: Any, made: Any) -> None:
    said = last_words(LateTask(mode, made, remembers=False))
    assert are_complete(said, watched, made) and said.endswith(WAITS_ANEW)


@every_mode
@every_sensor
def test_a_sensor_that_swallows_trouble_says_what_it_met(
    mode: str, watched: Any, made: Any, emulator: Emulator
) -> None:
    emulator.fault("unauthorized", skip=1)
    said = last_words(LateTask(mode, made, silent_fail=True))
    assert ("(last seen: " in said) is (mode == "poke")  # the others have another worker by then
    assert "The last poll could not " in said and "401" in said
    assert said.endswith(WAITS_ANEW)


@every_mode
@pytest.mark.parametrize("watched", [a_document_import])
def test_pauses_that_grow_change_no_words(mode: str, watched: Any, made: Any) -> None:
    said = last_words(LateTask(mode, made, exponential_backoff=True))
    assert are_complete(said, watched, made) and said.endswith(WAITS_ANEW)


@every_mode
@every_sensor
def test_what_was_never_seen_is_not_described(mode: str, watched: Any, made: Any, emulator: Emulator) -> None:
    emulator.fault("unauthorized")
    said = last_words(LateTask(mode, made, silent_fail=True))
    assert "was not over 0.5 s after the first poll. The last poll could not " in said and said.endswith(
        WAITS_ANEW
    )


@every_mode
def test_too_few_executions_are_counted_in_the_last_words(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    said = last_words(SensorTask(mode, fed.id, min_executions=2, timeout=0.4))
    assert "1 execution of at least 2 had come: check that somebody uploads into this import." in said


@every_mode
@pytest.mark.parametrize("switch", ["soft_fail", "never_fail"])
def test_a_skip_of_failed_work_says_what_failed(mode: str, fed: FedImport, switch: str) -> None:
    failed = fed.upload()
    fed.end(failed, "failed")
    said = last_words(SensorTask(mode, fed.id, **{switch: True}), AirflowSkipException)
    assert f"1 execution ended as FAILED: {failed}" in said
    assert said.endswith(f"The task is skipped, since {switch} is set.")


@every_mode
def test_a_skip_of_trouble_says_what_was_met(mode: str, fed: FedImport) -> None:
    fed.upload()
    fed.emulator.fault("unauthorized", skip=1)
    said = last_words(SensorTask(mode, fed.id, never_fail=True), AirflowSkipException)
    assert "401" in said and said.endswith("The task is skipped, since never_fail is set.")
