"""Integration batches on a real Airflow: the example DAG, runs over kills, the cron followed over a restart."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_stack import AirflowStack

#: Seconds to wait for anything at most: the machine may be busy with other tests.
LONG = 300.0
EXAMPLES = ("batch_around_import", "batch_around_import_deferred")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator.start(start_delay=0.2, run_seconds=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def batches(emulator: Emulator) -> IntegrationBatchEmulator:
    return IntegrationBatchEmulator(emulator)


@pytest.fixture(scope="module")
def watched(batches: IntegrationBatchEmulator) -> str:
    """An instance whose cron fires once a day, and whenever a test moves the clock there."""
    return batches.add("watched", cron="0 3 * * *", cron_status="ACTIVE")


@pytest.fixture(scope="module")
def stack(
    emulator: Emulator,
    watched: str,
    repository: Path,
    new_airflow_database: Callable[[], str | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    home = tmp_path_factory.mktemp("batches")
    connection = emulator.connection_json(computing_console_base_url="https://computing.example")
    environment = {
        "AIRFLOW_CONN_MEDIARITHMICS_DEFAULT": connection,
        "WATCHED_BATCH": watched,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    folders = {"examples": home / "examples", "tests": Path(__file__).parent / "batch_dags"}
    folders["examples"].mkdir()
    (folders["examples"] / "data").symlink_to(repository / "dags" / "data")
    (folders["examples"] / "batch_around_import.py").symlink_to(
        repository / "dags" / "batch_around_import.py"
    )
    with AirflowStack(home, folders, environment, database=new_airflow_database()) as running:
        for dag_id in (*EXAMPLES, "batch_watched", "batch_followed", "batch_run"):
            running.api.wait_for_dag(dag_id)
            running.api.unpause(dag_id)
        yield running


@pytest.fixture(autouse=True)
def _no_faults(emulator: Emulator) -> Iterator[None]:
    yield
    emulator.clear_faults()


def fire(emulator: Emulator, batches: IntegrationBatchEmulator, instance: str) -> str:
    """Let the cron's coming run start and end now; return it."""
    coming, expected = _coming(batches, instance)
    emulator.clock.freeze()
    emulator.clock.advance((expected - emulator.clock.now()) / 1000 + 5)
    emulator.clock.resume()
    return coming


def _coming(batches: IntegrationBatchEmulator, instance: str) -> tuple[str, int]:
    """The cron's coming run, and the milliseconds of its expected start."""
    coming = next(one for one in batches.executions(instance) if one["status"] == "PENDING")
    return str(coming["id"]), coming["parameters"]["expected_start_date"]


@pytest.mark.parametrize("dag_id", EXAMPLES)
def test_the_example_runs(
    dag_id: str, stack: AirflowStack, emulator: Emulator, batches: IntegrationBatchEmulator, tmp_path: Path
) -> None:
    run_id = stack.api.trigger(dag_id, conf={"folder": str(tmp_path), "half_life_days": 30.0})
    assert stack.api.wait_for_run(dag_id, run_id, LONG) == "success"
    ensured = stack.api.xcom(dag_id, run_id, "ensure_batch")
    instance = ensured["instance_id"]
    shown = next(one for one in batches.instances() if one["id"] == instance)
    assert (shown["name"], shown["cron_status"], shown["ram_size"]) == ("Customer scores", "ACTIVE", "MEDIUM")
    paused = stack.api.xcom(dag_id, run_id, "pause_batch")
    assert (paused["was_active"], paused["canceled"], paused["still_pending"]) == (True, 1, [])
    imported = stack.api.xcom(dag_id, run_id, "import_profiles")
    assert imported["lines_read"] == imported["lines_accepted"] == 23_570
    scored = stack.api.xcom(dag_id, run_id, "score_once")
    assert (scored["status"], scored["execution_type"]) == ("SUCCEEDED", "MANUAL")
    manual = [
        one["id"] for one in batches.executions(instance) if one["parameters"]["execution_type"] == "MANUAL"
    ]
    assert scored["execution_id"] == manual[-1]
    assert len(manual) == EXAMPLES.index(dag_id) + 1
    link = f"https://computing.example/#/o/900/jobs/integration_batch_instances/{instance}"
    assert stack.api.links(dag_id, run_id, "score_once") == {"Integration batch": link}


@pytest.mark.parametrize("dag_id", [EXAMPLES[0], pytest.param(EXAMPLES[1], marks=pytest.mark.slow)])
def test_the_example_resumes_the_batch_when_the_import_failed(
    dag_id: str, stack: AirflowStack, emulator: Emulator, batches: IntegrationBatchEmulator, tmp_path: Path
) -> None:
    emulator.fault("forced_failed", path="/document_imports/.*/executions$")
    run_id = stack.api.trigger(dag_id, conf={"folder": str(tmp_path)})
    assert stack.api.wait_for_run(dag_id, run_id, LONG) == "failed"
    states = {task: state for (task, _), state in stack.api.states(dag_id, run_id).items()}
    assert states["import_profiles"] == "failed"
    assert states["score_once"] == "upstream_failed"
    assert states["resume_batch"] == "success"
    instance = stack.api.xcom(dag_id, run_id, "ensure_batch")["instance_id"]
    assert next(one for one in batches.instances() if one["id"] == instance)["cron_status"] == "ACTIVE"


def test_a_worker_killed_between_the_creation_and_its_record_runs_the_batch_once(
    stack: AirflowStack, emulator: Emulator, batches: IntegrationBatchEmulator
) -> None:
    instance = batches.add("killed")
    # The executions are made, and their answers take their time.
    emulator.fault("slow", method="POST", path=rf"{instance}/executions$", answer_delay=50.0)
    run_id = stack.api.trigger("batch_run", conf={"instance": instance})
    children = [stack.task_processes("batch_run", run_id, one).child for one in ("on_a_worker", "deferred")]
    stack.api.wait_for("both to be made", lambda: len(batches.executions(instance)) == 2 or None, LONG)
    for child in children:
        os.kill(child, signal.SIGKILL)
    emulator.clear_faults()
    assert stack.api.wait_for_run("batch_run", run_id, LONG) == "success"
    results = [stack.api.xcom("batch_run", run_id, task_id) for task_id in ("on_a_worker", "deferred")]
    assert [one["status"] for one in results] == ["SUCCEEDED"] * 2
    made = [one["id"] for one in batches.executions(instance)]
    assert sorted(one["execution_id"] for one in results) == sorted(made)
    assert len(made) == 2


def test_tasks_that_are_marked_failed_cancel_what_is_pending(
    stack: AirflowStack, emulator: Emulator, batches: IntegrationBatchEmulator
) -> None:
    instance = batches.add("stopped")
    at = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    run_id = stack.api.trigger("batch_run", conf={"instance": instance, "at": at})
    stack.api.wait_for("both to be made", lambda: len(batches.executions(instance)) == 2 or None, LONG)
    stack.api.wait_for_task("batch_run", run_id, "deferred", {"deferred"}, timeout=LONG)
    stack.api.wait_for_task("batch_run", run_id, "on_a_worker", {"running"}, timeout=LONG)
    # The trigger has to have come up: a task that is marked before gets no on_kill at all.
    stack.api.wait_for("the trigger to run", lambda: _picked_up(stack, run_id) or None, LONG)

    def canceled() -> int:
        return [one["status"] for one in batches.executions(instance)].count("CANCELED")

    stack.api.set_task_state("batch_run", run_id, "on_a_worker", "failed")
    stack.api.wait_for("the worker's to be cancelled", lambda: canceled() == 1 or None, LONG)
    # The platform takes longer than the triggerer lets a trigger's on_kill be (airflow.md section 3.4).
    emulator.fault("slow", method="GET", path=rf"{instance}/executions", answer_delay=2.0)
    stack.api.set_task_state("batch_run", run_id, "deferred", "failed")
    stack.api.wait_for("both to be cancelled", lambda: canceled() == 2 or None, LONG)


def _picked_up(stack: AirflowStack, run_id: str) -> bool:
    return "starting" in stack.api.log("batch_run", run_id, "deferred")


# The last one: it takes the platform's clock days ahead of ours.
def test_runs_of_the_cron_are_told_and_followed_once_each_over_a_restart(
    stack: AirflowStack, emulator: Emulator, batches: IntegrationBatchEmulator, watched: str
) -> None:
    stack.api.wait_for("the watcher's first look", lambda: _kept(stack, watched), LONG)
    first = fire(emulator, batches, watched)
    stack.api.wait_for("the first run to be told", lambda: first in _kept(stack, watched) or None, LONG)

    coming, expected = _coming(batches, watched)
    begin = datetime.fromtimestamp(expected / 1000, UTC) - timedelta(minutes=30)
    interval = {"data_interval_start": begin, "data_interval_end": begin + timedelta(hours=1)}
    # The scheduler starts no run of a later date, but the interval may be anything.
    times = {name: at.isoformat() for name, at in {"logical_date": datetime.now(UTC), **interval}.items()}
    run_id = stack.api.trigger("batch_followed", **times)
    for task_id, state in WAITING.items():
        stack.api.wait_for_task("batch_followed", run_id, task_id, {state}, timeout=LONG)
    for component in ("scheduler", "dag-processor", "triggerer", "api-server"):
        stack.kill(component)
    second = fire(emulator, batches, watched)  # nobody of Airflow is there to see it
    assert second == coming
    for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
        stack.start_component(component)
    stack.wait_healthy()

    assert stack.api.wait_for_run("batch_followed", run_id, LONG) == "success"
    for task_id in WAITING:
        assert stack.api.xcom("batch_followed", run_id, task_id)["execution_ids"] == [second]
    stack.api.wait_for("the second run to be told", lambda: second in _kept(stack, watched) or None, LONG)
    third = fire(emulator, batches, watched)
    stack.api.wait_for("the third run to be told", lambda: third in _kept(stack, watched) or None, LONG)
    told = stack.api.wait_for("three runs of the DAG behind the asset", lambda: _told(stack, 3), LONG)
    assert sorted(told) == sorted([first, second, third])


#: In which state each sensor of ``batch_followed`` waits.
WAITING = {"poking": "running", "rescheduling": "up_for_reschedule", "deferring": "deferred"}


def _kept(stack: AirflowStack, instance: str) -> set[str] | None:
    """The runs that the asset's own state says were told; None before the watcher's first look."""
    assets = stack.api.call("GET", "/assets", params={"name_pattern": "customer_scores"})["assets"]
    entries = stack.api.call("GET", f"/assets/{assets[0]['id']}/state-store")["asset_state_store"]
    kept = {entry["key"]: entry["value"] for entry in entries}.get(f"integration_batch.{instance}")
    return None if kept is None else set(kept["told"])


def _told(stack: AirflowStack, least: int) -> list[str] | None:
    """What the runs of ``batch_watched`` were told, when at least so many events have become runs that are over."""
    runs = stack.api.runs("batch_watched")
    if {run["state"] for run in runs} != {"success"}:
        return None
    results = [stack.api.xcom("batch_watched", run["dag_run_id"], "tell") for run in runs]
    told = [execution for result in results for execution in result]
    return told if len(told) >= least else None
