"""The DAG under test: its source is a parameter, so that a test can give it a small file."""

from airflow.sdk import DAG, Param

from airflow_bulk.operators.document_import import ImportDocumentsOperator

with DAG(
    "profiles",
    schedule="0 3 * * *",
    catchup=False,
    params={"source": Param("s3://aws_crm@crm/export/*.ndjson.gz", type="string")},
) as dag:
    ImportDocumentsOperator(
        task_id="load_profiles",
        document_type="USER_PROFILE",
        name="User profiles, {{ run_id }}",
        source="{{ params.source }}",
        max_failures="5%",
        poll_interval=0.5,
        deferrable=True,
    )
