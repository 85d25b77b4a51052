"""How a delegated batch ends over its tries: retries and clears, one deadline, outages, what is gone, what failed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.module_loading import import_string
from delegating import GOOD, HANGING, LIST, ONE, REFUSED, DelegatedTask, ids, posts, store_another
from one_sensor import first_event
from one_task import killed_after

from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.operators.extract_load import ExtractLoadBatchOperator
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger
from inline_dag import pulled, register, run_again


@pytest.fixture(autouse=True)
def _over_at_once(extract_load: Any) -> None:
    extract_load.emulator.settings(start_delay=0, run_seconds=0)


# Retries and clears.


def test_a_retry_returns_the_end_and_a_clear_stores_another(extract_load: Any, caplog: Any) -> None:
    one = DelegatedTask()
    first = one.run()
    assert one.run() == first
    one.clear()
    second = one.run()
    assert ids() == [first["batch_id"], second["batch_id"]]
    assert f"The former batch is {first['batch_id']}" in caplog.text
    kept = DelegatedTask(on_clear="keep")
    third = kept.run()
    kept.clear()
    assert kept.run() == third


@pytest.mark.parametrize("lowered", [False, True])
def test_a_clear_of_what_is_not_over_goes_on_with_it(extract_load: Any, lowered: bool) -> None:
    """Whether its retries were lowered meanwhile or not: the record's key does not depend on them."""
    one = DelegatedTask(definition=HANGING, timeout=0.3)
    with pytest.raises(AirflowException, match=r"was not over 0\.3 s after its submission"):
        one.run()
    (made,) = ids()
    if lowered:
        one.clear_number += 1  # max_tries stays as it was
    else:
        one.clear()
    with pytest.raises(AirflowException, match=made):
        one.run()
    assert ids() == [made]


def test_a_clear_of_a_success_that_cannot_be_told_from_a_retry_fails(extract_load: Any) -> None:
    one = DelegatedTask()
    first = one.run()
    one.clear_number += 1
    with pytest.raises(AirflowFailException, match="Clear this task once more"):
        one.run()
    one.clear()
    assert [first["batch_id"], one.run()["batch_id"]] == ids()


def test_airflow_tells_a_clear_though_retries_were_lowered(extract_load: Any, run_dag: Any) -> None:
    def dag(retries: int) -> DAG:
        with DAG("el_lowered", schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)) as made:
            ExtractLoadBatchOperator(
                task_id="batch",
                definition=GOOD,
                extract_load_conn_id="el_server",
                settle=0.1,
                retries=retries,
                retry_delay=timedelta(0),
            )
        return made

    run = run_dag(dag(1))
    assert run.state == "success"
    (first,) = ids()
    lowered = dag(0)
    register(lowered)
    run = run_again(lowered, run)
    assert run.get_task_instance("batch").max_tries == 1, "as before the clear: the case that is meant"
    assert run.state == "success"
    assert [first, pulled(run, "batch")["batch_id"]] == ids()


# One deadline.


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_deadline_is_one_for_all_tries(extract_load: Any, deferrable: bool) -> None:
    one = DelegatedTask(definition=HANGING, timeout=3600, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        one.run()
    began = one.store.get("g1.started")
    trigger = deferred.value.trigger
    assert trigger.deadline == pytest.approx(began["at"] + 3600)
    assert (trigger.extract_load_conn_id, [trigger.batch_id], trigger.own) == (
        "el_server",
        ids(),
        True,
    )
    one.store.set("g1.started", {**began, "at": began["at"] - 7200})  # two hours of retries ago
    one.arguments["deferrable"] = deferrable
    for _ in range(2):
        with pytest.raises(AirflowException, match="was not over 3600 s after its submission") as late:
            one.run()
        assert not isinstance(late.value, AirflowFailException)
    one.clear()
    one.arguments["deferrable"] = True
    with pytest.raises(TaskDeferred) as deferred:
        one.run()
    assert deferred.value.trigger.deadline > time.time()
    assert len(ids()) == 1


# Outages.


def test_an_outage_on_a_worker(extract_load: Any, caplog: Any) -> None:
    extract_load.emulator.fault(**REFUSED, path=ONE, times=1)
    assert DelegatedTask().run()["finished_at"]
    assert "Waiting on." in caplog.text
    assert posts(extract_load) == 1


def test_an_outage_at_a_resume(extract_load: Any) -> None:
    extract_load.emulator.fault(**REFUSED, path=ONE, times=2)
    one = DelegatedTask(deferrable=True)
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            one.run()
    assert one.run()["batch_id"] == ids()[0]
    assert posts(extract_load) == 1


def test_an_outage_in_the_triggerer(extract_load: Any) -> None:
    """The look is put off, at most to the deadline, and then the batch is seen."""
    made = store_another()
    extract_load.emulator.fault(**REFUSED, path=ONE, times=1)
    trigger = ExtractLoadBatchTrigger(
        extract_load_conn_id="el_server", batch_id=made, started=time.time(), deadline=time.time() + 1.5
    )
    path, arguments = trigger.serialize()
    event = asyncio.run(first_event(import_string(path)(**arguments)))  # as the triggerer makes it
    assert (event["state"], event["batch_id"]) == ("over", made)
    assert [call["faults"] for call in extract_load.emulator.requests() if made in call["path"]] == [
        ["server_error"],
        [],
    ]


def test_an_outage_past_the_deadline(extract_load: Any) -> None:
    extract_load.emulator.fault(**REFUSED, path=ONE)
    one = DelegatedTask(timeout=0.3)
    with pytest.raises(AirflowException, match="501") as failed:
        one.run()
    assert not isinstance(failed.value, AirflowFailException)
    extract_load.emulator.clear_faults()
    assert one.run()["batch_id"] == ids()[0]


# What is gone, and what failed.


def test_one_that_is_gone_is_replaced_by_a_clear_alone(extract_load: Any) -> None:
    one = DelegatedTask(definition=HANGING, deferrable=True)
    with pytest.raises(TaskDeferred):
        one.run()
    (made,) = ids()
    ExtractLoadHook("el_server").delete_batch(made)
    for _ in range(2):
        with pytest.raises(
            AirflowFailException, match=f"{made}.*does not know it any more.*clearing the task"
        ):
            one.run()
    assert ids() == []
    one.clear()
    one.arguments["definition"] = GOOD
    assert [one.run()["batch_id"]] == ids() != [made]


def test_a_clear_asks_for_what_was_gone_then_and_not_for_what_goes_later(extract_load: Any) -> None:
    one = DelegatedTask(definition=HANGING, deferrable=True)
    with pytest.raises(TaskDeferred):
        one.run()
    one.clear()
    with pytest.raises(TaskDeferred):
        one.run()  # found again
    ExtractLoadHook("el_server").delete_batch(ids()[0])
    with pytest.raises(AirflowFailException, match="does not know it any more"):
        one.run()
    assert ids() == []


def test_a_failure_that_the_server_tells(extract_load: Any) -> None:
    extract_load.emulator.settings(extract_load_status=True)
    extract_load.fail(side="source", object="Vendor", page=1)
    one = DelegatedTask()
    for told in ("clearing the task stores another batch", "Recorded by try 1"):
        with pytest.raises(AirflowFailException, match=f"failed: status failed, errors in Vendor.*{told}"):
            one.run()
    (first,) = ids()
    assert one.store.get("g1.end")["result"]["errors"] == {"Vendor": 1}
    assert one.store.get("g1.end")["result"]["error_kinds"] == ["extract Vendor: failure on demand"]
    one.clear()
    result = one.run()
    assert ids() == [first, result["batch_id"]]
    assert (result["status"], result["errors"], result["error_kinds"]) == ("complete", {}, [])


# The rest.


def test_without_waiting(extract_load: Any) -> None:
    one = DelegatedTask(definition=HANGING, wait_for_completion="false")
    first = one.run()
    result = dict(first)
    assert result.pop("seconds") >= 0
    assert result.pop("batch_id") == ids()[0]
    assert set(result.values()) == {None}
    assert one.run() == first  # the end was recorded
    assert ids() == [first["batch_id"]]


def test_on_kill_says_that_the_batch_goes_on(extract_load: Any, caplog: Any) -> None:
    one = DelegatedTask(definition=HANGING, deferrable=True)
    with pytest.raises(TaskDeferred):
        one.run()
    with pytest.raises(TaskStopped):
        one.operator.on_kill()
    assert f"Batch {ids()[0]} goes on at the server. No call that stops a batch is documented." in caplog.text


def test_on_kill_in_mid_post_says_that_a_batch_may_go_on(extract_load: Any, caplog: Any) -> None:
    one = DelegatedTask(definition=HANGING)
    extract_load.emulator.fault("slow", path=LIST, method="POST", times=1, answer_delay=3.0)
    with killed_after(1.0, lambda: one.operator.on_kill()):
        one.run()
    assert (
        "A batch may have been stored just now, and goes on then. No call that stops a batch" in caplog.text
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"definition": "nothing"}, "definition must be a batch definition"),
        (
            {"definition": {**GOOD, "id": "0" * 24}},
            "definition cannot be sent: a new batch must not have an id",
        ),
        ({"on_clear": "again"}, "on_clear"),
        ({"timeout": "-1"}, "timeout"),
        ({"poll_interval": "often"}, "poll_interval"),
        ({"settle": "long"}, "settle"),
        ({"wait_for_completion": "perhaps"}, "wait_for_completion"),
    ],
)
def test_arguments_that_cannot_be_used(extract_load: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        DelegatedTask(**given).run()
    assert posts(extract_load) == 0
