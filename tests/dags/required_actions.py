"""A person's answers: what stands under *Required actions* in Airflow, read and answered over its REST API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from airflow_api import AirflowApi

#: The state of a task that waits for a person: it needs neither a worker nor the triggerer (airflow.md section 13.1).
WAITING = "awaiting_input"
#: Seconds between the question and an answer: one that comes at once may fail the task (the same section).
SLOWER_THAN_THE_SCHEDULER = 3.0


def wait_for_question(
    api: AirflowApi, dag_id: str, run_id: str, task_id: str, *, try_number: int = 0, timeout: float = 120.0
) -> dict[str, Any]:
    """Wait until a task asks, and until a person could have read it; return what a person sees: ``subject``, ``body``, ``options`` and more."""
    api.wait_for_task(dag_id, run_id, task_id, {WAITING}, try_number=try_number, timeout=timeout)
    time.sleep(SLOWER_THAN_THE_SCHEDULER)
    return dict(api.call("GET", _path(dag_id, run_id, task_id)))


def answer(
    api: AirflowApi, dag_id: str, run_id: str, task_id: str, option: str, **params: Any
) -> dict[str, Any]:
    """Answer an open question.

    :param option: one of the question's options.
    :param params: what the question's form asks for.
    """
    body = {"chosen_options": [option], "params_input": params}
    return dict(api.call("PATCH", _path(dag_id, run_id, task_id), json=body))


def _path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/-1/hitlDetails"
