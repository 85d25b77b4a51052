"""Every hour: rows of a table that have changed become user profiles."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.hooks.extract_load_sql import SqlObject, SqlSource
from airflow_bulk.operators.extract_load import (
    DocumentImportDestination,
    ExtractLoadTaskGroup,
)

BATCH = {
    "jobs": [
        {"type": "extract", "object": "customers"},
        {
            "type": "load",
            "object": "profiles",
            "required_objects": {"extract": ["customers"]},
        },
    ]
}


def profile(row: dict[str, Any]) -> dict[str, Any] | None:
    """Make the line of one customer; None leaves the row out."""
    if not row["consent"]:
        return None
    return {
        "operation": "UPSERT",
        "compartment_id": "1000",
        "user_account_id": row["customer"],
        "user_profile": {
            "first_name": row["first_name"],
            "spent": float(row["spent"]),
        },
    }


with DAG(
    "customers_hourly",
    schedule="@hourly",
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
) as dag:
    ExtractLoadTaskGroup(
        "shop",
        definition=BATCH,
        source=SqlSource(
            "shop_postgres",
            {
                "customers": SqlObject(
                    table="crm.customers",
                    updated_field="changed_at",
                ),
            },
        ),
        destination=DocumentImportDestination(
            {
                "profiles": {
                    "document_type": "USER_PROFILE",
                    "name": "Shop customers, {{ run_id }}",
                    "max_failures": "0.1%",
                    "deferrable": True,
                }
            }
        ),
        mappings={
            "profiles": LoadMapping(feeds="customers", fields=profile),
        },
        staging="s3://aws_crm@staging/{{ run_id }}/",
        updated_since="watermark",
    )
