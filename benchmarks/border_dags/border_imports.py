"""DAGs for ``benchmarks/borders.py``: an import that notes what each write of its record costs."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.runs.record_copy import clears_discard


class NotedStore:
    """Airflow's own store, and a note of each write: key, bytes, seconds, try."""

    def __init__(self, store: Any, home: str, notes: Path, try_number: int) -> None:
        self._store, self._home, self._notes, self._try = store, home, notes, try_number

    def get(self, key: str, default: Any = None) -> Any:
        return self._store.get(key, default)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def set(self, key: str, value: Any, **options: Any) -> None:
        begun = time.perf_counter()
        self._store.set(key, value, **options)
        seconds = time.perf_counter() - begun
        sent = sum("sent" in row for row in value) if ".parts." in key else 0
        note = [self._home, key.rpartition("/")[2], len(json.dumps(value)), seconds, self._try, sent]
        with self._notes.open("a") as file:
            file.write(json.dumps(note) + "\n")


class NotedStates:
    """The states of a task's assets, each one noted."""

    def __init__(self, states: Any, *noted: Any) -> None:
        self._states, self._noted = states, noted

    def __getitem__(self, asset: Any) -> NotedStore:
        return NotedStore(self._states[asset], "copy", *self._noted)


class NotedImport(ImportDocumentsOperator):
    """An import over noted stores."""

    def execute(self, context: Any) -> Any:
        notes = Path(context["params"]["notes"]), context["ti"].try_number
        context["task_state_store"] = NotedStore(context["task_state_store"], "task", *notes)
        if clears_discard():
            context["asset_state_store"] = NotedStates(context["asset_state_store"], *notes)
        return super().execute(context)


with DAG("border_import", schedule=None, params={"source": "", "notes": "", "part_bytes": "0"}):
    NotedImport(
        task_id="load",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        source="{{ params.source }}",
        mediarithmics_conn_id="borders",
        sending=SendingOptions(max_part_bytes="{{ params.part_bytes }}", settle=1.0),
        timeout=timedelta(hours=3),
        retries=2,
        retry_delay=timedelta(0),
    )
