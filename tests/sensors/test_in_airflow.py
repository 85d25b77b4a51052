"""The sensor in a real Airflow: rendered, rescheduled, deferred, skipped, its result and its link in the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.sensors.document_import import DocumentImportSensor
from inline_dag import pulled, states

HOW: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


def test_all_modes(run_dag: Callable[..., Any], emulator: Emulator) -> None:
    imports = {name: FedImport(emulator) for name in HOW}
    with DAG("sensor_modes", schedule=None, params={name: one.id for name, one in imports.items()}) as dag:
        for name, how in HOW.items():
            DocumentImportSensor(
                task_id=name,
                import_id="{{ params[task.task_id] }}",
                max_failures="50%",
                poke_interval=0.2,
                timeout=300,
                **how,
            )
    for one in imports.values():
        # Not before the sensor has looked and found that it has to wait.
        one.end_after(2, one.upload(1, bad=1))
    run = run_dag(dag)
    for one in imports.values():
        one.close()
    assert states(run) == {(name, -1): "success" for name in HOW}
    for name, one in imports.items():
        assert one.looks() > 2
        assert pulled(run, name)["lines_failed"] == 1
        assert one.id in pulled(run, name, key="console_url")


def test_soft_fail_and_a_retry(run_dag: Callable[..., Any], fed: FedImport) -> None:
    with DAG("sensor_ends", schedule=None) as dag:
        for name, how in HOW.items():
            DocumentImportSensor(
                task_id=f"late_{name}", import_id=fed.id, poke_interval=0.2, timeout=1, soft_fail=True, **how
            )
        DocumentImportSensor(
            task_id="late_hard", import_id=fed.id, poke_interval=0.2, timeout=1, retries=3, deferrable=True
        )
        failed = fed.upload()
        DocumentImportSensor(
            task_id="retried",
            import_id=fed.id,
            execution_ids=[failed],
            poke_interval=0.2,
            retries=1,
            retry_delay=timedelta(0),
            max_failures="{{ '100%' if ti.try_number > 1 else 'nonsense' }}",
        )
        DocumentImportSensor.partial(
            task_id="mapped", import_id=fed.id, poke_interval=0.2, max_failures=0, deferrable=True
        ).expand(execution_ids=[[failed], failed])
    fed.upload()
    fed.end(failed)
    run = run_dag(dag)
    assert states(run) == {
        ("late_poke", -1): "skipped",
        ("late_reschedule", -1): "skipped",
        ("late_deferrable", -1): "skipped",
        ("late_hard", -1): "failed",
        ("retried", -1): "failed",
        ("mapped", 0): "success",
        ("mapped", 1): "success",
    }
    tries = {ti.task_id: ti.try_number for ti in run.get_task_instances()}
    # Airflow does not retry a sensor that timed out, nor what no retry can help.
    assert (tries["late_hard"], tries["retried"]) == (1, 1)
