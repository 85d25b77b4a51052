"""Load the stock into the Depot every night, and say which lines it refused."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from depot.operators import LoadIntoDepotOperator

with DAG("depot_stock", schedule="0 3 * * *", catchup=False, params={"files": "/data/stock/*.ndjson.gz"}):
    load = LoadIntoDepotOperator(
        task_id="load",
        name="Stock of {{ dag_run.run_after | ds }}",
        source="{{ params.files }}",
        max_failures="1%",
        deferrable=True,
    )

    @task
    def refused_lines(result: dict[str, Any]) -> None:
        from depot.hook import DepotHook

        hook = DepotHook()
        for error_file in result["error_file_uris"]:
            for error in hook.line_errors(error_file):
                print(f"{error_file}, line {error.line}: {error.message}")

    refused_lines(load.output)
