"""Delete people's identifiers, after a person has approved: what was approved is sent, or nothing.

**What runs.** `check` reads every line of the source and sends nothing. `approve` shows a person how many lines would be
sent, the fingerprint of them, and a sample of hashes, and waits for an answer without a worker and without the triggerer.
After a yes `delete` reads the source again, and sends it only if its fingerprint is still the approved one. After a no, or no
answer within two days, `delete` is skipped: not even an import is created.

**Comparing the sample.** Who has the list computes the same hashes, and nobody else sees an identifier. Of line 11:

    sed -n 11p requests.ndjson | tr -d '\\r\\n' | sha256sum | cut -c 1-12

**Clearing.** A question is asked once a run. For another answer, or after the source has changed, trigger a new run. Clear
`delete` after a success, and it sends nothing.

Needs the connection `mediarithmics_default`, and `aws_crm` for the default source.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.operators.document_import import ImportDocumentsOperator

KIND = "USER_IDENTIFIERS_DELETION"
#: The guards cannot come from a form: they are no template fields.
SAME = {
    "document_type": KIND,
    "name": "Deletion, {{ run_id }}",
    "source": "{{ params.source }}",
    "allow_deletion": KIND,
    "max_deletions": 5_000,
}
#: What the person sees; `found` is the result of the dry run.
QUESTION = """{% set found = ti.xcom_pull('check') %}
`{{ params.source }}`: what is deleted cannot be brought back.

| lines to send | in parts | fingerprint |
| --- | --- | --- |
| {{ found['lines_read'] - found['lines_rejected'] }} | {{ found['parts'] }} | `{{ found['fingerprint'] }}` |

| line | SHA-256, first 12 digits |
| --- | --- |
{% for one in found['sample'] %}| {{ one['number'] }} | `{{ one['sha256'] }}` |
{% endfor %}"""


class ApproveFingerprint(ApprovalOperator):
    """Remembers which fingerprint was asked for, and says it again only after a yes.

    `check` may be cleared alone while the question is open, and then finds something else than the person sees. And who marks
    this task as a success has not answered: then there is no approved fingerprint, and nothing is sent.
    """

    template_fields = (*ApprovalOperator.template_fields, "fingerprint")

    def __init__(self, *, fingerprint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fingerprint = fingerprint

    def execute(self, context: Any) -> Any:
        """Ask, once a run."""
        if context["ti"].try_number > 1:
            # Airflow 3.3 shows the former question then, with the former numbers (airflow.md section 13.1).
            raise AirflowFailException("This was asked before. Trigger a new DAG run: it asks anew.")
        context["ti"].xcom_push("asked", self.fingerprint)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer."""
        answer = super().execute_complete(context, event)
        if answer["chosen_options"] == [self.APPROVE]:
            asked = context["ti"].xcom_pull(task_ids=self.task_id, key="asked")
            context["ti"].xcom_push("approved", asked)
        return answer


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
    tags=["bulk", "mediarithmics", "example"],
    doc_md=__doc__,
) as dag:
    check = ImportDocumentsOperator(task_id="check", dry_run=True, sample=5, **SAME)
    approve = ApproveFingerprint(
        task_id="approve",
        subject="Delete {{ ti.xcom_pull('check')['lines_read'] }} identifiers?",
        body=QUESTION,
        fingerprint="{{ ti.xcom_pull('check')['fingerprint'] }}",
        # Nobody answers for two days: that is a no.
        defaults="Reject",
        response_timeout=timedelta(days=2),
    )
    delete = ImportDocumentsOperator(
        task_id="delete",
        expect_fingerprint="{{ ti.xcom_pull('approve', key='approved') }}",
        on_clear="keep",
        deferrable=True,
        **SAME,
    )
    check >> approve >> delete
