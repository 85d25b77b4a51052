"""A task gets another name between its failure and the clear: to Airflow it is another task, whose record is empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clearing import whole_run
from import_story import ImportStory

Tell = Callable[[str], Any]

DAG_ID = "renamed_import"
SOURCE = '''"""An import whose task is renamed by a test."""

import stopping
from airflow.sdk import DAG

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.document_import import ImportDocumentsOperator


class StoppingImport(stopping.Stopping, ImportDocumentsOperator):
    """The nightly import."""


with DAG("{dag_id}", schedule=None, params={{**stopping.PARAMS, "datamart_id": ""}}, tags=["test"]):
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
'''


@pytest.fixture(scope="module")
def name_task(scratch_dags: Path) -> Callable[[str], None]:
    """``name_task(task_id)`` writes the DAG file with this name of its task."""

    def write(task_id: str) -> None:
        (scratch_dags / "renamed_import.py").write_text(SOURCE.format(dag_id=DAG_ID, task_id=task_id))

    return write


def test_a_person_is_asked_and_nothing_is_doubled(tell: Tell, name_task: Callable[[str], None]) -> None:
    name_task("old_load")
    story: ImportStory = tell(DAG_ID)
    story.task_id = "old_load"
    story.api.wait_for_dag(DAG_ID)
    story.api.unpause(DAG_ID)
    story.write()
    story.begin(stop="before commit 2")
    story.kill(story.stopped())
    story.tried("failed")
    assert len(story.executions()) == 2

    name_task("load")
    story.task_id = "load"
    story.wait("the new name", lambda: _names(story) == ["load"])
    whole_run(story)
    story.wait("the renamed task", lambda: ("load", -1) in story.api.states(DAG_ID, story.run_id))
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


def _names(story: ImportStory) -> list[str]:
    return [one["task_id"] for one in story.api.call("GET", f"/dags/{DAG_ID}/tasks")["tasks"]]
