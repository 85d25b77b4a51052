"""What the events of a task's outlets tell, in DAGs that run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias
from one_task import write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator
from inline_dag import asset_events, pulled, run_again, states


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator


def importing(source: Any, **more: Any) -> dict[str, Any]:
    return {"task_id": "load", "document_type": "USER_PROFILE", "name": "told", "poll_interval": 0.2, **more}


def test_each_mapped_instance_tells_its_own(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    for number in range(2):
        write_profiles(tmp_path / f"{number}.ndjson", 5 + number)
    with DAG("told_mapped", schedule=None) as dag:
        ImportDocumentsOperator.partial(**importing(None), outlets=[Asset("told_mapped")]).expand(
            source=[str(tmp_path / f"{number}.ndjson") for number in range(2)]
        )
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", index): "success" for index in range(2)}
    told = sorted((one["index"], one["lines_accepted"], one["import_id"]) for one in asset_events(run))
    assert told == [
        (index, 5 + index, pulled(run, "load", map_index=index)["import_id"]) for index in range(2)
    ]


def test_a_recorded_end_is_told_again(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 8)
    with DAG("told_kept", schedule=None) as dag:
        ImportDocumentsOperator(
            **importing(None, on_clear="keep"),
            source=str(tmp_path / "a.ndjson"),
            outlets=[Asset("told_kept")],
        )
    run = run_dag(dag, logical_date=None)
    run_again(dag, run)
    first, second = asset_events(run)
    assert first == second and first["lines_accepted"] == 8
    assert len(emulator.imports()) == 1


def test_nothing_is_told_of_a_bad_end(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 8, bad=(2,))
    with DAG("told_bad", schedule=None) as dag:
        ImportDocumentsOperator(
            **importing(None),
            source=str(tmp_path / "a.ndjson"),
            outlets=[Asset("told_bad"), AssetAlias("told_bad")],
        )
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", -1): "failed"} and asset_events(run) == []


def test_an_alias_becomes_what_was_written_to(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 3)
    with DAG("told_alias", schedule=None) as dag:
        for task_id, dry in (("load", False), ("dry", True)):
            ImportDocumentsOperator(
                **importing(None) | {"task_id": task_id},
                source=str(tmp_path / "a.ndjson"),
                dry_run=dry,
                outlets=[AssetAlias("told_alias")],
            )
    run = run_dag(dag, logical_date=None)
    assert set(states(run).values()) == {"success"}
    (one,) = asset_events(run)
    assert one["asset"] == f"mediarithmics://{emulator.datamart_id}/USER_PROFILE"
    assert (one["import_id"], one["lines_accepted"]) == (pulled(run, "load")["import_id"], 3)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_batch_run_tells_its_tasks(run_dag: Any, emulator: Emulator, deferrable: bool) -> None:
    instance = IntegrationBatchEmulator(emulator).add()
    emulator.settings(start_delay=0.5, run_seconds=0.5)
    with DAG(f"told_batch_{deferrable}", schedule=None) as dag:
        RunIntegrationBatchOperator(
            task_id="load",
            instance_id=instance,
            poll_interval=0.3,
            deferrable=deferrable,
            outlets=[Asset("scores")],
        )
    run = run_dag(dag, logical_date=None)
    (one,) = asset_events(run)
    result = pulled(run, "load")
    for name in ("instance_id", "execution_id", "status", "tasks", "tasks_failed", "console_url"):
        assert one[name] == result[name], name
