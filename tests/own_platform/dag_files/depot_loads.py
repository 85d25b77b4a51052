"""DAGs for the crash tests on the Depot: its operator, over a store that can stop the task at one exact write."""

from __future__ import annotations

from typing import ClassVar

import stopping
from airflow.sdk import DAG

from depot.operators import LoadIntoDepotOperator


class StoppingLoad(stopping.Stopping, LoadIntoDepotOperator):
    """A load."""


class OrphanLoad(StoppingLoad):
    """A load whose process outlives its supervisor."""

    ends_with_supervisor: ClassVar[bool] = False


def load_dag(dag_id: str, operator: type[StoppingLoad], conn_id: str, deferrable: bool = False) -> DAG:
    """One load of ``lines.ndjson`` in the run's folder."""
    with DAG(dag_id, schedule=None, params=stopping.PARAMS, max_active_runs=50, tags=["test"]) as dag:
        operator(
            task_id="load",
            name="{{ run_id }}",
            source="{{ params.folder }}/lines.ndjson",
            rejects_path="{{ params.folder }}/rejects",
            depot_conn_id=conn_id,
            deferrable=deferrable,
            **stopping.ARGUMENTS,
        )
    return dag


# What "depot_quick" takes is done at once; what "depot_waiting" takes stays queued until a test says so.
quick = load_dag("depot_quick", StoppingLoad, "depot_quick")
orphan = load_dag("depot_orphan", OrphanLoad, "depot_quick")
waiting = load_dag("depot_waiting", StoppingLoad, "depot_waiting")
deferred = load_dag("depot_deferred", StoppingLoad, "depot_waiting", deferrable=True)
