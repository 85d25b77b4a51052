"""DAGs for ``benchmarks/peer.py``: the same import with Airflow's general operators, and with this package."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.document_import import ImportDocumentsOperator

PARAMS: dict[str, Any] = {"source": "", "part_bytes": "0", "imports": "", "url": ""}
OVER = ("SUCCEEDED", "FAILED", "CANCELED")

SEND = """
set -euo pipefail
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
split -C {{ params.part_bytes }} '{{ params.source }}' "$parts/part-"
for part in "$parts"/part-*; do
  curl --silent --show-error --fail --output /dev/null --data-binary "@$part" \
    --header "Authorization: $TOKEN" --header 'Content-Type: application/x-ndjson' \
    "{{ params.url }}{{ params.imports }}/{{ ti.xcom_pull(task_ids='create') }}/executions"
done
"""


def all_over(response: Any) -> bool:
    """Whether all executions are over."""
    executions = response.json()["data"]
    return bool(executions) and all(one["status"] in OVER for one in executions)


with DAG("peer", schedule=None, params=PARAMS):
    create = HttpOperator(
        task_id="create",
        http_conn_id="peer",
        method="POST",
        endpoint="{{ params.imports }}",
        headers={"Content-Type": "application/json"},
        data=json.dumps(
            {
                "name": "{{ run_id }}",
                "document_type": "USER_PROFILE",
                "mime_type": "APPLICATION_X_NDJSON",
                "encoding": "utf-8",
            }
        ),
        response_filter=lambda response: response.json()["data"]["id"],
    )
    send = BashOperator(
        task_id="send",
        bash_command=SEND,
        env={"TOKEN": "{{ conn.peer.extra_dejson['Authorization'] }}"},
        append_env=True,
        retries=2,
        retry_delay=timedelta(0),
    )
    wait = HttpSensor(
        task_id="wait",
        http_conn_id="peer",
        endpoint="{{ params.imports }}/{{ ti.xcom_pull(task_ids='create') }}/executions",
        request_params={"max_results": "500"},
        response_check=all_over,
        # With a response_check it does not defer: the provider asks on a worker then.
        deferrable=True,
        poke_interval=5,
        timeout=3600,
    )
    create >> send >> wait

with DAG("ours", schedule=None, params=PARAMS):
    ImportDocumentsOperator(
        task_id="send",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        source="{{ params.source }}",
        sending=SendingOptions(max_part_bytes="{{ params.part_bytes }}"),
        deferrable=True,
        retries=2,
        retry_delay=timedelta(0),
    )
