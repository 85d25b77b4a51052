"""DAGs for the clears of what is no plain import: uploads, imports of records, batch runs, Centrapay batches, applies, delegated ones.

No task is retried: each try but the first is a clear. What a person changes before a clear is an Airflow variable.
"""

from __future__ import annotations

from typing import Any

import stopping
from airflow.sdk import DAG

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator
from airflow_bulk.operators.document_import import CreateDocumentImportOperator, UploadDocumentsOperator
from airflow_bulk.operators.extract_load import (
    ApplyDocumentsOperator,
    ApplyOperator,
    ExtractLoadBatchOperator,
    ExtractOperator,
)
from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator


def chosen(name: str, default: str) -> str:
    """A template: what a person has chosen for this run, or the default."""
    return "{{ var.value.get(run_id ~ '-" + name + "', '" + default + "') }}"


def dag(kind: str, **params: Any) -> DAG:
    """A DAG whose task ``load`` is of this kind."""
    return DAG(
        f"cleared_{kind}",
        schedule=None,
        params={**stopping.PARAMS, **params},
        default_args={"retries": 0},
        max_active_runs=50,
        tags=["test"],
    )


class StoppingUpload(stopping.Stopping, UploadDocumentsOperator):
    """An upload into an import given from outside."""


class StoppingBatchRun(stopping.Stopping, RunIntegrationBatchOperator):
    """A run of a batch instance."""


class StoppingCentrapay(stopping.Stopping, CentrapayBatchOperator):
    """A Centrapay batch."""


class StoppingDelegated(stopping.Stopping, ExtractLoadBatchOperator):
    """A batch that the extract/load server runs."""


class StoppingDocuments(stopping.Stopping, ApplyDocumentsOperator):
    """An import of extracted records."""


def as_document(record: dict[str, Any]) -> dict[str, Any]:
    """A record as the line of a document import."""
    profile = {"name": record["Name"]}
    return {
        "operation": "UPSERT",
        "compartment_id": "4100",
        "user_account_id": record["Id"],
        "user_profile": profile,
    }


with dag("upload", datamart_id=""):
    made = CreateDocumentImportOperator(
        task_id="create",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        datamart_id="{{ params.datamart_id }}",
        mediarithmics_conn_id="crash_quick",
    )
    StoppingUpload(
        task_id="load",
        import_id=made.output,
        source="{{ params.folder }}/lines.ndjson",
        datamart_id="{{ params.datamart_id }}",
        mediarithmics_conn_id="crash_quick",
        on_clear=chosen("on_clear", "import_again"),
        **{**stopping.ARGUMENTS, "retries": 0, "max_failures": chosen("max_failures", "0")},
    )

for deferrable in (False, True):
    with dag("deferred_run" if deferrable else "run", instance=""):
        StoppingBatchRun(
            task_id="load",
            instance_id="{{ params.instance }}",
            on_clear=chosen("on_clear", "run_again"),
            max_failures=chosen("max_failures", "0"),
            settle=1.0,
            poll_interval=1.0,
            deferrable=deferrable,
            mediarithmics_conn_id="crash_waiting",
        )

with dag("centrapay", url="", account=""):
    StoppingCentrapay(
        task_id="load",
        type="farmlands-external-asset",
        url="{{ params.url }}",
        account_id="{{ params.account }}",
        on_clear=chosen("on_clear", "import_again"),
        max_failures=chosen("max_failures", "0"),
        repeat_lost_post=chosen("repeat_lost_post", "false"),
        poll_interval=0.5,
        centrapay_conn_id="cleared_centrapay",
    )

for deferrable in (False, True):
    with dag("deferred_delegated" if deferrable else "delegated", tenant="", extract="", load=""):
        StoppingDelegated(
            task_id="load",
            definition={
                "tenant_id": "{{ params.tenant }}",
                "jobs": [
                    {"type": "extract", "object": "{{ params.extract }}"},
                    {"type": "load", "object": "{{ params.load }}"},
                ],
            },
            on_clear=chosen("on_clear", "run_again"),
            check=False,
            settle=1.0,
            poll_interval=0.5,
            deferrable=deferrable,
            extract_load_conn_id="cleared_waiting_server" if deferrable else "cleared_server",
        )

with dag("apply"):
    extract = ExtractOperator(
        task_id="extract", source="cleared_source", object_name="Item", staging="{{ params.folder }}"
    )
    ApplyOperator(
        task_id="load",
        destination="cleared_destination",
        object_name="products",
        extracts=[extract.output],
        staging="{{ params.folder }}",
    )

with dag("documents", datamart_id=""):
    accounts = ExtractOperator(
        task_id="extract",
        source="cleared_source",
        object_name="Account",
        staging="{{ params.folder }}",
    )
    StoppingDocuments(
        task_id="load",
        object_name="accounts",
        mapping=LoadMapping(feeds="Account", fields=as_document),
        extracts=[accounts.output],
        staging="{{ params.folder }}",
        document_type="USER_PROFILE",
        datamart_id="{{ params.datamart_id }}",
        mediarithmics_conn_id="crash_quick",
        on_clear=chosen("on_clear", "import_again"),
        **{**stopping.ARGUMENTS, "retries": 0},
    )
