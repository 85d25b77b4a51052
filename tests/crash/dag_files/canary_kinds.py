"""DAGs that are likely to talk: of secrets that they are given, and of what a careless platform says of them.

The secrets are Airflow variables whose names do not look like secrets, so that Airflow itself masks none of them.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.integration_batch import EnsureIntegrationBatchOperator, string_property

PARAMS = {"folder": "", "datamart_id": ""}

with DAG("canary_echo", schedule=None, params=PARAMS, tags=["test"]):
    ImportDocumentsOperator(
        task_id="load",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        source="{{ params.folder }}/lines.ndjson",
        datamart_id="3300",
        mediarithmics_conn_id="canary_echo",
    )

with DAG("canary_echo_centrapay", schedule=None, params=PARAMS, tags=["test"]):
    CentrapayBatchOperator(
        task_id="load",
        type="farmlands-external-asset",
        url="{{ var.value.canary_place }}",
        centrapay_conn_id="canary_echo_centrapay",
    )

with DAG("canary_centrapay", schedule=None, params=PARAMS, tags=["test"]):
    CentrapayBatchOperator(
        task_id="load",
        type="farmlands-external-asset",
        url="{{ var.value.canary_place }}",
        account_id="canaryAccount",
        max_failures="100%",
        poll_interval=0.5,
        deferrable=True,
        centrapay_conn_id="cleared_centrapay",
    )

with DAG("canary_properties", schedule=None, params=PARAMS, tags=["test"]):
    EnsureIntegrationBatchOperator(
        task_id="load",
        group_id="com.example.canary",
        artifact_id="canary-batch",
        version_id="1.0.0",
        name="{{ run_id }}",
        plugin_properties=[
            string_property("provider", "example"),
            string_property("name", "canary"),
            string_property("told", "{{ var.value.canary_place }}"),
        ],
        instance_properties=[string_property("told", "{{ var.value.canary_place }}")],
        mediarithmics_conn_id="crash_quick",
    )
