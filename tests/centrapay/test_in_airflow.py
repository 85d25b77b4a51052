"""Operator and sensor inside DAGs that a real Airflow runs: on a worker, deferred, mapped, rescheduled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, AssetAlias, task
from loading import accounts, loads, posts

from airflow_bulk.emulator.centrapay_handle import ACCOUNT
from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator
from airflow_bulk.sensors.centrapay_batch import CentrapayBatchSensor
from inline_dag import asset_events, pulled, states

TYPE = "farmlands-external-asset"


@pytest.fixture(autouse=True)
def _early_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")


@pytest.mark.parametrize("deferrable", [pytest.param(False, marks=pytest.mark.slow), True])
def test_created_here_and_watched_there(run_dag: Any, centrapay: Any, s3: Any, deferrable: bool) -> None:
    s3.put("in/accounts.jsonl", accounts(1000, bad=(5,)).encode())
    centrapay.settings(step_seconds=0.3)
    with DAG(f"centrapay_{deferrable}", schedule=None) as dag:
        load = CentrapayBatchOperator(
            task_id="load",
            type=TYPE,
            file="s3://aws_partner@crm/in/accounts.jsonl",
            url_expires_in=timedelta(hours=1),
            max_failures="0.5%",
            errors_path="s3://aws_partner@crm/errors/{{ run_id }}/",
            poll_interval=0.1,
            deferrable=deferrable,
            outlets=[AssetAlias("accounts")],
        )
        watch = CentrapayBatchSensor(
            task_id="watch",
            batch_id="{{ ti.xcom_pull(task_ids='load', key='batch_id') }}",
            max_failures=1,
            deferrable=deferrable,
        )
        load >> watch
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", -1): "success", ("watch", -1): "success"}
    result = pulled(run, "load")
    assert (result["lines_read"], result["lines_accepted"], result["lines_failed"]) == (1000, 999, 1)
    assert result["errors_uri"].endswith(".results.ndjson")
    assert pulled(run, "watch")["batch_id"] == result["batch_id"] == pulled(run, "load", "batch_id")
    assert posts(centrapay) == 1 and loads(centrapay) == {1}
    (told,) = asset_events(run)
    assert told["asset"] == f"centrapay://{ACCOUNT}/{TYPE}"
    for name in ("batch_id", "lines_read", "lines_accepted", "lines_failed", "errors_uri"):
        assert told[name] == result[name], name


def test_mapped_over_files_and_urls(run_dag: Any, centrapay: Any, s3: Any, files: Any) -> None:
    for number in range(3):
        s3.put(f"mapped/{number}.jsonl", accounts(number + 1).encode())
    with DAG("centrapay_mapped", schedule=None) as dag:
        CentrapayBatchOperator.partial(task_id="files", type=TYPE).expand(
            file=[f"s3://aws_partner@crm/mapped/{number}.jsonl" for number in range(3)]
        )
        CentrapayBatchOperator.partial(task_id="urls", type=TYPE).expand(
            url=[files.put(f"/{number}.jsonl", accounts(2)) for number in range(2)]
        )
    run = run_dag(dag, logical_date=None)
    assert set(states(run).values()) == {"success"} and len(states(run)) == 5
    assert [pulled(run, "files", map_index=n)["lines_read"] for n in range(3)] == [1, 2, 3]
    assert posts(centrapay) == 5


def test_a_url_that_another_task_makes(run_dag: Any, centrapay: Any, files: Any) -> None:
    """The url is no template field, and its task comes first all the same."""
    url = files.put("/made.jsonl", accounts(3))
    with DAG("centrapay_made_url", schedule=None) as dag:

        @task
        def make_url() -> str:
            return url

        load = CentrapayBatchOperator(task_id="load", type=TYPE, url=make_url())
    assert load.upstream_task_ids == {"make_url"}
    run = run_dag(dag, logical_date=None)
    assert set(states(run).values()) == {"success"}
    assert pulled(run, "load")["lines_accepted"] == 3


def test_a_retry_after_a_lost_answer_posts_nothing(run_dag: Any, centrapay: Any, files: Any) -> None:
    centrapay.emulator.fault("lost_answer", path="^/api/batches$", method="POST", times=1)
    with DAG("centrapay_lost", schedule=None) as dag:
        CentrapayBatchOperator(
            task_id="load",
            type=TYPE,
            url=files.put("/a.jsonl", accounts(2)),
            retries=2,
            retry_delay=timedelta(0),
        )
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", -1): "failed"}
    assert posts(centrapay) == 1 and loads(centrapay) == {1}


def test_a_retry_goes_on_with_the_recorded_batch(run_dag: Any, centrapay: Any, files: Any) -> None:
    centrapay.emulator.fault("unauthorized", path="^/api/", method="GET", times=1)
    with DAG("centrapay_retry", schedule=None) as dag:
        CentrapayBatchOperator(
            task_id="load",
            type=TYPE,
            url=files.put("/a.jsonl", accounts(2)),
            retries=1,
            retry_delay=timedelta(0),
        )
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", -1): "success"}
    assert posts(centrapay) == 1 and loads(centrapay) == {1}
