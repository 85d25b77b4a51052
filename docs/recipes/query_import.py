"""Every night: the rows of a query become user profiles."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import DAG, task

QUERY = """
    SELECT customer, first_name, spent FROM customers
    WHERE consent AND shop = %s
"""

with DAG(
    "customers_nightly",
    schedule="0 3 * * *",
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    params={"spool": "s3://aws_crm@spools/customers"},
) as dag:

    @task.import_documents(
        document_type="USER_PROFILE",
        name="Customers, {{ dag_run.run_after | ds }}",
        spool_path="{{ params.spool }}",
        max_failures="0.1%",
        deferrable=True,
    )
    def customers(shop: str) -> Iterator[dict[str, Any]]:
        """Yield one profile a customer."""
        hook = PostgresHook("shop_postgres")
        # A named cursor lies on the server: rows come in blocks.
        with (
            closing(hook.get_conn()) as connection,
            connection.cursor(name="customers") as cursor,
        ):
            cursor.execute(QUERY, [shop])
            for customer, first_name, spent in cursor:
                yield {
                    "operation": "UPSERT",
                    "compartment_id": "1000",
                    "user_account_id": customer,
                    "user_profile": {
                        "first_name": first_name,
                        "spent": float(spent),
                    },
                }

    customers.expand(shop=["north", "south"])
