"""Killed on a whole Airflow: in the middle of the POST, and while it waits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from loading import accounts, loads, posts

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.handle import Emulator

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

WORKER, DEFERRED = "centrapay_crash_worker", "centrapay_crash_deferred"


@pytest.fixture
def stack(airflow_stack: AirflowStack) -> Iterator[tuple[AirflowStack, CentrapayEmulator]]:
    with Emulator.start() as running:
        centrapay = CentrapayEmulator(running)
        airflow_stack.api.add_connection("centrapay_crash", centrapay.connection_json(account_id=ACCOUNT))
        yield airflow_stack, centrapay


def begin(airflow: AirflowStack, dag_id: str, url: str) -> str:
    airflow.api.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    return airflow.api.trigger(dag_id, conf={"url": url})


def test_killed_in_the_middle_of_the_post(stack: Any, files: Any) -> None:
    """The batch stands, its id never came back: no try posts again, and the message says what can tell."""
    airflow, centrapay = stack
    api = airflow.api
    centrapay.emulator.fault("slow", path="^/api/batches$", method="POST", answer_delay=600)
    run_id = begin(airflow, WORKER, files.put("/a.jsonl", accounts(3)) + "?sig=canary-signature-0005")
    processes = airflow.task_processes(WORKER, run_id, "load")
    api.wait_for("the batch", lambda: centrapay.batches() or None, 60)
    os.kill(processes.child, signal.SIGKILL)
    assert api.wait_for_run(WORKER, run_id, 180) == "failed"
    assert posts(centrapay) == 1 and loads(centrapay) == {1}
    tries = api.task(WORKER, run_id, "load")["try_number"]
    assert tries > 1
    log = api.log(WORKER, run_id, "load", try_number=tries)
    assert "a batch may exist" in log
    assert "get_asset_by_external_id('farmlands.nzd.main', externalId)" in log
    assert "canary" not in log


@pytest.mark.parametrize("dag_id", [pytest.param(WORKER, marks=pytest.mark.slow), DEFERRED])
def test_killed_while_it_waits(stack: Any, files: Any, dag_id: str) -> None:
    """The next try goes on with the recorded batch, whoever was killed."""
    airflow, centrapay = stack
    api = airflow.api
    centrapay.settings(step_seconds=100_000)
    run_id = begin(airflow, dag_id, files.put("/a.jsonl", accounts(3)))
    if dag_id == WORKER:
        processes = airflow.task_processes(dag_id, run_id, "load")
        api.wait_for("the id", lambda: api.xcom(dag_id, run_id, "load", "batch_id"), 60)
        os.kill(processes.child, signal.SIGKILL)
    else:
        api.wait_for(
            "the deferral",
            lambda: True if api.task(dag_id, run_id, "load")["state"] == "deferred" else None,
            60,
        )
        airflow.restart("triggerer")
    centrapay.settings(step_seconds=0)
    assert api.wait_for_run(dag_id, run_id, 180) == "success", api.log(dag_id, run_id, "load")
    assert api.xcom(dag_id, run_id, "load")["lines_accepted"] == 3
    assert posts(centrapay) == 1 and loads(centrapay) == {1}
