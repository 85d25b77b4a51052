"""A task that got another name in mid-run: to Airflow it is another task, whose record is empty.

Airflow keeps the task instances of the old name. So a task that has nothing recorded looks for tasks of its run that have
left the DAG, and asks a person before it does work that one of them may have done (ARCHITECTURE.md section 5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_bulk.runs.reconcile import StaysUnclear

if TYPE_CHECKING:
    from airflow_bulk.platforms.upload_port import UploadPort
    from airflow_bulk.runs.record import Record

#: The key of the question in the record.
ASKED = "asked_about_old_name"


def tasks_gone(ti: Any) -> Iterator[Any]:
    """The tasks of this run that are not in its DAG any more, each named as ``ti`` names a task.

    One with another map index is none that this task can have been.

    :param ti: the task instance that asks.
    """
    dag = getattr(getattr(ti, "task", None), "dag", None)
    if dag is None or not hasattr(ti, "get_task_states"):
        return
    suffix = f"_{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
    for name in ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {}):
        unmapped, _, index = name.rpartition("_")
        is_there = name in dag.task_ids or (index.isdigit() and unmapped in dag.task_ids)
        if is_there or not name.endswith(suffix):
            continue
        yield SimpleNamespace(
            dag_id=ti.dag_id, run_id=ti.run_id, task_id=name.removesuffix(suffix), map_index=ti.map_index
        )


def refuse_renamed_import(port: UploadPort, record: Record, find: Callable[[str], list[str]]) -> None:
    """Refuse to create an import while a task that has left the DAG in mid-run has one: this task may be that one, renamed.

    :param find: the imports that bear a marker.
    :raises StaysUnclear: naming both, and what to say in either case.
    """
    for gone in tasks_gone(record.identity):
        marker = record.marker_of(gone)
        if found := find(marker):
            raise StaysUnclear(
                f"create a {port.noun}",
                f"{found[0]} was created in this run by task {gone.task_id!r}, which is not in the DAG any more",
                retry=f"Nothing was sent. If this task is that one under a new name, say name_marker={marker!r}: it goes on "
                f"with that {port.noun}. If it is another one, say name_marker={record.marker!r}.",
            )


def refuse_renamed(record: Record, xcom_key: str, only: str | None = None) -> None:
    """Refuse to begin where nothing on the platform bears a marker, while a task that has left the DAG in mid-run had begun.

    What tells of that task: its XCom, and from Airflow 3.4 on the copy of its record. A person's clear of this task is the
    answer that it is another one.

    :param xcom_key: the XCom in which a task of this kind names what it works on.
    :param only: the one value of it that counts; None: any.
    :raises StaysUnclear: naming that task, and what to do in either case.
    """
    if record.generation > 1 or _a_person_has_cleared(record):
        return
    ti = record.identity
    for gone in tasks_gone(ti):
        named = ti.xcom_pull(task_ids=gone.task_id, key=xcom_key, map_indexes=gone.map_index)
        if only is not None and named != only:
            named = None
        if named is None and not (only is None and record.has_copy_of(gone)):
            continue
        record.write(ASKED, {"max_tries": record.max_tries})
        what = f"has {xcom_key} {named}" if named is not None else "had begun"
        raise StaysUnclear(
            "begin",
            f"task {gone.task_id!r} {what} in this run, and is not in the DAG any more",
            retry="Nothing was sent. If this task is that one under a new name, give it the old name again, and clear it "
            "under that name: it goes on. If it is another one, clear this task: it begins.",
        )


def _a_person_has_cleared(record: Record) -> bool:
    """Whether this task was cleared after it had asked."""
    asked = record.read(ASKED)
    return asked is not None and asked["max_tries"] != record.max_tries
