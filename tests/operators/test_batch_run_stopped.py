"""A run of a batch that was stopped, or given up: cancelled in whichever way, it can be run again, and only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from one_task import killed_after, running

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.integration_batch import run as batch_run


def in_an_hour() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)


def refuse_all_but_delete(emulator: Emulator) -> None:
    for method in ("PUT", "POST"):
        emulator.fault("refuse_cancel", method=method, path="/executions/", times=1)


# A DELETE leaves nothing behind.


@pytest.mark.parametrize("ways", [("delete",), ("put", "action", "delete")])
@pytest.mark.parametrize("cleared", [True, False])
def test_a_late_run_that_a_delete_cancelled_is_run_again(
    emulator: Emulator,
    batches: IntegrationBatchEmulator,
    instance: str,
    task: Any,
    ways: tuple[str, ...],
    cleared: bool,
) -> None:
    emulator.settings(start_delay=1000)
    if len(ways) > 1:
        refuse_all_but_delete(emulator)
    one = task(running(instance, timeout=0.4, cancel_ways=ways))
    with pytest.raises(
        AirflowException, match=r"It was cancelled\. A retry, or clearing the task, starts another"
    ):
        one.run()
    assert batches.executions(instance) == []
    emulator.settings(start_delay=0)
    if cleared:
        one.clear()
    result = one.run()
    assert [(made["id"], made["status"]) for made in batches.executions(instance)] == [
        (result["execution_id"], "SUCCEEDED")
    ]


def test_a_late_run_is_cancelled_a_few_times_and_then_a_person_is_asked(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.settings(start_delay=1000)
    one = task(running(instance, timeout=0.1, cancel_ways="delete"))
    for _ in range(batch_run.RESTARTS):
        with pytest.raises(AirflowException, match="A retry, or clearing"):
            one.run()
    with pytest.raises(
        AirflowException, match=r"cancelled, as 3 before it\. A retry starts nothing again; clear"
    ):
        one.run()
    with pytest.raises(AirflowFailException, match="starts nothing again; clear the task to run the batch"):
        one.run()
    one.clear()
    emulator.settings(start_delay=0)
    assert one.run()["status"] == "SUCCEEDED"
    assert len(batches.executions(instance)) == 1


def test_a_late_run_that_began_in_the_meantime_is_not_run_again(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    """Between the look and the cancel it ran to its end: nothing of it is cancelled."""
    emulator.settings(start_delay=1.0)
    # The look that finds it late sees it PENDING; the cancel comes when it is over.
    emulator.fault("slow", method="GET", path=r"/executions/\d+$", answer_delay=1.5, times=1)
    one = task(running(instance, timeout=0.1))
    with pytest.raises(AirflowException, match=r"It ended SUCCEEDED just now.*a retry looks once more"):
        one.run()
    (made,) = batches.executions(instance)
    assert one.run()["execution_id"] == made["id"]
    assert len(batches.executions(instance)) == 1


def deferred(one: Any) -> None:
    with pytest.raises(TaskDeferred):
        one.run()


def test_a_stopped_task_that_a_delete_cancelled_is_run_by_a_clear_alone(
    batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    one = task(running(instance, expected_start_date=in_an_hour(), deferrable=True, cancel_ways="delete"))
    deferred(one)
    with pytest.raises(TaskStopped):
        one.operator.on_kill()
    assert batches.executions(instance) == []
    with pytest.raises(AirflowFailException, match="clear the task to run the batch"):
        one.run()
    one.clear()
    deferred(one)
    assert [made["id"] for made in batches.executions(instance)] == [one.pushed["execution_id"]]


def test_a_clear_asks_for_what_was_gone_then_and_not_for_what_goes_later(
    batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    one = task(running(instance, expected_start_date=in_an_hour(), deferrable=True))
    deferred(one)
    one.clear()
    deferred(one)  # found again
    MediarithmicsHook().delete_batch_execution(instance, one.pushed["execution_id"])
    with pytest.raises(AirflowFailException, match="does not know it any more"):
        one.run()
    assert batches.executions(instance) == []


def test_a_task_that_does_not_wait_does_not_end_well_with_a_cancelled_run(
    batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    """Stopped between the creation and its end."""
    one = task(running(instance, expected_start_date=in_an_hour(), deferrable=True))
    deferred(one)
    with pytest.raises(TaskStopped):
        one.operator.on_kill()
    one.make = running(instance, expected_start_date=in_an_hour(), wait_for_completion=False)
    assert one.run()["status"] == "PENDING"
    assert sorted(made["status"] for made in batches.executions(instance)) == ["CANCELED", "PENDING"]


# Stopped while the answer to the POST is under way.


def answers_late(emulator: Emulator, **how: Any) -> None:
    emulator.fault("slow", method="POST", path="/executions$", times=1, **how)


def test_an_execution_that_is_being_created_is_cancelled(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    answers_late(emulator, answer_delay=4)
    one = task(running(instance, expected_start_date=in_an_hour()))
    with killed_after(0.7, lambda: one.operator.on_kill()):
        one.run()
    assert [made["status"] for made in batches.executions(instance)] == ["CANCELED"]


def test_an_execution_that_is_being_found_again_is_cancelled(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    """The answer was lost; the try that settles what it did is stopped."""
    emulator.fault("lost_answer", method="POST", path="/executions$", times=1)
    emulator.fault("forbidden", method="GET", path="/executions$", skip=1)
    one = task(running(instance, expected_start_date=in_an_hour(), settle=0.0))
    with pytest.raises(AirflowFailException, match="403"):
        one.run()
    emulator.clear_faults()
    # Two lists have to agree; the second one is on its way.
    emulator.fault("slow", method="GET", path="/executions$", skip=1, times=1, answer_delay=4)
    with killed_after(0.7, lambda: one.operator.on_kill()):
        one.run()
    assert [made["status"] for made in batches.executions(instance)] == ["CANCELED"]


def test_a_stop_before_the_first_call_of_a_later_try_reads_no_connection(
    batches: IntegrationBatchEmulator, instance: str, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may interrupt a call to Airflow, and reading a connection would wait for that forever."""

    class Stopping(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            if key != "airflow_bulk_work":  # that is before the run is opened: on_kill finds none
                monkeypatch.delenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT")
                one.operator.on_kill()

    one = task(running(instance, expected_start_date=in_an_hour(), deferrable=True))
    deferred(one)
    one.pushed = Stopping()
    with pytest.raises(TaskStopped):
        one.run()
    assert [made["status"] for made in batches.executions(instance)] == ["CANCELED"]


def test_an_execution_that_is_not_there_yet_is_named_by_its_start(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any, caplog: Any
) -> None:
    answers_late(emulator, bytes_per_second=10)  # the platform is still reading
    at = in_an_hour()
    one = task(running(instance, expected_start_date=at))
    with killed_after(0.7, lambda: one.operator.on_kill()):
        one.run()
    assert f"to start at {at:%Y-%m-%dT%H:%M}" in caplog.text
    assert "none is there yet. It is not cancelled" in caplog.text
    assert batches.executions(instance) == []


def test_of_two_that_fit_none_is_cancelled_and_both_are_named(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any, caplog: Any
) -> None:
    answers_late(emulator, answer_delay=4)
    one = task(running(instance, expected_start_date=in_an_hour()))

    def kill() -> None:
        (made,) = batches.executions(instance)
        MediarithmicsHook().create_batch_execution(instance, made["parameters"]["expected_start_date"])
        one.operator.on_kill()

    with killed_after(0.7, kill):
        one.run()
    both = batches.executions(instance)
    assert [made["status"] for made in both] == ["PENDING", "PENDING"]
    assert "2 fit" in caplog.text and all(made["id"] in caplog.text for made in both)


def test_a_platform_that_cannot_be_asked_is_told_and_nothing_is_left_out(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any, caplog: Any
) -> None:
    answers_late(emulator, answer_delay=4)
    emulator.fault("server_error", method="GET", path="/executions$", skip=1)
    one = task(running(instance, expected_start_date=in_an_hour()))
    with killed_after(0.7, lambda: one.operator.on_kill()):
        one.run()
    assert "the platform could not be asked" in caplog.text and "to start at" in caplog.text


def test_after_the_end_nothing_is_looked_for(emulator: Emulator, instance: str, task: Any) -> None:
    one = task(running(instance))
    one.run()
    before = len(emulator.requests())
    with pytest.raises(TaskStopped):
        one.operator.on_kill()
    assert len(emulator.requests()) == before
