"""A passing outage of the platform is waited out also where a resumed task begins, and where an end is to be written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from one_task import importing, once, running, write_profiles

from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.document_import import UploadDocumentsOperator

#: A look that the platform refuses for the moment, and that no call repeats by itself.
REFUSED = {"name": "server_error", "status": 501, "method": "GET", "path": r"/executions$"}


def test_a_resumed_import_defers_again(emulator: Any, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.settings(start_delay=1000)
    one = task(importing(source, deferrable=True))
    with pytest.raises(TaskDeferred):
        one.run()
    emulator.fault(**REFUSED, times=1)  # the look for what no part accounts for
    with pytest.raises(TaskDeferred) as deferred:
        one.run()
    assert deferred.value.trigger.import_id == one.pushed["import_id"]
    assert deferred.value.trigger.expected == 1
    emulator.clock.advance(2000)
    assert one.run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)


def test_a_resumed_upload_does_not_read_its_import_again(emulator: Any, task: Any, tmp_path: Path) -> None:
    """What an import of others tells an upload is recorded: an outage at the resume must not stop it."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    made = MediarithmicsHook().create_document_import(document_type="USER_PROFILE", name="of others")
    emulator.settings(start_delay=1000)
    one = task(
        lambda: UploadDocumentsOperator(
            task_id="t", import_id=made.id, source=str(source), deferrable=True, poll_interval=0.2
        )
    )
    with pytest.raises(TaskDeferred) as deferred:
        one.run()
    emulator.clock.advance(2000)
    emulator.fault(**{**REFUSED, "path": r"/document_imports/\d+$"}, times=None)
    kwargs = {**(deferred.value.kwargs or {}), "event": {"state": "over"}}
    resumed = one.operator.resume_execution(deferred.value.method_name, kwargs, one.context())
    assert resumed["lines_accepted"] == 10
    assert emulator.held() == once(lines)


def test_where_nobody_waits_an_outage_fails_the_try(emulator: Any, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.settings(start_delay=1000)
    one = task(importing(source, deferrable=True))
    with pytest.raises(TaskDeferred):
        one.run()
    one.make = importing(source, wait_for_completion=False)
    emulator.fault(**REFUSED, times=1)
    with pytest.raises(AirflowException, match="501"):
        one.run()
    assert one.run()["lines_accepted"] is None
    emulator.clock.advance(2000)
    assert emulator.held() == once(lines)


def test_an_outage_before_everything_is_sent_fails_the_try(emulator: Any, task: Any, tmp_path: Path) -> None:
    """Nothing waits yet: Airflow's retry goes on where this try stopped."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    emulator.fault("unauthorized", method="POST", path=r"/executions$", skip=1, times=1)
    one = task(importing(source))
    with pytest.raises(AirflowException, match="401"):
        one.run()
    emulator.fault(**REFUSED, times=1)
    with pytest.raises(AirflowException, match="501"):
        one.run()
    assert one.run()["lines_accepted"] == 500
    assert emulator.held() == once(lines)


def test_the_last_look_of_an_import(emulator: Any, task: Any, tmp_path: Path, caplog: Any) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.settings(start_delay=0, run_seconds=0)
    # The first look sees all parts over, the second one asks what else is there.
    emulator.fault(**REFUSED, skip=1, times=1)
    assert task(importing(source)).run()["lines_accepted"] == 10
    assert caplog.text.count("Waiting on.") == 1
    assert emulator.held() == once(lines)


def test_the_last_look_of_a_batch_run(
    emulator: Any, batches: IntegrationBatchEmulator, instance: str, task: Any, caplog: Any
) -> None:
    emulator.settings(run_seconds=0, start_delay=0)
    emulator.fault("server_error", method="POST", path="/executions$", times=1)
    one = task(running(instance))
    # Lists: the newest one before, two that agree after the lost answer; the next asks what appeared late.
    emulator.fault(**REFUSED, skip=3, times=1)
    begun = time.monotonic()
    assert one.run()["status"] == "SUCCEEDED"
    assert caplog.text.count("Waiting on.") == 1
    assert time.monotonic() - begun < 60
    assert len(batches.executions(instance)) == 1
