"""People stop, mark and clear tasks while something is under way: each line is held exactly once all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest
from story import Story

Tell = Callable[[str], Story]


def cleared_while_running(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="before commit 1")
    pid = story.stopped()
    assert [one["done"] for one in story.uploads()] == [True, False]
    story.clear()
    story.wait_for("running", "success", try_number=2)
    # Airflow lets the new try wait for the old one's end.
    assert not psutil.pid_exists(pid)
    story.ends_well()
    assert story.cuts().count("client") == 1


def marked_failed_and_cleared_at_once(tell: Tell) -> None:
    _mark_failed_and_clear(tell("crash_waiting"), "before commit 1")


def marked_failed_and_cleared_at_once_after_the_commit(tell: Tell) -> None:
    _mark_failed_and_clear(tell("crash_quick"), "after commit 1")


def _mark_failed_and_clear(story: Story, stop: str) -> None:
    story.write()
    story.begin(stop=stop)
    pid = story.stopped()
    story.mark_failed()
    story.clear()
    story.ends_well()
    story.wait("the old try to end", lambda: not psutil.pid_exists(pid))
    story.each_line_once()


def running_task_marked_failed(tell: Tell) -> None:
    story = tell("crash_waiting")
    story.write()
    story.begin(stop="before commit 2")
    story.stopped()
    assert story.statuses() == {"PENDING": 2}
    story.mark_failed()
    story.wait("what was sent to be cancelled", lambda: story.statuses() == {"CANCELED": 2})
    story.wait("the run's end", lambda: story.api.run(story.dag_id, story.run_id)["state"] == "failed")
    story.clear()
    result = story.ends_well()
    assert story.statuses() == {"CANCELED": 2, "SUCCEEDED": result["parts"]}


def deferred_task_marked_failed(tell: Tell) -> None:
    story = tell("crash_deferred")
    story.write()
    story.begin()
    story.deferred()
    parts = len(story.parts())
    assert story.statuses() == {"PENDING": parts}
    story.mark_failed()
    story.wait("PENDING to become CANCELED", lambda: story.statuses() == {"CANCELED": parts})
    assert not story.held()
    story.clear()
    result = story.ends_well()
    assert story.statuses() == {"CANCELED": parts, "SUCCEEDED": result["parts"]}


def deferred_task_cleared(tell: Tell) -> None:
    """The new try goes on with what is there; the old trigger, which ends after that try began, cancels nothing of it."""
    story = tell("crash_deferred")
    story.write()
    story.begin()
    story.deferred()
    parts = len(story.parts())
    story.clear()
    story.wait_for("deferred", try_number=2)
    story.wait("the old trigger to end", story.old_trigger_is_over)
    assert story.statuses() == {"PENDING": parts}
    result = story.ends_well()
    assert story.statuses() == {"SUCCEEDED": result["parts"]}
    assert len(story.uploads()) == parts


def one_of_two_mapped_uploads_killed(tell: Tell) -> None:
    story = tell("crash_mapped")
    story.write(500, name="lines.0.ndjson")
    story.write(500, name="lines.1.ndjson")
    story.begin(stop="before commit 1", stop_index=0)
    pid = story.stopped()
    wait = story.api.wait_for_task
    wait(story.dag_id, story.run_id, "upload", {"success"}, map_index=1)
    before = story.api.xcom(story.dag_id, story.run_id, "upload", map_index=1)
    story.kill(pid)
    assert story.api.wait_for_run(story.dag_id, story.run_id) == "success"
    story.each_line_once()
    after = [story.api.xcom(story.dag_id, story.run_id, "upload", map_index=index) for index in (0, 1)]
    assert after[1] == before
    (imported,) = story.imports()
    assert {one["import_id"] for one in after} == {imported["id"]}
    ids = [execution for one in after for execution in one["execution_ids"]]
    assert sorted(ids) == sorted(one["id"] for one in story.executions())
    tries = [story.api.task(story.dag_id, story.run_id, "upload", index)["try_number"] for index in (0, 1)]
    assert tries == [2, 1]


def one_of_two_mapped_uploads_killed_before_its_record(tell: Tell) -> None:
    """Who made the execution cannot be told in a shared import: nothing is sent again, and a person decides."""
    story = tell("crash_mapped")
    story.write(500, name="lines.0.ndjson")
    story.write(200, name="lines.1.ndjson")
    story.begin(stop="before sent 2", stop_index=0)
    story.kill(story.stopped())
    assert story.api.wait_for_run(story.dag_id, story.run_id) == "failed"
    assert story.api.task(story.dag_id, story.run_id, "upload", 1)["state"] == "success"
    theirs = story.api.xcom(story.dag_id, story.run_id, "upload", map_index=1)["execution_ids"]
    unrecorded = [one["id"] for one in story.executions() if one["id"] not in theirs][-1]
    log = story.api.log(story.dag_id, story.run_id, "upload", map_index=0, try_number=2)
    assert unrecorded in log
    assert "exclusive=True" in log
    assert max(story.held().values()) == 1
    assert set(story.statuses()) == {"SUCCEEDED"}


told_on_next = pytest.mark.told_on_next


@pytest.mark.parametrize(
    "scenario",
    [
        cleared_while_running,
        marked_failed_and_cleared_at_once,
        # The same with another moment.
        pytest.param(marked_failed_and_cleared_at_once_after_the_commit, marks=told_on_next),
        running_task_marked_failed,
        deferred_task_marked_failed,
        # test_clears.py has it for each way of clearing.
        pytest.param(deferred_task_cleared, marks=told_on_next),
        one_of_two_mapped_uploads_killed,
        # What the platform does not tell, on whichever Airflow.
        pytest.param(one_of_two_mapped_uploads_killed_before_its_record, marks=told_on_next),
    ],
)
def test_each_line_once_after(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
