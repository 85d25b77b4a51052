"""A task gets another name between its failure and the clear: to Airflow it is another task, whose record is empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clearing import whole_run
from import_story import ImportStory
from kind_stories import BatchRunStory
from task_run import TaskRun

Tell = Callable[[str], Any]
Rename = Callable[[TaskRun, str], None]

SOURCE = '''"""A task that a test renames."""

import stopping
from airflow.sdk import DAG

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator


class StoppingImport(stopping.Stopping, ImportDocumentsOperator):
    """The nightly import."""


with DAG("renamed_import", schedule=None, params={{**stopping.PARAMS, "datamart_id": ""}}, tags=["test"]):
    StoppingImport(
        task_id="{task_id}",
        document_type="USER_PROFILE",
        name="{{{{ run_id }}}}",
        source="{{{{ params.folder }}}}/lines.ndjson",
        datamart_id="{{{{ params.datamart_id }}}}",
        mediarithmics_conn_id="crash_quick",
        sending=SendingOptions(
            max_part_bytes=24_000, settle=1, name_marker="{{{{ var.value.get(run_id ~ '-marker', 'true') }}}}"
        ),
        retries=0,
    )

with DAG("renamed_batch_run", schedule=None, params={{"instance": "", "folder": ""}}, tags=["test"]):
    RunIntegrationBatchOperator(
        task_id="{task_id}",
        instance_id="{{{{ params.instance }}}}",
        mediarithmics_conn_id="crash_waiting",
        poll_interval=0.5,
        settle=1,
        retries=0,
    )
'''


@pytest.fixture
def rename(tell: Tell, scratch_dags: Path) -> Rename:
    """``rename(story, task_id)`` gives the task of a story's DAG a name, and waits until Airflow knows the name."""

    def write(story: TaskRun, task_id: str) -> None:
        (scratch_dags / "renamed.py").write_text(SOURCE.format(task_id=task_id))
        story.task_id = task_id
        story.api.wait_for_dag(story.dag_id)
        story.api.unpause(story.dag_id)
        story.wait(f"the name {task_id}", lambda: _names(story) == [task_id])

    return write


def test_a_person_is_asked_and_nothing_is_doubled(tell: Tell, rename: Rename) -> None:
    story: ImportStory = tell("renamed_import")
    rename(story, "old_load")
    story.write()
    story.begin(stop="before commit 2")
    story.kill(story.stopped())
    story.tried("failed")
    assert len(story.executions()) == 2

    rename(story, "load")
    whole_run(story)
    story.wait("the renamed task", lambda: ("load", -1) in story.api.states(story.dag_id, story.run_id))
    story.tried("failed")
    (imported,) = story.imports()
    log = story.log()
    assert f"{imported['id']} was created in this run by task 'old_load'" in log
    assert len(story.executions()) == 2

    same, _ = re.findall(r"name_marker='([0-9a-f]{12})'", log)[:2]
    story.choose("marker", same)
    story.clear()
    result = story.tried(try_number=2)
    assert result["import_id"] == imported["id"]
    assert len(story.imports()) == 1
    story.each_line_once()


def test_a_batch_is_not_run_again_unasked(tell: Tell, rename: Rename) -> None:
    """Nothing on the platform names the task that ran it: the old name's XCom tells, and from Airflow 3.4 on its copies."""
    story: BatchRunStory = tell("cleared_run")
    story.dag_id, story.course = "renamed_batch_run", {}
    rename(story, "old_run")
    story.begin()
    first = story.tried()

    rename(story, "run")
    whole_run(story)
    story.wait("the renamed task", lambda: ("run", -1) in story.api.states(story.dag_id, story.run_id))
    story.tried("failed")
    asked = f"task 'old_run' worked on batch instance {story.instance}, and is not in the DAG any more"
    assert asked in story.log()
    assert story.statuses() == ["SUCCEEDED"]

    story.clear()
    second = story.tried(try_number=2)
    assert [first["execution_id"], second["execution_id"]] == [one["id"] for one in story.executions()]


def _names(story: TaskRun) -> list[str]:
    return [one["task_id"] for one in story.api.call("GET", f"/dags/{story.dag_id}/tasks")["tasks"]]
