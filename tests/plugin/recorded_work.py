"""Bulk work as Airflow's database holds it, written straight into its tables: rows of the page without running anything.

Which values a run really writes is tested with the operators and on a whole Airflow.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_bulk.plugin.tables import TRIES_ARE_ROWS
from airflow_bulk.runs.record_copy import ASSET_NAME, ASSET_URI

BUNDLE = "recorded"
#: What the tables call the map index.
INDEX = "region_index" if TRIES_ARE_ROWS else "map_index"
BEGAN = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
#: Of each execution: created, began, ended.
TIMES = [BEGAN.timestamp() + seconds for seconds in (0, 5, 65)]


def xcom_model() -> Any:
    """The table of XCom values that Airflow writes."""
    from airflow.models import xcom

    return xcom.XComModelV2 if TRIES_ARE_ROWS else xcom.XComModel


class RecordedWork:
    """Writes DAGs, runs, task instances and what they tell the page.

    :param url: the SQLAlchemy URL of a database that Airflow has made.
    """

    def __init__(self, url: str) -> None:
        from sqlalchemy import create_engine

        self.engine = create_engine(url)
        self._dags: set[str] = set()
        self._inlets: set[tuple[str, str]] = set()

    def insert(self, table: Any, rows: list[dict[str, Any]]) -> None:
        from sqlalchemy import insert

        with self.engine.begin() as connection:
            connection.execute(insert(table), rows)

    def dag(self, dag_id: str) -> None:
        """A DAG, as the DAG processor leaves it."""
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel

        if not self._dags:
            self.insert(DagBundleModel.__table__, [{"name": BUNDLE, "active": True}])
        if dag_id not in self._dags:
            self._dags.add(dag_id)
            row = {
                "dag_id": dag_id,
                "bundle_name": BUNDLE,
                "fileloc": "dag.py",
                "is_paused": True,
                "is_stale": False,
                "max_active_tasks": 16,
                "max_active_runs": 16,
                "max_consecutive_failed_dag_runs": 0,
                "has_task_concurrency_limits": False,
            }
            self.insert(DagModel.__table__, [row])

    def _inlet(self, dag_id: str, task_id: str) -> None:
        """The inlet that each of our tasks has from Airflow 3.4 on."""
        if not TRIES_ARE_ROWS or (dag_id, task_id) in self._inlets:
            return
        from airflow.models.asset import AssetModel, TaskInletAssetReference

        if not self._inlets:
            asset = {"id": 1, "name": ASSET_NAME, "uri": ASSET_URI, "group": "airflow-bulk"}
            self.insert(AssetModel.__table__, [asset])
        self._inlets.add((dag_id, task_id))
        self.insert(
            TaskInletAssetReference.__table__, [{"asset_id": 1, "dag_id": dag_id, "task_id": task_id}]
        )

    def works(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Many task instances at once; each row as the arguments of :meth:`work`."""
        from airflow.models.dagrun import DagRun
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.models.taskinstance import TaskInstance

        tables: dict[Any, list[dict[str, Any]]] = {
            model: [] for model in (DagRun, TaskInstance, xcom_model(), TaskStateStoreModel)
        }
        runs: dict[tuple[str, str], int] = {}
        for number, one in enumerate(rows, self._next_run()):
            self._add(tables, runs, number, **one)
        for model, values in tables.items():
            if values:
                self.insert(model.__table__, values)

    def work(self, dag_id: str, task_id: str, **more: Any) -> dict[str, Any]:
        """One task instance: ``run_id``, ``state``, ``began``, ``seconds``, ``row``, ``now``, ``record``, ``xcom``, ``key``.

        :return: what names it in the page's URL.
        """
        more = {"run_id": f"manual__{uuid.uuid4().hex[:8]}", **more}
        self.works([{"dag_id": dag_id, "task_id": task_id, **more}])
        return {
            "dag_id": dag_id,
            "run_id": more["run_id"],
            "task_id": task_id,
            "map_index": more.get("map_index", -1),
        }

    def _next_run(self) -> int:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import func, select

        with self.engine.begin() as connection:
            return 1 + (connection.scalar(select(func.max(DagRun.__table__.c.id))) or 0)

    def _run_number(self, dag_id: str, run_id: str) -> int | None:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        table = DagRun.__table__.c
        with self.engine.begin() as connection:
            found = connection.scalar(select(table.id).where(table.dag_id == dag_id, table.run_id == run_id))
            return None if found is None else int(found)

    def _add(
        self,
        tables: dict[Any, list[dict[str, Any]]],
        runs: dict[tuple[str, str], int],
        number: int,
        *,
        dag_id: str,
        task_id: str,
        run_id: str,
        map_index: int = -1,
        state: str | None = "success",
        run_state: str | None = None,
        began: datetime = BEGAN,
        seconds: float = 60.0,
        key: str | None = "bulk.mediarithmics",
        row: Any = None,
        now: Any = None,
        record: Mapping[str, Any] | None = None,
        xcom: Mapping[str, Any] | None = None,
        try_number: int = 1,
    ) -> None:
        runs_table, tasks, xcoms, states = tables
        ti_id = uuid.uuid4()
        self.dag(dag_id)
        self._inlet(dag_id, task_id)
        run = runs.get((dag_id, run_id)) or self._run_number(dag_id, run_id)
        if run is None:
            run = runs[dag_id, run_id] = number
            tables[runs_table].append(
                {
                    "id": number,
                    "dag_id": dag_id,
                    "run_id": run_id,
                    "run_type": "manual",
                    "state": run_state or ("running" if state in ("running", "deferred") else state),
                    "run_after": began,
                    "log_template_id": 1,
                }
            )
        over = state in ("success", "failed")
        tables[tasks].append(
            {
                "id": ti_id,
                "dag_id": dag_id,
                "run_id": run_id,
                "task_id": task_id,
                INDEX: map_index,
                "state": state,
                "try_number": try_number,
                "start_date": began,
                "end_date": began + timedelta(seconds=seconds) if over else None,
                "pool": "default_pool",
            }
        )
        place = {
            "dag_id": dag_id,
            "run_id": run_id,
            "task_id": task_id,
            INDEX: map_index,
            "dag_run_id": run,
        }
        of_xcom = {"task_instance_id": ti_id} if TRIES_ARE_ROWS else place
        values = {**(xcom or {}), **({key: row} if key and row is not None else {})}
        if now is not None:
            values["bulk_now"] = now
        tables[xcoms] += [{**of_xcom, "key": name, "value": value} for name, value in values.items()]
        tables[states] += [
            {**place, "key": name, "value": json.dumps(value)} for name, value in (record or {}).items()
        ]


def import_row(**more: Any) -> dict[str, Any]:
    """The row of an import that is over."""
    return {
        "kind": "upload",
        "phase": "over",
        "generation": 1,
        "noun": "document import",
        "name": "Customers",
        "id": "70811",
        "started": BEGAN.timestamp(),
        "at": BEGAN.timestamp() + 60,
        "parts": 3,
        "files": 1,
        "bytes": 3_000_000,
        "lines_read": 1_000,
        "lines_rejected": 4,
        "lines_accepted": 990,
        "lines_failed": 6,
        "seconds": 60.0,
        "console_url": "https://console.example/imports/70811",
        "rejects_uri": None,
        **more,
    }


def import_record(parts: int = 3, **more: Any) -> dict[str, Any]:
    """The task's state of an import: its parts, what the check found, how each execution ended."""
    rows = [
        [
            index,
            0,
            index * 1000,
            1000,
            1 + index * 300,
            299,
            1,
            0,
            900,
            "0" * 32,
            "sent",
            [str(51 + index)],
            0,
        ]
        for index in range(parts)
    ]
    pages = {f"g1.parts.{page}": rows[page * 100 : page * 100 + 100] for page in range(-(-parts // 100))}
    ends = [[str(51 + index), "SUCCEEDED", 297, 2, *TIMES, "bad compartment *"] for index in range(parts)]
    ended = {f"g1.executions.{page}": ends[page * 100 : page * 100 + 100] for page in range(-(-parts // 100))}
    return {
        "g1.plan": {"fingerprint": "f", "files": [["s3://bucket/in/customers.ndjson", "x"]], "file_count": 1},
        "g1.found": {
            "first": [["s3://bucket/in/customers.ndjson", 17, ["user_profile is missing, UPSERT needs it"]]],
            "reasons": {"user_profile is missing, UPSERT needs it": 4},
            "hints": {"unknown property": 12},
        },
        "g1.try": {"number": 2, "begun_before": "51", "earlier": [[1, None]]},
        **pages,
        **ended,
        **more,
    }
