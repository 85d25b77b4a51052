"""One run of a batch through real HTTP: started once, found again, judged, cancelled."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from one_task import MemoryStore, running

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.integration_batch import run as batch_run

NAMES = [
    "instance_id",
    "execution_id",
    "status",
    "execution_type",
    "expected_start_date",
    "start_date",
    "tasks",
    "tasks_failed",
    "seconds",
    "console_url",
]


def posts(emulator: Emulator) -> int:
    return sum(one["method"] == "POST" and one["path"].endswith("/executions") for one in emulator.requests())


def test_a_run_now(batches: IntegrationBatchEmulator, instance: str, task: Any) -> None:
    one = task(running(instance))
    before = datetime.now(UTC) - timedelta(seconds=1)
    result = one.run()
    assert list(result) == NAMES
    (made,) = batches.executions(instance)
    assert (result["execution_id"], result["status"]) == (made["id"], "SUCCEEDED")
    assert made["parameters"]["execution_type"] == result["execution_type"] == "MANUAL"
    assert before <= datetime.fromisoformat(result["expected_start_date"]) <= datetime.now(UTC)
    work = f"batch instance {instance}"
    assert one.pushed == {"instance_id": instance, "execution_id": made["id"], "airflow_bulk_work": work}


def test_a_run_at_a_time(batches: IntegrationBatchEmulator, instance: str, task: Any) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    east = at.astimezone().isoformat()
    options = {"expected_start_date": "{{ params.at }}", "wait_for_completion": "false"}
    result = task(running(instance, **options)).run(at=east)
    assert (result["status"], result["start_date"]) == ("PENDING", None)
    # Up to a second later: the start is this task's own.
    assert at < datetime.fromisoformat(result["expected_start_date"]) < at + timedelta(seconds=1)
    (made,) = batches.executions(instance)
    start = datetime.fromisoformat(result["expected_start_date"])
    assert made["parameters"]["expected_start_date"] == round(start.timestamp() * 1000)


def test_the_deadline_counts_from_the_start(emulator: Emulator, instance: str, task: Any) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    one = task(running(instance, expected_start_date=at, timeout=60, deferrable=True))
    with pytest.raises(TaskDeferred) as deferred:
        one.run()
    _, arguments = deferred.value.trigger.serialize()
    assert arguments["deadline"] == pytest.approx(at.timestamp() + 60, abs=1)
    assert arguments["executions"] == [one.pushed["execution_id"]]
    # Nothing is asked before it can have started.
    assert arguments["started"] < time.time()
    assert arguments["first"] == pytest.approx(7200, abs=60)


BAD = {
    "the past": ({"expected_start_date": "2001-01-01T00:00:00Z"}, "lies in the past"),
    "no time": ({"expected_start_date": "soon"}, "expected_start_date must be a time"),
    "a duration": ({"expected_start_date": "PT3H"}, "expected_start_date must be a time"),
    "an unknown instance": ({"instance_id": "777"}, "404"),
    "no instance": ({"instance_id": ""}, "instance_id must be"),
    "a way that does not exist": ({"cancel_ways": "put,pray"}, "cancel_ways must be one of"),
    "failures": ({"max_failures": "many"}, "max_failures must be a count"),
    "clear": ({"on_clear": "run"}, "on_clear must be one of"),
    "timeout": ({"timeout": 0}, "timeout must be longer"),
}


@pytest.mark.parametrize(("changed", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_run_says_why(
    emulator: Emulator, instance: str, task: Any, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        task(running(**{"instance_id": instance, **changed})).run()
    assert posts(emulator) == 0


def test_an_archived_instance_is_not_run(
    emulator: Emulator, batches: IntegrationBatchEmulator, task: Any
) -> None:
    archived = batches.add("old", archived=True)
    with pytest.raises(AirflowFailException, match=f"archived instance {archived}"):
        task(running(archived)).run()
    assert posts(emulator) == 0


# Exactly once.


@pytest.mark.parametrize("fault", ["lost_answer", "half_answer", "html_answer"])
def test_a_lost_answer_starts_nothing_twice(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any, fault: str
) -> None:
    emulator.fault(fault, method="POST", path="/executions$", times=1)
    result = task(running(instance)).run()
    assert [one["id"] for one in batches.executions(instance)] == [result["execution_id"]]


def test_an_answer_lost_before_the_act_is_made_up_for(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.fault("server_error", method="POST", path="/executions$", times=1)
    task(running(instance)).run()
    assert len(batches.executions(instance)) == 1
    assert posts(emulator) == 2


def test_an_execution_that_appears_late_is_waited_for(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.fault("late", path="/executions$", seconds=1.0, times=1)
    result = task(running(instance, settle=2.0)).run()
    assert [one["id"] for one in batches.executions(instance)] == [result["execution_id"]]
    assert posts(emulator) == 1


def test_one_that_appears_too_late_is_told(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.settings(run_seconds=3)
    emulator.fault("late", path="/executions$", seconds=1.5, times=1)
    with pytest.raises(AirflowFailException, match="may have run twice") as failed:
        task(running(instance, settle=0.1)).run()
    made = [one["id"] for one in batches.executions(instance)]
    assert len(made) == 2
    assert all(one in str(failed.value) for one in made)


def test_a_platform_that_is_busy_is_asked_again(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.fault("rate_limited", method="POST", path="/executions$", times=2, retry_after=0)
    task(running(instance)).run()
    assert len(batches.executions(instance)) == 1


class Killing(MemoryStore):
    """Dies at one write: before it is stored, or right after."""

    def __init__(self, at: int, *, stored: bool) -> None:
        super().__init__()
        self.at = at
        self.stored = stored
        self.writes = 0

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.writes += 1
        if self.writes == self.at:
            if self.stored:
                super().set(key, value, retention=retention)
            raise KeyboardInterrupt
        super().set(key, value, retention=retention)


def test_a_try_killed_at_any_write_starts_the_batch_once(
    batches: IntegrationBatchEmulator, task: Any
) -> None:
    counted = Killing(0, stored=True)
    task(running(batches.add("counted")), counted).run()
    assert counted.writes >= 4
    for at in range(1, counted.writes + 1):
        for stored in (True, False):
            instance = batches.add(f"killed-{at}-{stored}")
            one = task(running(instance), Killing(at, stored=stored))
            with pytest.raises(KeyboardInterrupt):
                one.run()
            result = one.run()
            assert [made["id"] for made in batches.executions(instance)] == [result["execution_id"]], at


def test_where_two_fit_both_are_named(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    one = task(running(instance, expected_start_date=at))
    # The answer is lost, and so is every look: the task ends not knowing.
    emulator.fault("lost_answer", method="POST", path="/executions$", times=1)
    emulator.fault("forbidden", method="GET", path="/executions$", skip=1)
    with pytest.raises(AirflowFailException, match="403"):
        one.run()
    emulator.clear_faults()
    (made,) = batches.executions(instance)
    MediarithmicsHook().create_batch_execution(instance, made["parameters"]["expected_start_date"])
    ids = [made["id"] for made in batches.executions(instance)]
    with pytest.raises(
        AirflowException, match=rf"2 fit: .*{ids[0]}.*a retry creates nothing and ends in the same way"
    ):
        one.run()
    assert len(batches.executions(instance)) == len(ids) == 2


def test_a_superseded_try_starts_nothing(emulator: Emulator, instance: str, task: Any) -> None:
    one = task(running(instance))
    one.store.refused = True
    with pytest.raises(AirflowException, match="newer try"):
        one.run()
    assert posts(emulator) == 0


def test_a_retry_after_the_end_and_a_clear(
    batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    one = task(running(instance))
    first = one.run()
    assert one.run() == first
    one.clear()
    second = one.run()
    assert [made["id"] for made in batches.executions(instance)] == [
        first["execution_id"],
        second["execution_id"],
    ]
    kept = task(running(instance, on_clear="keep"))
    third = kept.run()
    kept.clear()
    assert kept.run() == third


# Judging.


@pytest.mark.parametrize(("fault", "status"), [("forced_failed", "FAILED"), ("lost_status", "LOST")])
def test_a_failed_batch_is_not_run_again_by_a_retry_but_by_a_clear(
    emulator: Emulator,
    batches: IntegrationBatchEmulator,
    instance: str,
    task: Any,
    fault: str,
    status: str,
) -> None:
    emulator.fault(fault, path="/executions$", times=1)
    one = task(running(instance))
    with pytest.raises(AirflowFailException, match=f"ended {status}"):
        one.run()
    with pytest.raises(AirflowFailException, match="Recorded by try 1"):
        one.run()
    assert len(batches.executions(instance)) == 1
    one.clear()
    assert one.run()["status"] == "SUCCEEDED"
    assert len(batches.executions(instance)) == 2


def test_a_retry_may_run_a_failed_batch_again(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.fault("forced_failed", path="/executions$", times=1)
    one = task(running(instance, run_again_after_failure=True))
    with pytest.raises(AirflowException, match="A retry runs the batch again"):
        one.run()
    assert one.run()["status"] == "SUCCEEDED"


def test_failed_tasks_are_judged(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.settings(run_seconds=0.5)
    limit: dict[str, Any] = {"max_failures": "10%"}

    def count(number: int) -> None:
        while len(batches.executions(instance)) < number:
            time.sleep(0.02)
        batches.change_execution(batches.executions(instance)[-1]["id"], tasks=20, erroneous=3)

    one = task(lambda: running(instance, **limit)())
    counting = threading.Thread(target=count, args=(1,))
    counting.start()
    with pytest.raises(AirflowFailException, match=r"3 of 20 tasks failed \(15%\)"):
        one.run()
    counting.join()
    # Cleared: judged again with today's limit, not run again.
    one.clear()
    limit["max_failures"] = "20%"
    result = one.run()
    assert (result["tasks"], result["tasks_failed"]) == (20, 3)
    assert len(batches.executions(instance)) == 1


def test_an_execution_that_was_cancelled_is_started_again_a_few_times(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    one = task(running(instance, expected_start_date=at, deferrable=True))

    for started in range(1, batch_run.RESTARTS + 2):
        with pytest.raises(TaskDeferred):
            one.run()
        assert len(batches.executions(instance)) == started
        MediarithmicsHook().cancel_batch_execution(instance, one.pushed["execution_id"])
    with pytest.raises(AirflowFailException, match="was cancelled, as 3 before it"):
        one.run()


def test_an_unknown_status_is_waited_for(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.fault("unknown_status", times=2, over=True)
    assert task(running(instance)).run()["status"] == "SUCCEEDED"


def test_an_outage_while_waiting_passes(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.settings(run_seconds=1)
    emulator.fault("server_error", method="GET", path=r"/executions/\d+$", times=1, status=501)
    one = task(running(instance, deferrable=True))
    with pytest.raises(TaskDeferred):
        one.run()
    time.sleep(1.2)
    assert one.run()["status"] == "SUCCEEDED"
    assert len(batches.executions(instance)) == 1


# Deadlines and stopping.


def test_a_run_that_never_ends_is_given_up_at_the_deadline(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.fault("stuck_running", path="/executions$", times=1)
    one = task(running(instance, timeout=0.5))
    with pytest.raises(
        AirflowException, match=r"was not over 0.5 s after its start. It is RUNNING and keeps"
    ):
        one.run()
    (made,) = batches.executions(instance)
    batches.change_execution(made["id"], fate="succeeded", end=True)
    assert one.run()["execution_id"] == made["id"]


def test_a_late_run_that_is_pending_is_cancelled(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.settings(start_delay=60)
    with pytest.raises(AirflowException, match="It was cancelled"):
        task(running(instance, timeout=0.5)).run()
    assert [one["status"] for one in batches.executions(instance)] == ["CANCELED"]


def test_a_refused_cancel_is_told(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    emulator.settings(start_delay=60)
    for method in ("PUT", "POST", "DELETE"):
        emulator.fault("refuse_cancel", method=method, path="/executions/")
    with pytest.raises(AirflowException, match="It is PENDING and keeps running"):
        task(running(instance, timeout=0.5)).run()


@pytest.mark.parametrize(("cancel", "status"), [(True, "CANCELED"), (False, "PENDING")])
def test_a_stopped_task_cancels_what_is_pending(
    emulator: Emulator,
    batches: IntegrationBatchEmulator,
    instance: str,
    task: Any,
    cancel: bool,
    status: str,
) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    one = task(running(instance, expected_start_date=at, deferrable=True, cancel_on_kill=cancel))
    with pytest.raises(TaskDeferred):
        one.run()
    with pytest.raises(TaskStopped):
        one.operator.on_kill()
    assert [made["status"] for made in batches.executions(instance)] == [status]


def test_an_execution_that_is_gone_is_not_replaced(
    emulator: Emulator, batches: IntegrationBatchEmulator, instance: str, task: Any
) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    one = task(running(instance, expected_start_date=at, deferrable=True))
    with pytest.raises(TaskDeferred):
        one.run()
    MediarithmicsHook().delete_batch_execution(instance, one.pushed["execution_id"])
    with pytest.raises(AirflowFailException, match="does not know it any more"):
        one.run()
    assert batches.executions(instance) == []
