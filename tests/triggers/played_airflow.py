"""The side of Airflow that a trigger asks on its way out: the state of its task, over the supervisor's channel."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult


class PlayedAirflow:
    """Answers as the supervisor of a triggerer does.

    :param states: by map index, -1 where the task is not mapped; an exception is what asking for it meets.
    """

    def __init__(self, states: dict[int, Any]) -> None:
        self.states = states
        self.asked: list[GetTaskStates] = []

    def send(self, message: Any) -> TaskStatesResult | None:
        """Answer one question; what a hook tells besides, such as what to mask, is let pass."""
        if not isinstance(message, GetTaskStates):
            return None
        self.asked.append(message)
        (run_id,), (task_id,) = message.run_ids or (), message.task_ids or ()
        chosen = {n: state for n, state in self.states.items() if message.map_index in (None, n)}
        for state in chosen.values():
            if isinstance(state, Exception):
                raise state
        named = {task_id if index < 0 else f"{task_id}_{index}": state for index, state in chosen.items()}
        return TaskStatesResult(task_states={run_id: named} if named else {})


def stop(
    trigger: Any,
    states: Any = "failed",
    *,
    monkeypatch: pytest.MonkeyPatch,
    map_index: int = -1,
    cancels: int = 0,
) -> PlayedAirflow:
    """Call a trigger's ``on_kill`` as a triggerer does, while its task is in a state.

    :param states: the task's state, or states by map index.
    :param map_index: of the trigger's task.
    :param cancels: how often the trigger is cancelled again meanwhile, as the triggerer does at each look.
    """
    airflow = PlayedAirflow(states if isinstance(states, dict) else {map_index: states})
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=map_index)
    asyncio.run(_killed(trigger, cancels))
    return airflow


async def _killed(trigger: Any, cancels: int) -> None:
    """As the triggerer's runner has it; the runner goes on, whatever becomes of the trigger."""
    others = asyncio.all_tasks()
    killed = asyncio.create_task(asyncio.wait_for(trigger.on_kill(), timeout=30))
    for _ in range(cancels):
        await asyncio.wait([killed], timeout=0.2)
        killed.cancel("__airflow_user_action__")
    with contextlib.suppress(asyncio.CancelledError):
        await killed
    while left := asyncio.all_tasks() - others:
        await asyncio.wait(left)
