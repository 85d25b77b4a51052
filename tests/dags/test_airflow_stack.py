"""The whole-Airflow harness: what the demo and the crash tests stand on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from airflow_api import AirflowApiError

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID = "stack_probe"


@pytest.fixture
def api(airflow_stack: AirflowStack):
    airflow_stack.api.wait_for_dag(DAG_ID)
    airflow_stack.api.unpause(DAG_ID)
    return airflow_stack.api


def test_a_run_from_trigger_to_end(api) -> None:
    run_id = api.trigger(DAG_ID)
    assert api.wait_for_run(DAG_ID, run_id) == "success"
    assert api.run(DAG_ID, run_id)["logical_date"] is None
    assert api.states(DAG_ID, run_id) == {("remember", -1): "success", ("wait", -1): "success"}
    assert api.xcom(DAG_ID, run_id, "remember") == {"tries": 1}
    assert api.xcom(DAG_ID, run_id, "remember", "nothing") is None
    assert api.task_state(DAG_ID, run_id, "remember") == {"tries": [1]}
    assert "the probe naps" in api.log(DAG_ID, run_id, "remember")


def test_a_killed_task_is_tried_again_and_a_clear_is_a_third_try(api, airflow_stack: AirflowStack) -> None:
    run_id = api.trigger(DAG_ID, conf={"nap": 300})
    processes = airflow_stack.task_processes(DAG_ID, run_id, "remember")
    assert psutil.Process(processes.child).ppid() == processes.supervisor
    api.wait_for("the task to write", lambda: api.task_state(DAG_ID, run_id, "remember") or None, 60)
    os.kill(processes.child, signal.SIGKILL)
    assert api.wait_for_run(DAG_ID, run_id) == "success"
    assert api.task_state(DAG_ID, run_id, "remember") == {"tries": [1, 2]}

    api.clear(DAG_ID, run_id, "remember")
    api.wait_for_task(DAG_ID, run_id, "remember", {"success"}, try_number=3)
    # From 3.4 on a clear deletes the state (airflow.md section 9.1).
    kept = [] if api.call("GET", "/version")["version"].startswith("3.4") else [1, 2]
    assert api.task_state(DAG_ID, run_id, "remember") == {"tries": [*kept, 3]}
    assert api.wait_for_run(DAG_ID, run_id) == "success"


def test_a_task_marked_failed_ends(api, airflow_stack: AirflowStack) -> None:
    run_id = api.trigger(DAG_ID, conf={"nap": 300})
    child = airflow_stack.task_processes(DAG_ID, run_id, "remember").child
    api.set_task_state(DAG_ID, run_id, "remember", "failed")
    assert api.wait_for_run(DAG_ID, run_id) == "failed"
    api.wait_for("the process to end", lambda: not psutil.pid_exists(child) or None, 30)


def test_a_component_can_be_killed_and_comes_back(api, airflow_stack: AirflowStack) -> None:
    before = airflow_stack.kill("triggerer")
    run_id = api.trigger(DAG_ID)
    api.wait_for_task(DAG_ID, run_id, "wait", {"deferred"})
    assert airflow_stack.start_component("triggerer") != before
    assert api.wait_for_run(DAG_ID, run_id) == "success"


def test_waiting_in_vain_says_what_stands(api) -> None:
    run_id = api.trigger(DAG_ID, conf={"nap": 300})
    with pytest.raises(AirflowApiError, match="remember"):
        api.wait_for_run(DAG_ID, run_id, timeout=0.5)
    api.set_run_state(DAG_ID, run_id, "failed")


def test_it_stops_all_it_started(airflow_stack: AirflowStack) -> None:
    assert len(list(airflow_stack.own_processes())) >= 4
    assert os.getpid() not in {process.pid for process in airflow_stack.own_processes()}
