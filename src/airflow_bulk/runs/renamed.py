"""A task that got another name in mid-run: to Airflow it is another task, whose record is empty.

Airflow keeps the task instance of the old name. So a task that has nothing recorded looks for tasks of its run that have
left the DAG, and asks a person before it does work that one of them may have done (ARCHITECTURE.md section 5.9).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_bulk.runs.reconcile import StaysUnclear
from airflow_bulk.runs.record import RecordLost

if TYPE_CHECKING:
    from airflow_bulk.runs.record import Record

#: The key of the question in the record.
ASKED = "asked_about_old_name"


def tasks_gone(ti: Any) -> Iterator[Any]:
    """The tasks of this run that are not in its DAG any more, each named as ``ti`` names a task.

    One with another map index is none that this task can have been.
    """
    dag = getattr(getattr(ti, "task", None), "dag", None)
    if dag is None or not hasattr(ti, "get_task_states"):
        return  # a test's own context
    index = -1 if ti.map_index is None else int(ti.map_index)
    try:
        # Airflow names an instance of a mapped task by its index, too.
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], map_index=index)
    except Exception as error:
        raise RecordLost(
            f"Could not ask Airflow for the tasks of this run ({type(error).__name__}). Nothing was sent; a retry asks again."
        ) from error
    there = set(dag.task_ids)
    for name in states.get(ti.run_id, {}):
        task_id = name.removesuffix(f"_{index}") if index >= 0 else name
        if task_id not in there:
            yield SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id, task_id=task_id, map_index=ti.map_index)


def refuse_renamed(record: Record, work: str) -> None:
    """Refuse to begin work that bears no marker while a task that has left the DAG in mid-run has worked on the same.

    A person's clear of this task is the answer that it is another one than those that were named.

    :param work: what this task is to work on.
    :raises StaysUnclear: naming those tasks, and what to do in either case.
    """
    if record.generation > 1:
        return
    gone = [one.task_id for one in tasks_gone(record.identity) if record.work_of(one) == work]
    asked = record.read(ASKED)
    answered = asked is not None and asked["max_tries"] != record.max_tries
    if not gone or (answered and set(gone) <= set(asked["tasks"])):
        return
    record.write(ASKED, {"max_tries": record.max_tries, "tasks": sorted(gone)})
    names = " and ".join(map(repr, sorted(gone)))
    raise StaysUnclear(
        "begin",
        f"in this run task {names} worked on {work}, and is not in the DAG any more",
        retry="Nothing was sent. If this task is that one under a new name: mark this task as a success if the work is done; if "
        "it is not, give the task its old name again, and it goes on (with on_clear='keep' finished work is never done "
        "again). If this task is another one, clear it (any clear counts), and it begins.",
    )
