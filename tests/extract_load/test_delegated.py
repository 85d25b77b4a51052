"""Delegated batches: the operator, the sensor and the trigger against the emulated server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG

from airflow_bulk.extract_load import BatchDefinitionError
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.operators.extract_load import ExtractLoadBatchOperator
from airflow_bulk.sensors.extract_load import ExtractLoadBatchSensor
from inline_dag import pulled, states

GOOD = {"jobs": [{"type": "extract", "object": "Vendor"}, {"type": "load", "object": "vendors"}]}
HANGING = {"jobs": [{"type": "load", "object": "vendors", "required_objects": {"load": ["nowhere"]}}]}


@pytest.fixture
def delegate(extract_load, run_dag):
    """Run one task that delegates a batch: ``delegate(dag_id, definition, **arguments)``."""

    def run(dag_id, definition=GOOD, retries=0, **arguments):
        arguments = {"poll_interval": 0.2, "timeout": 60, "settle": 0.2, **arguments}
        with DAG(dag_id, schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)) as dag:
            ExtractLoadBatchOperator(
                task_id="batch",
                definition=definition,
                extract_load_conn_id="el_server",
                retries=retries,
                retry_delay=timedelta(0),
                **arguments,
            )
        return run_dag(dag)

    return run


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_batch_runs_and_its_end_is_awaited(extract_load, delegate, deferrable):
    extract_load.emulator.settings(start_delay=0.5, run_seconds=0.5)
    run = delegate(f"el_delegated_{deferrable}", deferrable=deferrable)
    assert run.state == "success"
    (batch,) = ExtractLoadHook("el_server").list_batches()
    assert batch.finished
    result = pulled(run, "batch")
    assert result.pop("seconds") >= 0.5
    assert result == {
        "batch_id": batch.id,
        "finished_at": batch.finished_at,
        "status": None,
        "errors": None,
        "error_kinds": None,
    }
    assert pulled(run, "batch", key="batch_id") == batch.id


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failure_that_the_server_tells_fails_the_task_without_retries(
    extract_load, delegate, deferrable, capsys
):
    extract_load.emulator.settings(extract_load_status=True, start_delay=0.5, run_seconds=0.5)
    extract_load.fail(side="source", object="Vendor", page=1)
    run = delegate(f"el_failed_{deferrable}", retries=3, deferrable=deferrable)
    assert run.state == "failed"
    assert "is finished, but failed: status failed, errors in Vendor" in capsys.readouterr().out
    assert len(ExtractLoadHook("el_server").list_batches()) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_hanging_batch_ends_at_the_deadline_and_a_retry_starts_no_second_run(
    extract_load, delegate, deferrable, capsys
):
    run = delegate(
        f"el_hanging_{deferrable}", HANGING, retries=1, deferrable=deferrable, timeout=1.0, check=False
    )
    assert run.state == "failed"
    assert (
        "was not over 1 s after its submission (last seen: no finished_at). It goes on"
        in capsys.readouterr().out
    )
    assert len(ExtractLoadHook("el_server").list_batches()) == 1


def test_a_definition_that_would_hang_is_refused_before_it_is_sent(delegate):
    with pytest.raises(BatchDefinitionError, match="names 'nowhere'"):
        delegate("el_checked", HANGING)


def test_a_lost_answer_is_looked_up_not_repeated(extract_load, delegate):
    ExtractLoadHook("el_server").create_batch(GOOD)  # an older run of the same jobs
    extract_load.emulator.fault("lost_answer", path="/batch$", method="POST", times=1)
    run = delegate("el_lost", retries=1)
    assert run.state == "success"
    batches = ExtractLoadHook("el_server").list_batches()
    assert len(batches) == 2
    assert pulled(run, "batch")["batch_id"] == batches[1].id


def test_two_batches_that_may_be_ours_are_named_and_nothing_is_sent(extract_load, delegate):
    fault = extract_load.emulator.fault
    fault("lost_answer", path="/batch$", method="POST", times=1)
    # The list before the POST is read; the one after it is not, so the first try ends in doubt.
    fault("server_error", path="/batch$", method="GET", status=501, skip=1, times=1)
    seen = []

    class Other(ExtractLoadBatchOperator):
        """Somebody else stores the same batch between two tries."""

        def execute(self, context):
            if context["ti"].try_number == 2:
                seen.append(ExtractLoadHook("el_server").create_batch(GOOD))
            return super().execute(context)

    with DAG("el_two", schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)) as dag:
        Other(
            task_id="batch",
            definition=GOOD,
            extract_load_conn_id="el_server",
            settle=0.2,
            retries=3,
            retry_delay=timedelta(0),
        )
    from inline_dag import run_dag

    run = run_dag(dag)
    assert run.state == "failed"
    assert len(ExtractLoadHook("el_server").list_batches()) == 2
    assert len(seen) == 1


@pytest.mark.parametrize(("mode", "deferrable"), [("poke", False), ("reschedule", False), ("poke", True)])
def test_the_sensor_waits_for_a_batch_of_others(extract_load, run_dag, mode, deferrable):
    extract_load.emulator.settings(start_delay=0.5, run_seconds=0.5)
    made = ExtractLoadHook("el_server").create_batch(GOOD)
    with DAG(
        f"el_sensor_{mode}_{deferrable}", schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)
    ) as dag:
        ExtractLoadBatchSensor(
            task_id="wait",
            batch_id=made.id,
            extract_load_conn_id="el_server",
            deferrable=deferrable,
            mode=mode,
            poke_interval=0.2,
            timeout=60,
        )
    assert states(run_dag(dag)) == {("wait", -1): "success"}
    assert ExtractLoadHook("el_server").get_batch(made.id).finished


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_sensor_ends_a_wait_for_a_hanging_batch(extract_load, run_dag, deferrable):
    made = ExtractLoadHook("el_server").create_batch(HANGING)
    with DAG(
        f"el_hang_sensor_{deferrable}", schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)
    ) as dag:
        ExtractLoadBatchSensor(
            task_id="wait",
            batch_id=made.id,
            extract_load_conn_id="el_server",
            deferrable=deferrable,
            poke_interval=0.2,
            timeout=1.0,
        )
    assert states(run_dag(dag)) == {("wait", -1): "failed"}


def test_an_unknown_batch_fails_at_once(extract_load, run_dag):
    with DAG("el_unknown", schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC)) as dag:
        ExtractLoadBatchSensor(
            task_id="wait", batch_id="0" * 24, extract_load_conn_id="el_server", retries=5, timeout=60
        )
    assert states(run_dag(dag)) == {("wait", -1): "failed"}
