"""Every night: import the new files of a folder, let a person see the bad lines' counts, send those lines again, corrected.

**What runs.** `load` imports the files that no earlier night has brought (`on_seen="skip"`), and keeps each bad line in a results
file. Where there is one, `approve` shows a person the counts and the reasons, and waits for an answer without a worker. After a
yes `resend` gives each bad line to `corrected`, and sends what that returns, in two rounds at most; then the asset of the
datamart's profiles tells the totals to `after_nightly`. Where there is no bad line, nobody is asked, and the asset tells as well. After a no, or no
answer within a day, nothing more is sent and nothing is told.

Needs the connections `mediarithmics_default`, and `aws_crm` for the default source. The variable of the environment
`BULK_EXAMPLE_DATAMART` is the datamart: an asset's URI is fixed when a DAG file is parsed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task

from airflow_bulk.assets.mediarithmics import create_asset
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.resend_lines import ResendLinesOperator

if TYPE_CHECKING:
    from airflow_bulk.documents.chosen_lines import BadLine

DATAMART = os.environ.get("BULK_EXAMPLE_DATAMART", "1500")
PROFILES = create_asset(datamart_id=DATAMART, document_type="USER_PROFILE")
#: What the person sees; `bad` is the result of the import.
QUESTION = """{% set bad = ti.xcom_pull('load') %}
| read | accepted | rejected before sending | failed on the platform |
| --- | --- | --- | --- |
| {{ bad['lines_read'] }} | {{ bad['lines_accepted'] }} | {{ bad['lines_rejected'] }} | {{ bad['lines_failed'] }} |

All bad lines: `{{ bad['results_uri'] }}`"""


def corrected(bad: BadLine) -> Mapping[str, Any] | None:
    """Return the line to send; None leaves it out."""
    try:
        record = bad.record
    except ValueError:
        return None  # no JSON: nobody can say what it was
    if "user_account_id" not in record:
        return None
    record.setdefault("user_profile", {})
    return record


with DAG(
    "nightly_with_approval",
    schedule="0 3 * * *",
    catchup=False,
    max_active_runs=2,
    params={
        "source": Param(
            "s3://aws_crm@exports/profiles/*.ndjson.gz", type="string", minLength=1, title="Source"
        ),
        "bad_lines": Param(
            "s3://aws_crm@exports/bad_lines", type="string", minLength=1, title="Folder of bad lines"
        ),
    },
    tags=["bulk", "mediarithmics", "example"],
    doc_md=__doc__,
) as dag:
    load = ImportDocumentsOperator(
        task_id="load",
        document_type="USER_PROFILE",
        name="Profiles, {{ dag_run.run_after | ds }}",
        source="{{ params.source }}",
        datamart_id=DATAMART,
        max_failures="5%",
        rejects_path="{{ params.bad_lines }}",
        on_seen="skip",
        poll_interval=5.0,
        deferrable=True,
    )

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def any_bad(found: Mapping[str, Any]) -> bool:
        """Whether there is anything to ask."""
        return bool(found["results_uri"])

    approve = ApprovalOperator(
        task_id="approve",
        subject="Correct the bad lines of {{ run_id }}, and send them again?",
        body=QUESTION,
        # Nobody answers for a day: that is a no.
        defaults="Reject",
        response_timeout=timedelta(days=1),
    )
    resend = ResendLinesOperator(
        task_id="resend",
        results=load.output,
        transform=corrected,
        only="both",
        rounds=2,
        datamart_id=DATAMART,
        max_failures="1%",
        poll_interval=5.0,
        deferrable=True,
        # Where nobody had to be asked, it has nothing to send, and tells the totals all the same.
        trigger_rule="none_failed",
        outlets=[PROFILES],
    )
    any_bad(load.output) >> approve >> resend

with DAG(
    "after_nightly",
    schedule=[PROFILES],
    catchup=False,
    tags=["bulk", "example"],
    doc_md=__doc__,
):

    @task
    def use_totals(triggering_asset_events: Any = None) -> dict[str, Any]:
        """Return what the newest event tells; a real DAG would go on with it."""
        return dict(triggering_asset_events[PROFILES][-1].extra)

    use_totals()
