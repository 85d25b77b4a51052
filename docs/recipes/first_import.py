from airflow.sdk import DAG

from airflow_bulk.operators.document_import import ImportDocumentsOperator

with DAG("first_import", schedule=None):
    ImportDocumentsOperator(
        task_id="load_profiles",
        document_type="USER_PROFILE",
        name="My first import",
        source="~/profiles.ndjson",
        deferrable=True,
    )
