from airflow.sdk import DAG

from airflow_bulk.operators.document_import import ImportDocumentsOperator

with DAG("profiles", schedule="0 3 * * *"):
    ImportDocumentsOperator(
        task_id="load_profiles",
        document_type="USER_PROFILE",
        name="User profiles, {{ dag_run.run_after | ds }}",
        source="s3://aws_crm@crm/export/*.ndjson.gz",
        max_failures="0.1%",
        deferrable=True,
    )
