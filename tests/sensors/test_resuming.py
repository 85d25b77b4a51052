"""What only one mode or one platform shows: failing triggers, silent platforms, what a deferral carries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)
from fed_import import FedImport
from one_sensor import MODES, SensorTask

from airflow_bulk.sensors.document_import import DocumentImportSensor
from airflow_bulk.triggers.waiting import DEFERRAL_SLACK
from scripted_server import ScriptedServer

TIMED_OUT = {"error": "Trigger timeout"}


def deferred(fed: FedImport, **arguments: Any) -> tuple[SensorTask, DocumentImportSensor, TaskDeferred]:
    """A sensor that has just left its worker."""
    task = SensorTask("deferrable", fed.id, **arguments)
    task.try_number = 1
    sensor = task.make()
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(task.context())
    return task, sensor, caught.value


def test_a_deferral_carries_its_own_deadline_and_no_right_to_cancel(fed: FedImport) -> None:
    fed.upload()
    task, _, left = deferred(fed, timeout=3600, poke_interval=20, quiet_for=7)
    _, arguments = left.trigger.serialize()
    since = task.store.get("waiting_since")["since"]
    assert arguments["started"] == since
    assert arguments["deadline"] == since + 3600
    assert arguments["cancel_on_kill"] is False
    assert (arguments["poll_interval"], arguments["quiet_for"], arguments["executions"]) == (20, 7, None)
    assert left.method_name == "execute_complete"
    # The framework's own timeout comes later than ours, in any case.
    assert timedelta(seconds=3500) + DEFERRAL_SLACK < left.timeout <= timedelta(hours=1) + DEFERRAL_SLACK
    assert fed.emulator.token not in json.dumps(arguments)


@pytest.mark.parametrize("soft_fail", [False, True])
def test_when_the_triggerer_was_late_the_sensor_looks_itself(fed: FedImport, soft_fail: bool) -> None:
    execution = fed.upload()
    task, _, _ = deferred(fed, timeout=3600, soft_fail=soft_fail)
    since = task.store.get("waiting_since")
    task.store.set("waiting_since", {**since, "since": since["since"] - 7200})
    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout):
        task.make().resume_execution("__fail__", TIMED_OUT, task.context())
    fed.end(execution)
    assert task.make().resume_execution("__fail__", TIMED_OUT, task.context())["lines_accepted"] == 1


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_trigger_that_broke_is_no_failed_import(fed: FedImport, soft_fail: bool) -> None:
    fed.upload()
    task, _, _ = deferred(fed, soft_fail=soft_fail)
    with pytest.raises(TaskDeferralError):
        task.make().resume_execution("__fail__", {"error": "it broke"}, task.context())


def test_never_fail_skips_a_trigger_that_broke(fed: FedImport) -> None:
    fed.upload()
    task, _, _ = deferred(fed, never_fail=True)
    with pytest.raises(AirflowSkipException):
        task.make().resume_execution("__fail__", {"error": "it broke"}, task.context())


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        (None, "The triggerer saw that import {} is over: 1 execution, 1 line accepted, 0 failed. "),
        ("failed", "The triggerer saw that import {} has failed: 1 execution, 0 lines accepted, 0 failed. "),
        ("late", "The triggerer saw the deadline pass while import {} was not over: 1 of 1 execution, "),
        ("refused", "The triggerer could not wait on: Could not list the executions of document import {}: "),
    ],
)
def test_what_the_triggerer_saw_is_logged_as_a_sentence(
    fed: FedImport, caplog: pytest.LogCaptureFixture, fate: str | None, said: str
) -> None:
    caplog.set_level("INFO", logger="airflow_bulk")
    execution = fed.upload()
    task = SensorTask("deferrable", fed.id, timeout=1 if fate == "late" else 60)
    if fate == "refused":
        fed.emulator.fault("unauthorized", skip=1)
    elif fate != "late":
        task.between = lambda: fed.end(execution, fate)
    if fate is None:
        task.run()
    else:
        with pytest.raises(Exception, match=fed.id):
            task.run()
    assert [text for text in caplog.messages if text.startswith(said.format(fed.id))]
    assert not [text for text in caplog.messages if "{" in text]


def test_an_event_that_is_not_ours_is_no_riddle(fed: FedImport, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="airflow_bulk")
    fed.end(fed.upload())
    task = SensorTask("deferrable", fed.id)
    task.try_number = 1
    assert task.make().execute_complete(task.context(), {"by": "a person"})["lines_accepted"] == 1
    assert "The triggerer calls the task back. The task itself asks now." in caplog.messages


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("max_failures", [0, "99%", "100%"])
def test_a_success_without_counts_is_no_success(
    mode: str, monkeypatch: pytest.MonkeyPatch, max_failures: int | str
) -> None:
    page = {"status": "ok", "data": [{"id": "5", "status": "SUCCEEDED"}], "count": 1}
    with ScriptedServer((200, {}, json.dumps(page).encode())) as server:
        connection = {"conn_type": "mediarithmics", "host": server.url, "password": "t"}
        monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", json.dumps(connection))
        task = SensorTask(mode, "7", datamart_id=3300, max_failures=max_failures)
        if max_failures == "100%":
            assert task.run()["executions"] == {"succeeded": 1}
        else:
            with pytest.raises(AirflowFailException, match=r"nobody knows how many failed: 5\."):
                task.run()
    # Without an organisation there is no link.
    assert task.pushed == {}


def test_what_a_message_of_the_platform_quotes_is_not_repeated(fed: FedImport) -> None:
    fed.emulator.settings(messages_quote_lines=True)
    fed.end(fed.upload(0, bad=3))
    with pytest.raises(AirflowFailException) as caught:
        SensorTask("poke", fed.id).run()
    assert "3 of 3 lines failed" in str(caught.value)
    assert "UPSERT" not in str(caught.value)


def test_poke_may_be_called_by_hand(fed: FedImport) -> None:
    execution = fed.upload()
    sensor = DocumentImportSensor(task_id="t", import_id=fed.id)
    assert not sensor.poke({})
    fed.end(execution)
    assert sensor.poke({})


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"import_id": ""}, "import_id"),
        ({"import_id": "None"}, "import_id"),
        ({"execution_ids": []}, "execution_ids"),
        ({"execution_ids": "[]"}, "execution_ids"),
        ({"min_executions": -1}, "min_executions"),
        ({"min_executions": "two"}, "min_executions"),
        ({"quiet_for": "soon"}, "quiet_for"),
        ({"quiet_for": -5}, "quiet_for"),
        ({"max_failures": None}, "max_failures"),
        ({"max_failures": "101%"}, "max_failures"),
        ({"max_failures": 0.5}, "max_failures"),
    ],
)
@pytest.mark.parametrize("soft_fail", [False, True])
def test_arguments_that_cannot_be_used_are_named_and_never_skipped(
    fed: FedImport, arguments: dict[str, Any], field: str, soft_fail: bool
) -> None:
    given = {"import_id": fed.id, **arguments}
    fed.emulator.clear_requests()
    with pytest.raises(AirflowFailException, match=f"^{field} "):
        SensorTask("poke", given.pop("import_id"), soft_fail=soft_fail, **given).run()
    assert fed.emulator.requests() == []


def test_no_names_and_no_executions_wanted_is_done(fed: FedImport) -> None:
    fed.upload()
    result = SensorTask("poke", fed.id, execution_ids=[], min_executions=0).run()
    assert result["execution_ids"] == []


def test_quiet_for_may_be_a_timedelta(fed: FedImport) -> None:
    fed.end(fed.upload())
    with pytest.raises(AirflowSensorTimeout, match="was not over"):
        SensorTask("poke", fed.id, quiet_for=timedelta(hours=1), timeout=0.1).run()
