"""The links to the consoles as Airflow asks for them: at the end of every try, good or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.sdk import DAG
from one_task import write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator
from airflow_bulk.sensors.document_import import DocumentImportSensor
from airflow_bulk.sensors.integration_batch import IntegrationBatchSensor
from inline_dag import pulled, states


def test_a_task_that_failed_before_anything_existed_has_no_link_and_logs_no_error(
    run_dag: Callable[..., Any], bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    with DAG("no_links", schedule=None) as dag:
        ImportDocumentsOperator(
            task_id="an_import", document_type="USER_PROFILE", name="n", source="/nowhere"
        )
        ImportDocumentsOperator.partial(task_id="mapped", document_type="USER_PROFILE", name="n").expand(
            source=["/nowhere/1", "/nowhere/2"]
        )
        RunIntegrationBatchOperator(task_id="a_run", instance_id="seven")
        DocumentImportSensor(task_id="a_wait", import_id="")
        IntegrationBatchSensor(task_id="a_batch_wait", instance_id="seven")
    with structlog.testing.capture_logs() as logs:
        run = run_dag(dag)
    assert set(states(run).values()) == {"failed"}
    about_links = [one for one in logs if "xcom" in str(one.get("event")).lower()]
    assert [one for one in about_links if one["log_level"] in ("warning", "error", "critical")] == []
    assert not pulled(run, "an_import", key="console_url")


def test_a_task_that_has_its_link_keeps_it(
    run_dag: Callable[..., Any], bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    sources = []
    for number in (1, 2):
        write_profiles(tmp_path / f"{number}.ndjson", number)
        sources.append(str(tmp_path / f"{number}.ndjson"))
    given: dict[str, Any] = {"document_type": "USER_PROFILE", "name": "n", "poll_interval": 0.1}
    with DAG("links", schedule=None) as dag:
        ImportDocumentsOperator(task_id="one", source=sources, **given)
        ImportDocumentsOperator.partial(task_id="mapped", **given).expand(source=sources)
    run = run_dag(dag)
    for task_id, index in (("one", -1), ("mapped", 0), ("mapped", 1)):
        result = pulled(run, task_id, map_index=index)
        link = pulled(run, task_id, key="console_url", map_index=index)
        assert link == result["console_url"] and link.endswith(f"/imports/{result['import_id']}")
