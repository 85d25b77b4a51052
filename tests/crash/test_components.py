"""Scheduler and triggerer are killed: nothing is lost, sent twice or cancelled. Alone on the stage, last of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil
from story import Story

if TYPE_CHECKING:
    from airflow_stack import AirflowStack


def test_scheduler_and_triggerer_killed(
    played: Any, tell: Callable[[str], Story], airflow_stack: AirflowStack
) -> None:
    played.wait_for_all()
    sending, waiting = tell("crash_quick"), tell("crash_deferred")
    for story in sending, waiting:
        story.write()
    waiting.begin()
    sending.begin(stop="before commit 1")
    pid = sending.stopped()
    waiting.deferred()

    airflow_stack.kill("triggerer")
    airflow_stack.restart("scheduler")
    waiting.finish_executions()
    airflow_stack.start_component("triggerer")

    # A new scheduler begins the task again, while the old try lives and sends on.
    sending.wait_for("running", "success", try_number=2)
    sending.go()
    sending.ends_well()
    sending.wait("the old try to end", lambda: not psutil.pid_exists(pid))
    sending.each_line_once()

    result = waiting.ends_well()
    assert waiting.task()["try_number"] == 1
    assert waiting.statuses() == {"SUCCEEDED": result["parts"]}
