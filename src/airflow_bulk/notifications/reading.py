"""Summaries of bulk tasks for people and other systems, read from the rows that runs leave in XCom (:mod:`airflow_bulk.shown`).

A row is there after a success and after a failure alike. It holds counts, ids and URIs, and never the content of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from airflow_bulk.shown import ROW_KEYS

#: What a summary has, None where it is not known.
FIELDS = (
    "kind",
    "phase",
    "name",
    "id",
    "status",
    "files",
    "parts",
    "executions",
    "bytes",
    "lines_read",
    "lines_rejected",
    "lines_accepted",
    "lines_failed",
    "lines_breaking_rules",
    "rejects_uri",
    "results_uri",
    "errors_uri",
    "console_url",
    "seconds",
    "reason",
)
#: Tasks of a DAG that are asked for; each costs some calls to Airflow's API.
MOST_TASKS = 100


def summaries_of(context: Mapping[str, Any], task_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Read the summaries that a callback's context leads to.

    :param context: of a callback of a task or a DAG, or of a deadline (airflow.md section 12.3).
    :param task_ids: whose; None is the task of the callback, or all bulk tasks of the DAG where the DAG calls back.
    :returns: one a task instance, each with ``task_id`` and ``map_index`` (None where it is not known); empty where
        nothing is known.
    """
    ti = context.get("ti")
    if ti is None:
        return [*_of_a_deadline(context.get("dag_run"), task_ids or ())]
    if task_ids is None and "reason" not in context:  # of a DAG's callback alone
        row = _first(lambda key: ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=_index(ti)))
        return [_summary(row, ti.task_id, _index(ti))] if row else []
    wanted = task_ids if task_ids is not None else _bulk_tasks(context.get("dag"))
    return [one for task_id in wanted[:MOST_TASKS] for one in _of_a_task(ti, task_id)]


def text_of(context: Mapping[str, Any], summaries: Sequence[Mapping[str, Any]]) -> str:
    """Say in words how the work ended: a line for the run, one for each summary, one for each file that a person may need."""
    ti, run = context.get("ti"), context.get("dag_run")
    if ti is not None:
        where = f"{ti.dag_id}, run {ti.run_id}" + (f", task {ti.task_id}" if "reason" not in context else "")
    elif isinstance(run, Mapping):
        where = f"{run.get('dag_id')}, run {run.get('dag_run_id')}"
        where += ": the deadline has passed" if context.get("deadline") else ""
    else:
        where = f"run {context.get('run_id')}"
    told = [line for one in summaries for line in _lines(one)]
    return "\n".join([where, *(told or ["No summary of bulk work is known."])])


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    index = one.get("map_index")
    task = f"{one['task_id']}[{index}]" if isinstance(index, int) and index >= 0 else one["task_id"]
    ended = one["reason"] or one["phase"]
    yield f"{task}: {one['name'] or one['kind']} ({one['id'] or '-'}): {ended}"
    if one["lines_read"] is not None:
        parts = [
            f"{one[f'lines_{what}']:,} {what}"
            for what in ("rejected", "accepted", "failed")
            if one[f"lines_{what}"] is not None
        ]
        yield f"{one['lines_read']:,} read" + (f" = {' + '.join(parts)}" if parts else "")
    for what in ("rejects_uri", "results_uri", "errors_uri", "console_url"):
        if one[what]:
            yield f"{what}: {one[what]}"


def _of_a_task(ti: Any, task_id: str) -> Iterator[dict[str, Any]]:
    """The summaries of a task, of each of its mapped instances that has one."""
    for row in _first(lambda key: ti.xcom_pull(task_ids=[task_id], key=key)) or ():
        if isinstance(row, Mapping):
            yield _summary(row, task_id, None)  # XCom gives all of them without their indexes


def _of_a_deadline(run: Any, task_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A deadline's context has the run as a dict, and no task instance."""
    from airflow.sdk import BaseXCom

    if not isinstance(run, Mapping):
        return
    dag_id, run_id = str(run["dag_id"]), str(run["dag_run_id"])
    for task_id in task_ids[:MOST_TASKS]:
        pull = partial(_pull_by_name, BaseXCom.get_one, dag_id, run_id, task_id)
        if row := _first(pull):
            yield _summary(row, task_id, -1)


def _pull_by_name(get: Callable[..., Any], dag_id: str, run_id: str, task_id: str, key: str) -> Any:
    return get(key=key, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=-1)


def _first(pull: Callable[[str], Any]) -> Any:
    """The first platform's row that is there; None where there is none."""
    for key in ROW_KEYS.values():
        found = pull(key)
        if isinstance(found, Mapping) or (isinstance(found, Sequence) and any(found)):
            return found
    return None


def _summary(row: Mapping[str, Any], task_id: str, index: int | None) -> dict[str, Any]:
    return {"task_id": task_id, "map_index": index, **{name: row.get(name) for name in FIELDS}}


def _index(ti: Any) -> int:
    return -1 if ti.map_index is None else int(ti.map_index)


def _bulk_tasks(dag: Any) -> list[str]:
    from airflow_bulk.operators.base import RunOperator

    return [
        one.task_id
        for one in getattr(dag, "tasks", ())
        if issubclass(getattr(one, "operator_class", type(one)), RunOperator)
    ]
