"""DAGs for ``make crash`` and ``make chaos``: every kind of run that keeps a record; its writes are counted, and may stop it.

Each run has a platform of its own, behind the connections of its ``slot``.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import counted_writes
import stopping
from airflow.sdk import DAG
from mending import mend

from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator
from airflow_bulk.operators.document_import import ImportDocumentsOperator, UploadDocumentsOperator
from airflow_bulk.operators.document_import_task import _ImportRecordsOperator
from airflow_bulk.operators.extract_load import ApplyOperator, ExtractLoadBatchOperator
from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator
from airflow_bulk.operators.resend_lines import ResendLinesOperator

MEDIARITHMICS = "blown_{{ params.slot }}"
PARAMS: dict[str, Any] = {
    **stopping.PARAMS,
    "slot": "0",
    "source": "lines.ndjson",
    "stop": "before 0",
    "import_id": "",
    "instance_id": "",
    "url": "",
    "results": {},
    "files": "",
    "seen_as": "",
}
#: How all wait but the imports, for which it stands in ``stopping.ARGUMENTS``.
WAITING: dict[str, Any] = {"poll_interval": 1.0, "timeout": timedelta(minutes=10), **stopping.RETRIES}
UPLOAD: dict[str, Any] = {
    "source": "{{ params.folder }}/{{ params.source }}",
    "mediarithmics_conn_id": MEDIARITHMICS,
    "poll_interval": 1.0,
    **stopping.ARGUMENTS,
}
ACCOUNTS = {
    "node": "extract",
    "object": "Account",
    "uri": "{{ params.folder }}/accounts.ndjson",
    "records": 4,
    "since": None,
    "updated_since": None,
}
JOBS = [{"type": "extract", "object": "Vendor"}, {"type": "load", "object": "vendors"}]


def records(files: str) -> Iterator[str]:
    """The lines of the run's files.

    :param files: their pattern.
    """
    for path in sorted(Path(files).parent.glob(Path(files).name)):
        content = path.read_bytes()
        yield from (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()


class CountedImport(counted_writes.Counting, ImportDocumentsOperator):
    """An import of files of any kind."""

    template_fields: Sequence[str] = (*ImportDocumentsOperator.template_fields, "mediarithmics_conn_id")


class CountedRecords(counted_writes.Counting, _ImportRecordsOperator):
    """An import of the records that a function yields."""

    template_fields: Sequence[str] = (*_ImportRecordsOperator.template_fields, "mediarithmics_conn_id")


class CountedResend(counted_writes.Counting, ResendLinesOperator):
    """The bad lines of an import once more."""

    template_fields: Sequence[str] = (*ResendLinesOperator.template_fields, "mediarithmics_conn_id")


class CountedUpload(counted_writes.Counting, UploadDocumentsOperator):
    """An upload into an import that was given."""

    template_fields: Sequence[str] = (*UploadDocumentsOperator.template_fields, "mediarithmics_conn_id")


class CountedBatchRun(counted_writes.Counting, RunIntegrationBatchOperator):
    """A run of an integration batch."""

    template_fields: Sequence[str] = (*RunIntegrationBatchOperator.template_fields, "mediarithmics_conn_id")


class CountedCentrapay(counted_writes.Counting, CentrapayBatchOperator):
    """A Centrapay batch."""

    template_fields: Sequence[str] = (*CentrapayBatchOperator.template_fields, "centrapay_conn_id")


class CountedApply(counted_writes.Counting, ApplyOperator):
    """An apply: it has no deferred mode."""

    template_fields: Sequence[str] = (*ApplyOperator.template_fields, "destination")


class CountedDelegated(counted_writes.Counting, ExtractLoadBatchOperator):
    """A batch that the extract/load server runs."""

    template_fields: Sequence[str] = (*ExtractLoadBatchOperator.template_fields, "extract_load_conn_id")


def blown_dag(kind: str, mode: str, operator: Any, **arguments: Any) -> None:
    """Make the DAG of a kind of run."""
    with DAG(f"blown_{kind}_{mode}", schedule=None, params=PARAMS, max_active_runs=50, tags=["test"]) as dag:
        operator(task_id="load", **arguments)
    globals()[dag.dag_id] = dag


for mode in "sync", "deferred":
    deferred = {"deferrable": mode == "deferred"}
    blown_dag(
        "import", mode, CountedImport, document_type="USER_PROFILE", name="{{ run_id }}", **UPLOAD, **deferred
    )
    blown_dag(
        "results",
        mode,
        CountedImport,
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        rejects_path="{{ params.folder }}/bad",
        **UPLOAD,
        **deferred,
    )
    blown_dag(
        "seen",
        mode,
        CountedImport,
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        on_seen="skip",
        seen_as="{{ params.seen_as }}",
        **{**UPLOAD, "source": "{{ params.files }}"},
        **deferred,
    )
    blown_dag(
        "records",
        mode,
        CountedRecords,
        python_callable=records,
        op_args=["{{ params.folder }}/{{ params.source }}"],
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        spool_path="{{ params.folder }}/spool",
        **{name: value for name, value in UPLOAD.items() if name != "source"},
        **deferred,
    )
    blown_dag(
        "resend",
        mode,
        CountedResend,
        results="{{ params.results }}",
        transform=mend,
        only="both",
        rounds=4,
        **{name: value for name, value in UPLOAD.items() if name != "source"},
        **deferred,
    )
    blown_dag(
        "upload",
        mode,
        CountedUpload,
        import_id="{{ params.import_id }}",
        exclusive=True,
        **UPLOAD,
        **deferred,
    )
    blown_dag(
        "batch_run",
        mode,
        CountedBatchRun,
        instance_id="{{ params.instance_id }}",
        mediarithmics_conn_id=MEDIARITHMICS,
        settle="{{ params.settle }}",
        **WAITING,
        **deferred,
    )
    blown_dag(
        "centrapay",
        mode,
        CountedCentrapay,
        type="farmlands-external-asset",
        url="{{ params.url }}",
        # What a person says who was asked whether the file was loaded.
        repeat_lost_post="{{ var.value.get('repeat_' ~ run_id, 'false') }}",
        centrapay_conn_id="blown_centrapay_{{ params.slot }}",
        **WAITING,
        **deferred,
    )
    blown_dag(
        "delegated",
        mode,
        CountedDelegated,
        definition={"jobs": JOBS},
        extract_load_conn_id="blown_server_{{ params.slot }}",
        settle="{{ params.settle }}",
        **WAITING,
        **deferred,
    )
blown_dag(
    "apply",
    "sync",
    CountedApply,
    destination="blown_destination_{{ params.slot }}",
    object_name="accounts",
    staging="{{ params.folder }}/staging",
    extracts=[ACCOUNTS],
    # Each run has a destination of its own, so they may write at once.
    max_active_tis_per_dag=50,
    **stopping.RETRIES,
)
