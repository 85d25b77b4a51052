"""On demand: delete people's identifiers, after a person has approved."""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param

from airflow_bulk.operators.document_import import ImportDocumentsOperator

KIND = "USER_IDENTIFIERS_DELETION"
#: Neither of them can come from a form: they are no template fields.
GUARDS = {"allow_deletion": KIND, "max_deletions": 5_000}
#: The question that the person sees.
QUESTION = "Delete {{ ti.xcom_pull('count')['lines_read'] }} identifiers?"

with DAG(
    "gdpr_deletion",
    schedule=None,
    catchup=False,
    params={
        "source": Param(
            "s3://aws_crm@privacy/requests.ndjson",
            type="string",
            minLength=1,
            title="Lines to send",
        )
    },
) as dag:
    count = ImportDocumentsOperator(
        task_id="count",
        document_type=KIND,
        name="Deletion, {{ run_id }}",
        source="{{ params.source }}",
        dry_run=True,
        **GUARDS,
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=QUESTION,
        body="{{ params.source }}: what is deleted cannot be brought back.",
        # Nobody answers for two days: that is a no.
        defaults="Reject",
        response_timeout=timedelta(days=2),
    )
    delete = ImportDocumentsOperator(
        task_id="delete",
        document_type=KIND,
        name="Deletion, {{ run_id }}",
        source="{{ params.source }}",
        max_failures=0,
        on_clear="keep",
        deferrable=True,
        **GUARDS,
    )
    count >> approve >> delete
