"""DAGs for the crash tests: the product's operators, over a store that can stop the task at one exact write."""

from __future__ import annotations

from typing import Any, ClassVar

import stopping
from airflow.sdk import DAG, task

from airflow_bulk.operators.document_import import (
    CreateDocumentImportOperator,
    ImportDocumentsOperator,
    UploadDocumentsOperator,
)
from airflow_bulk.operators.spread_import import ImportSpreadOperator, SpreadImportTaskGroup


class StoppingImport(stopping.Stopping, ImportDocumentsOperator):
    """The nightly import."""


class OrphanImport(StoppingImport):
    """The nightly import, whose process outlives its supervisor."""

    ends_with_supervisor: ClassVar[bool] = False


class StoppingUpload(stopping.Stopping, UploadDocumentsOperator):
    """An upload into an import given from outside."""


class StoppingSpread(stopping.Stopping, ImportSpreadOperator):
    """One group of a spread import."""


class StoppingSpreadGroup(SpreadImportTaskGroup):
    """A spread import."""

    importer = StoppingSpread


PARAMS: dict[str, Any] = {**stopping.PARAMS, "datamart_id": ""}
SHARED: dict[str, Any] = {"datamart_id": "{{ params.datamart_id }}", **stopping.ARGUMENTS}


def import_dag(dag_id: str, operator: type[StoppingImport], conn_id: str, deferrable: bool = False) -> DAG:
    """One import of ``lines.ndjson`` in the run's folder."""
    with DAG(dag_id, schedule=None, params=PARAMS, max_active_runs=50, tags=["test"]) as dag:
        operator(
            task_id="load",
            document_type="USER_PROFILE",
            name="{{ run_id }}",
            source="{{ params.folder }}/lines.ndjson",
            rejects_path="{{ params.folder }}/rejects",
            mediarithmics_conn_id=conn_id,
            deferrable=deferrable,
            **SHARED,
        )
    return dag


# What "crash_quick" imports is over at once; what "crash_waiting" imports stays PENDING until a test says so.
quick = import_dag("crash_quick", StoppingImport, "crash_quick")
orphan = import_dag("crash_orphan", OrphanImport, "crash_quick")
waiting = import_dag("crash_waiting", StoppingImport, "crash_waiting")
deferred = import_dag("crash_deferred", StoppingImport, "crash_waiting", deferrable=True)

with DAG(
    "crash_mapped",
    schedule=None,
    params=PARAMS,
    max_active_runs=50,
    tags=["test"],
) as mapped:
    created = CreateDocumentImportOperator(
        task_id="create",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        datamart_id="{{ params.datamart_id }}",
        mediarithmics_conn_id="crash_quick",
        **stopping.RETRIES,
    )
    StoppingUpload.partial(
        task_id="upload",
        import_id=created.output,
        mediarithmics_conn_id="crash_quick",
        **SHARED,
    ).expand(source=["{{ params.folder }}/lines.0.ndjson", "{{ params.folder }}/lines.1.ndjson"])

with DAG(
    "crash_mapped_deferred", schedule=None, params=PARAMS, max_active_runs=50, tags=["test"]
) as mapped_deferred:
    StoppingImport.partial(
        task_id="load",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        mediarithmics_conn_id="crash_waiting",
        deferrable=True,
        **SHARED,
    ).expand(source=["{{ params.folder }}/lines.0.ndjson", "{{ params.folder }}/lines.1.ndjson"])

with DAG("crash_mapped_sources", schedule=None, params=PARAMS, max_active_runs=50, tags=["test"]) as sources:

    @task
    def list_sources(params: dict[str, Any]) -> list[str]:
        """What the import is mapped over."""
        return [f"{params['folder']}/lines.{number}.ndjson" for number in (0, 1)]

    StoppingImport.partial(
        task_id="load",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        mediarithmics_conn_id="crash_quick",
        **SHARED | {"retries": 0},
    ).expand(source=list_sources())


def spread_dag(dag_id: str, conn_id: str, deferrable: bool = False) -> DAG:
    """``lines.ndjson`` in the run's folder, spread over three tasks."""
    with DAG(dag_id, schedule=None, params=PARAMS, max_active_runs=50, tags=["test"]) as dag:
        StoppingSpreadGroup(
            "load",
            spread=3,
            document_type="USER_PROFILE",
            name="{{ run_id }}",
            source="{{ params.folder }}/lines.ndjson",
            rejects_path="{{ params.folder }}/rejects",
            mediarithmics_conn_id=conn_id,
            poll_interval=1.0,
            deferrable=deferrable,
            **SHARED,
        )
    return dag


spread = spread_dag("crash_spread", "crash_quick")
spread_deferred = spread_dag("crash_spread_deferred", "crash_waiting", deferrable=True)
