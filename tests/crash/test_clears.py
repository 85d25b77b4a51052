"""Every way to clear a task means the same, also where it deletes the task's state (Airflow 3.4; airflow.md section 9.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow_run import ONE_WRITER
from story import Story

Tell = Callable[[str], Story]


def _clear_tasks(story: Story, **body: Any) -> None:
    with ONE_WRITER:
        story.api.call(
            "POST",
            f"/dags/{story.dag_id}/clearTaskInstances",
            json={"dag_run_id": story.run_id, "dry_run": False, **body},
        )


def api_defaults(story: Story) -> None:
    """The shortest call; it clears failed tasks alone unless told otherwise."""
    _clear_tasks(story, task_ids=["load"], only_failed=False)


#: What the page's dialog sends besides, with nothing chosen in it.
DIALOG: dict[str, Any] = {
    "include_downstream": False,
    "include_future": False,
    "include_past": False,
    "include_upstream": False,
    "only_failed": False,
    "run_on_latest_version": False,
}


def page(story: Story) -> None:
    """The button of one task."""
    _clear_tasks(story, **DIALOG, task_ids=["load"])


def list_of_tasks(story: Story) -> None:
    """The button over a list of tasks; from 3.4 on it names the instances."""
    chosen = {"task_instance_ids": [story.task()["id"]]} if deletes_state(story) else {"task_ids": ["load"]}
    _clear_tasks(story, **DIALOG, **chosen)


def keeping_the_state(story: Story) -> None:
    """With the box "keep the task's state", which 3.4 has."""
    kept = {"keep_task_state": True} if deletes_state(story) else {}
    _clear_tasks(story, **DIALOG, task_ids=["load"], **kept)


def whole_run(story: Story) -> None:
    """The button of the run."""
    with ONE_WRITER:
        path = f"/dags/{story.dag_id}/dagRuns/{story.run_id}/clear"
        story.api.call("POST", path, json={"dry_run": False, "only_failed": False})


def deletes_state(story: Story) -> bool:
    """Whether this Airflow deletes a task's state when the task is cleared."""
    major, minor = story.api.call("GET", "/version")["version"].split(".")[:2]
    return (int(major), int(minor)) >= (3, 4)


def unfinished_then_success(clear: Callable[[Story], None]) -> Callable[[Tell], None]:
    """Cleared in mid-import: it goes on. Cleared after its success: it imports again."""

    def scenario(tell: Tell) -> None:
        story = tell("crash_quick")
        story.write()
        story.begin(stop="before commit 2")
        story.stopped()
        story.mark_failed()
        assert story.api.wait_for_run(story.dag_id, story.run_id) == "failed"
        assert story.state()["g1.import"]["id"]
        clear(story)
        result = story.ends_well()
        assert story.cuts().count("client") == 1
        assert len(story.uploads()) == result["parts"] + 1

        story.known_success()
        clear(story)
        story.wait_for("running", "success", try_number=3)
        assert story.ends()["import_id"] == story.imports()[1]["id"]
        story.each_line_once(times=2)

    return scenario


def deferred(clear: Callable[[Story], None]) -> Callable[[Tell], None]:
    """Cleared while it waits in the triggerer: the new try waits for the same executions."""

    def scenario(tell: Tell) -> None:
        story = tell("crash_deferred")
        story.write()
        story.begin()
        story.deferred()
        parts = len(story.parts())
        clear(story)
        story.wait_for("deferred", try_number=2)
        result = story.ends_well()
        assert story.statuses() == {"SUCCEEDED": result["parts"]}
        assert len(story.uploads()) == parts == result["parts"]

    return scenario


WAYS = [api_defaults, page, list_of_tasks, keeping_the_state, whole_run]


@pytest.mark.parametrize(
    "scenario", [unfinished_then_success(way) for way in WAYS], ids=[way.__name__ for way in WAYS]
)
def test_unfinished_then_success(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)


# A whole run cannot be cleared while it runs.
@pytest.mark.parametrize(
    "scenario", [deferred(way) for way in (page, list_of_tasks)], ids=["page", "list_of_tasks"]
)
def test_deferred(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
