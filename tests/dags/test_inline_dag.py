"""The harness itself: what other tests build on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from inline_dag import pulled, states


def test_runs_tasks_and_keeps_their_results(run_dag: Callable[..., Any]) -> None:
    with DAG("inline_two_tasks", schedule=None) as dag:

        @task
        def first() -> int:
            return 20

        @task
        def second(number: int) -> int:
            return number + 1

        second(first())

    run = run_dag(dag)
    assert states(run) == {("first", -1): "success", ("second", -1): "success"}
    assert pulled(run, "second") == 21
    assert pulled(run, "second", key="nothing") is None


def test_a_failing_task_shows_and_its_state_survives_the_retry(run_dag: Callable[..., Any]) -> None:
    with DAG("inline_retry", schedule=None) as dag:

        @task(retries=1, retry_delay=timedelta(0))
        def stubborn(task_state_store: Any = None) -> int:
            if task_state_store.get("tried") is None:
                task_state_store.set("tried", 1)
                raise RuntimeError("the first try fails")
            return 2

        @task
        def hopeless() -> None:
            raise RuntimeError("fails")

        stubborn()
        hopeless()

    run = run_dag(dag)
    assert states(run) == {("stubborn", -1): "success", ("hopeless", -1): "failed"}
    assert pulled(run, "stubborn") == 2
