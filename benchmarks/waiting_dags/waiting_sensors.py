"""DAGs for ``benchmarks/triggerer.py``: many deferred sensors, each of which waits for one execution; and as many of Airflow's own."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, task

from airflow_bulk.sensors.document_import import DocumentImportSensor


@task
def read_executions(path: str) -> list[dict[str, Any]]:
    """The arguments of each sensor, from a file that the benchmark wrote."""
    return list(json.loads(Path(path).read_text(encoding="utf-8")))


with DAG(
    "sensors",
    schedule=None,
    params={"executions": ""},
    max_active_tasks=2000,
    default_args={"retries": 0},
):
    DocumentImportSensor.partial(
        task_id="wait",
        poke_interval=10,
        timeout=timedelta(hours=3),
        deferrable=True,
    ).expand_kwargs(read_executions("{{ params.executions }}"))


@task
def repeat_time(count: str, time: str) -> list[str]:
    """The same time for each of the sensors that everything is compared with."""
    return [time] * int(count)


with DAG(
    "control",
    schedule=None,
    params={"count": "0", "time": ""},
    max_active_tasks=2000,
    default_args={"retries": 0},
):
    DateTimeSensorAsync.partial(task_id="wait").expand(
        target_time=repeat_time("{{ params.count }}", "{{ params.time }}")
    )
