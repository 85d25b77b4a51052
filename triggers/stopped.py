"""Has a person stopped the task that a trigger serves? Airflow calls ``on_kill`` for other reasons, too.

Airflow 3.3 calls it when another triggerer has taken the trigger over, for example after this one stood still for longer
than ``[triggerer] triggerer_health_check_threshold`` (airflow.md section 3.5). Nobody has stopped anything then. So the
task's own state decides, and a state that cannot be had stops nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: States of a task that nobody goes on with. In all others somebody does: another triggerer, the task that the
#: trigger has called back, or the try that a clear begins; each finds the work in the record.
STOPPED = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})
#: Seconds that Airflow may take to tell the state, of the 30 of ``on_kill``. A triggerer that has just started on a busy
#: machine answers nobody for 12 s (airflow.md section 3.5), and cancelling takes about one.
ASKING_SECONDS = 18.0


async def why_not_stopped(task_instance: Any) -> str:
    """Say why the work of a trigger goes on although ``on_kill`` was called; empty when the task was stopped.

    :param task_instance: the trigger's ``task_instance``, as the triggerer has set it.
    """
    if task_instance is None:
        return "which task it belongs to is not known"
    try:
        states = await asyncio.wait_for(_states(task_instance), ASKING_SECONDS)
    except Exception as error:  # noqa: BLE001  (whatever it is: what is not known is not "stopped")
        return f"Airflow did not tell the task's state ({type(error).__name__})"
    if not states:
        return ""  # the task is gone: its DAG or its run was deleted
    going = sorted({str(state or "cleared") for state in states.values()} - STOPPED)
    if not going:
        return ""
    if going == ["deferred"]:
        return "the task is still deferred: another triggerer waits for it, or a newer trigger does"
    return f"the task is {', '.join(going)}: it goes on with this work"


async def _states(task_instance: Any) -> Mapping[str, Any]:
    """The state of this task instance alone, by a name that holds its map index."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    map_index = task_instance.map_index
    # The call blocks until the triggerer's event loop has got the answer, so it waits in a thread.
    found: dict[str, Any] = await asyncio.to_thread(
        RuntimeTaskInstance.get_task_states,
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=-1 if map_index is None else map_index,
    )
    states: dict[str, Any] = found.get(task_instance.run_id, {})
    return states
