"""Every night: all packed files of a day's folder in S3."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_bulk.operators.document_import import (
    CancelDocumentImportExecutionsOperator,
    ImportDocumentsOperator,
    SendingOptions,
)
from airflow_bulk.retrying import BulkRetryPolicy

DAY = "{{ dag_run.run_after | ds }}"

with DAG(
    "profiles_nightly",
    schedule="0 3 * * *",
    catchup=False,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_policy": BulkRetryPolicy(),
    },
) as dag:
    load = ImportDocumentsOperator(
        task_id="load_profiles",
        document_type="USER_PROFILE",
        name=f"User profiles, {DAY}",
        source=f"s3://aws_crm@crm/export/{DAY}/*.ndjson.gz",
        max_failures="0.1%",
        rejects_path="s3://aws_crm@crm/rejects/{{ run_id }}/",
        on_empty="fail",
        timeout=timedelta(hours=6),
        deferrable=True,
        # A folder on the worker's disk: the files are fetched once,
        # and two processes check and send them.
        sending=SendingOptions(spool_dir="/var/tmp", workers=2),
    )
    cancel = CancelDocumentImportExecutionsOperator(
        task_id="cancel_what_is_left",
        import_id="{{ ti.xcom_pull('load_profiles', key='import_id') or '' }}",
    )
    load >> cancel.as_teardown(setups=load)
