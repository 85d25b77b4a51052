"""DAGs for the crash tests: the product's operators, over a store that can stop the task at one exact write.

Nothing of the product is changed. ``context["task_state_store"]`` is Airflow's own interface; the operators
here hand a store on that stops before or after the write that the run's ``stop`` names, says so in a file,
and goes on when the test says so.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from airflow.sdk import DAG

from airflow_bulk.operators.document_import import (
    CreateDocumentImportOperator,
    ImportDocumentsOperator,
    SendingOptions,
    UploadDocumentsOperator,
)

#: A task that nobody lets go ends by itself.
LONGEST_STOP = 150.0
PARAMS: dict[str, Any] = {
    "folder": "",
    "datamart_id": "",
    # "before" or "after" the write of "import intent", "import id", "end", or of a part's state: "commit 1".
    "stop": "",
    "stop_try": 1,
    "stop_index": -1,
    "workers": "1",
    "overlap": "false",
    "limit": "0",
    # The Airflow variable that holds the limit instead, so that it can be changed before a clear.
    "limit_variable": "",
    "check": "true",
    "settle": "4",
    "cancel_on_kill": "true",
}


class StoppingStore:
    """A task's store that stops the task at one write, once."""

    def __init__(self, store: Any, stop: str, folder: Path) -> None:
        self._store = store
        self._when, _, self._write = stop.partition(" ")
        self._folder = folder
        self._stopped = False

    def get(self, key: str, default: Any = None) -> Any:
        return self._store.get(key, default)

    def set(self, key: str, value: Any, **options: Any) -> None:
        here = not self._stopped and self._write in writes(key, value)
        if here and self._when == "before":
            self._stop()
        self._store.set(key, value, **options)
        if here and self._when == "after":
            self._stop()

    def _stop(self) -> None:
        self._stopped = True
        (self._folder / "stopping").write_text(str(os.getpid()))
        (self._folder / "stopping").rename(self._folder / "stopped")
        until = time.monotonic() + LONGEST_STOP
        while not (self._folder / "go").exists():
            if time.monotonic() > until:
                os._exit(3)
            time.sleep(0.05)


def writes(key: str, value: Any) -> set[str]:
    """What a write of the record says, in the words of ``stop``; a part's row by its state, which is one of its cells."""
    name = key.partition(".")[2]
    if name.startswith("parts."):
        return {
            f"{cell} {number}" for number, row in enumerate(value) for cell in row if isinstance(cell, str)
        }
    if name == "import":
        return {"import id" if "id" in value else "import intent"}
    return {name}


class Stopping:
    """Runs an operator of the product over a stopping store."""

    def execute(self, context: Any) -> Any:
        params, ti = context["params"], context["ti"]
        this_one = params["stop_try"] == ti.try_number and params["stop_index"] == ti.map_index
        if params["stop"] and this_one:
            folder = Path(params["folder"])
            context["task_state_store"] = StoppingStore(context["task_state_store"], params["stop"], folder)
        return super().execute(context)  # type: ignore[misc]


class StoppingImport(Stopping, ImportDocumentsOperator):
    """The nightly import."""


class OrphanImport(StoppingImport):
    """The nightly import, whose process outlives its supervisor."""

    ends_with_supervisor: ClassVar[bool] = False


class StoppingUpload(Stopping, UploadDocumentsOperator):
    """An upload into an import given from outside."""


#: A retry follows at once: the earlier try may still be on the way.
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(0)}
SHARED: dict[str, Any] = {
    "datamart_id": "{{ params.datamart_id }}",
    "max_failures": "{{ var.value.get(params.limit_variable, '0') if params.limit_variable else params.limit }}",
    "cancel_on_kill": "{{ params.cancel_on_kill }}",
    "sending": SendingOptions(
        max_part_bytes="{{ params.max_part_bytes }}",
        workers="{{ params.workers }}",
        overlap="{{ params.overlap }}",
        check="{{ params.check }}",
        settle="{{ params.settle }}",
    ),
    "timeout": timedelta(minutes=10),
    **RETRIES,
}


def import_dag(dag_id: str, operator: type[StoppingImport], conn_id: str, deferrable: bool = False) -> DAG:
    """One import of ``lines.ndjson`` in the run's folder."""
    with DAG(
        dag_id, schedule=None, params={**PARAMS, "max_part_bytes": "24000"}, max_active_runs=50, tags=["test"]
    ) as dag:
        operator(
            task_id="load",
            document_type="USER_PROFILE",
            name="{{ run_id }}",
            source="{{ params.folder }}/lines.ndjson",
            rejects_path="{{ params.folder }}/rejects",
            mediarithmics_conn_id=conn_id,
            deferrable=deferrable,
            **SHARED,
        )
    return dag


# What "crash_quick" imports is over at once; what "crash_waiting" imports stays PENDING until a test says so.
quick = import_dag("crash_quick", StoppingImport, "crash_quick")
orphan = import_dag("crash_orphan", OrphanImport, "crash_quick")
waiting = import_dag("crash_waiting", StoppingImport, "crash_waiting")
deferred = import_dag("crash_deferred", StoppingImport, "crash_waiting", deferrable=True)

with DAG(
    "crash_mapped",
    schedule=None,
    params={**PARAMS, "max_part_bytes": "24000"},
    max_active_runs=50,
    tags=["test"],
) as mapped:
    created = CreateDocumentImportOperator(
        task_id="create",
        document_type="USER_PROFILE",
        name="{{ run_id }}",
        datamart_id="{{ params.datamart_id }}",
        mediarithmics_conn_id="crash_quick",
        **RETRIES,
    )
    StoppingUpload.partial(
        task_id="upload",
        import_id=created.output,
        mediarithmics_conn_id="crash_quick",
        **SHARED,
    ).expand(source=["{{ params.folder }}/lines.0.ndjson", "{{ params.folder }}/lines.1.ndjson"])
