"""Scheduler and triggerer are killed or stand still: nothing is lost, sent twice or cancelled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import psutil
from story import Story

if TYPE_CHECKING:
    from airflow_stack import AirflowStack


def test_scheduler_and_triggerer_killed(
    alone_on_stage: None, tell: Callable[[str], Story], airflow_stack: AirflowStack
) -> None:
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


def test_triggers_that_another_triggerer_took_over(
    alone_on_stage: None, tell: Callable[[str], Story], airflow_stack: AirflowStack
) -> None:
    """Airflow 3.3 calls ``on_kill`` when their first triggerer wakes (airflow.md section 3.5), and nobody has stopped anything."""
    waiting, mapped, stopped = (
        tell(one) for one in ("crash_deferred", "crash_mapped_deferred", "crash_deferred")
    )
    for story in waiting, stopped:
        story.write()
    for number in 0, 1:
        mapped.write(300, name=f"lines.{number}.ndjson")
    for story in waiting, mapped, stopped:
        story.begin()
    waiting.deferred()
    stopped.deferred()
    mapped.wait(
        "both mapped triggers to look",
        lambda: (
            mapped.api.states(mapped.dag_id, mapped.run_id)
            == {("load", 0): "deferred", ("load", 1): "deferred"}
            and len(mapped.looks()) > 3
        ),
    )
    before = [story.statuses() for story in (waiting, mapped, stopped)]
    uploads = [len(story.uploads()) for story in (waiting, mapped, stopped)]
    assert all(set(one) == {"PENDING"} for one in before)

    def owners() -> set[int]:
        tasks = [ti for one in (waiting, mapped, stopped) for ti in one.api.tasks(one.dag_id, one.run_id)]
        return {ti["triggerer_job"]["id"] for ti in tasks if ti["triggerer_job"]}

    (first,) = owners()
    airflow_stack.start_component("triggerer 2")
    try:
        airflow_stack.pause("triggerer")
        waiting.wait("another triggerer to take over", lambda: len(now := owners()) == 1 and now != {first})
        airflow_stack.resume("triggerer")
        for story in waiting, stopped:
            story.wait("the first triggerer to let go", story.is_let_go)
        for index in 0, 1:
            mapped.wait("the first triggerer to let go", partial(mapped.is_let_go, map_index=index))
        assert [story.statuses() for story in (waiting, mapped, stopped)] == before
        assert [len(story.uploads()) for story in (waiting, mapped, stopped)] == uploads

        # A person who stops the task is heard by whoever waits for it now: nobody does before it looks.
        looks = len(stopped.looks())
        stopped.wait("the second triggerer to look", lambda: len(stopped.looks()) > looks)
        stopped.mark_failed()
        stopped.wait("PENDING to become CANCELED", lambda: set(stopped.statuses()) == {"CANCELED"})

        result = waiting.ends_well()
        assert waiting.task()["try_number"] == 1
        assert waiting.statuses() == {"SUCCEEDED": result["parts"]}
        assert len(waiting.uploads()) == result["parts"]
        mapped.finish_pending()
        assert mapped.api.wait_for_run(mapped.dag_id, mapped.run_id) == "success"
        mapped.each_line_once()
        assert set(mapped.statuses()) == {"SUCCEEDED"}
        assert {ti["try_number"] for ti in mapped.api.tasks(mapped.dag_id, mapped.run_id)} == {1}
    finally:
        airflow_stack.resume("triggerer")
        airflow_stack.kill("triggerer 2")
