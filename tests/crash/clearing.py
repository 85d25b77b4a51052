"""The ways in which a person clears a task."""

from __future__ import annotations

from typing import Any

from task_run import ONE_WRITER, TaskRun


def _clear_tasks(story: TaskRun, **body: Any) -> None:
    with ONE_WRITER:
        story.api.call(
            "POST",
            f"/dags/{story.dag_id}/clearTaskInstances",
            json={"dag_run_id": story.run_id, "dry_run": False, **body},
        )


def api_defaults(story: TaskRun) -> None:
    """The shortest call; it clears failed tasks alone unless told otherwise."""
    _clear_tasks(story, task_ids=[story.task_id], only_failed=False)


#: What the page's dialog sends besides, with nothing chosen in it.
DIALOG: dict[str, Any] = {
    "include_downstream": False,
    "include_future": False,
    "include_past": False,
    "include_upstream": False,
    "only_failed": False,
    "run_on_latest_version": False,
}


def page(story: TaskRun) -> None:
    """The button of one task."""
    _clear_tasks(story, **DIALOG, task_ids=[story.task_id])


def list_of_tasks(story: TaskRun) -> None:
    """The button over a list of tasks; from 3.4 on it names the instances."""
    chosen = (
        {"task_instance_ids": [story.task()["id"]]} if deletes_state(story) else {"task_ids": [story.task_id]}
    )
    _clear_tasks(story, **DIALOG, **chosen)


def keeping_the_state(story: TaskRun) -> None:
    """With the box "keep the task's state", which 3.4 has."""
    kept = {"keep_task_state": True} if deletes_state(story) else {}
    _clear_tasks(story, **DIALOG, task_ids=[story.task_id], **kept)


def whole_run(story: TaskRun) -> None:
    """The button of the run."""
    with ONE_WRITER:
        path = f"/dags/{story.dag_id}/dagRuns/{story.run_id}/clear"
        story.api.call("POST", path, json={"dry_run": False, "only_failed": False})


def deletes_state(story: TaskRun) -> bool:
    """Whether this Airflow deletes a task's state when the task is cleared."""
    major, minor = story.api.call("GET", "/version")["version"].split(".")[:2]
    return (int(major), int(minor)) >= (3, 4)
