"""Clears of what is no import of its own: the record is found again, nothing is lost, nothing is done twice unasked.

From Airflow 3.4 on a clear deletes the task's state; what was begun is found in its copy (ARCHITECTURE.md section 5.9).
Every way of clearing is played with imports (``test_clears.py``); here are the page's and that of its list.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from clearing import deletes_state, list_of_tasks, page
from import_story import ImportStory
from kind_stories import RECORDS, ApplyStory, BatchRunStory, CentrapayStory, DelegatedStory

Tell = Callable[[str], Any]
pytestmark = pytest.mark.slow


def killed(story: Any, stop: str) -> None:
    """Begin a run whose task is killed at a write, and has no retry."""
    story.begin(stop=stop)
    story.kill(story.stopped())
    story.tried("failed")


def cleared(story: Any, clear: Callable[[Any], None] = page, expected: str = "success") -> dict[str, Any]:
    """Clear the task, wait for the try's end, and return its result.

    Where this Airflow deletes the state of a task that is cleared, it did.
    """
    if story.task()["state"] == "success" and not isinstance(story, ApplyStory):
        story.known_success()
    before, number = story.state(), story.task()["try_number"]
    clear(story)
    result = story.tried(expected, try_number=number + 1)
    if deletes_state(story) and "copies" in before:
        # The header is written anew: the record was read from the copy.
        assert story.state()["copies"] != before["copies"]
    return dict(result)


def cleared_while_deferred(story: Any) -> None:
    """Begin a run, clear its task while its trigger waits, and wait until the next try is deferred and the old trigger over."""
    story.begin()
    story.wait_for("deferred")
    before = story.looks()
    story.wait("the trigger to look", lambda: story.looks() > before)
    page(story)
    story.wait_for("deferred", try_number=2)
    story.wait("the old trigger to end", story.old_trigger_is_over)


def kept(story: Any, result: dict[str, Any]) -> None:
    """A clear of the success returns its result once a person has chosen so."""
    story.choose("on_clear", "keep")
    assert cleared(story) == result


# Uploads into an import that was given from outside: no marker tells whose an execution is.


def an_upload(tell: Tell) -> None:
    story: ImportStory = tell("cleared_upload")
    story.write()
    killed(story, "before commit 2")
    assert len(story.executions()) == 2
    first = cleared(story)
    story.each_line_once()
    assert len(story.executions()) == first["parts"]
    second = cleared(story, list_of_tasks)
    story.each_line_once(times=2)
    assert second["import_id"] == first["import_id"] == story.imports()[0]["id"]
    assert len(story.imports()) == 1
    kept(story, second)
    story.each_line_once(times=2)


def an_upload_that_failed_lines(tell: Tell) -> None:
    """A failed judgement is judged again by today's limit, and nothing is sent for that."""
    story: ImportStory = tell("cleared_upload")
    story.write()
    with (story.folder / "lines.ndjson").open("a") as source:
        source.write(story.bad_line() + "\n")
    story.begin(check="false")
    story.tried("failed")
    sent = len(story.uploads())
    cleared(story, expected="failed")
    story.choose("max_failures", "1")
    result = cleared(story, list_of_tasks)
    assert (result["lines_accepted"], result["lines_failed"]) == (len(story.lines), 1)
    assert len(story.uploads()) == sent
    held = story.held()
    assert {held[line] for line in story.lines} == {1}


# Batch runs.


def a_batch_run(tell: Tell) -> None:
    story: BatchRunStory = tell("cleared_run")
    killed(story, "before execution id")
    assert story.statuses() == ["PENDING"]
    story.course = {}
    first = cleared(story)
    (made,) = story.executions()
    assert (first["execution_id"], first["status"]) == (made["id"], "SUCCEEDED")
    second = cleared(story, list_of_tasks)
    assert [first["execution_id"], second["execution_id"]] == [one["id"] for one in story.executions()]
    kept(story, second)
    assert story.statuses() == ["SUCCEEDED", "SUCCEEDED"]


def a_batch_run_that_waits(tell: Tell) -> None:
    """Cleared while it waits in the triggerer: the new try waits for the same execution, and nobody cancels it."""
    story: BatchRunStory = tell("cleared_deferred_run")
    cleared_while_deferred(story)
    assert story.statuses() == ["PENDING"]
    story.course = {}
    result = story.tried(try_number=2)
    assert [result["execution_id"]] == [one["id"] for one in story.executions()]


def a_batch_run_that_failed(tell: Tell) -> None:
    """Failed work is done again, a failed judgement is judged again."""
    story: BatchRunStory = tell("cleared_run")
    story.course = {"fate": "failed"}
    story.begin()
    story.tried("failed")
    story.course = {"tasks": 10, "erroneous": 2}
    cleared(story, expected="failed")
    assert story.statuses() == ["FAILED", "SUCCEEDED"]
    story.choose("max_failures", "2")
    result = cleared(story, list_of_tasks)
    assert result["tasks_failed"] == 2
    assert story.statuses() == ["FAILED", "SUCCEEDED"]


# Centrapay batches: no list, no key. A POST whose fate is unknown is not forgotten.


def a_post_of_unknown_fate(tell: Tell) -> None:
    story: CentrapayStory = tell("cleared_centrapay")
    story.write()
    killed(story, "before batch id")
    assert len(story.made()) == 1
    for clear in page, list_of_tasks:
        cleared(story, clear, expected="failed")
        assert len(story.made()) == 1
        log = story.log_of(story.task()["try_number"])
        assert "a batch may exist" in log
        assert "get_asset_by_external_id('farmlands.nzd.main', externalId)" in log
    assert story.loads() == [1, 1, 1]
    story.choose("repeat_lost_post", "true")
    result = cleared(story)
    assert story.made()[1:] == [result["batch_id"]]


def a_centrapay_batch(tell: Tell) -> None:
    story: CentrapayStory = tell("cleared_centrapay")
    story.write()
    killed(story, "after batch id")
    first = cleared(story)
    assert story.made() == [first["batch_id"]]
    assert story.loads() == [1, 1, 1]
    second = cleared(story, list_of_tasks)
    assert story.made() == [first["batch_id"], second["batch_id"]]
    kept(story, second)
    assert story.loads() == [2, 2, 2]
    assert len(story.made()) == 2


def a_centrapay_batch_that_failed(tell: Tell) -> None:
    """Nothing was processed: a clear creates another. Records were refused: a clear judges them again."""
    story: CentrapayStory = tell("cleared_centrapay")
    story.begin()
    story.tried("failed")
    assert "404" in story.log() or "fetch" in story.log()
    story.write(bad=1)
    cleared(story, expected="failed")
    assert len(story.made()) == 2
    story.choose("max_failures", "1")
    result = cleared(story, list_of_tasks)
    assert (result["lines_accepted"], result["lines_failed"]) == (3, 1)
    assert story.made()[1:] == [result["batch_id"]]
    assert story.loads() == [1, 1, 1]


# Extract/load.


def an_apply(tell: Tell) -> None:
    """An apply keeps no record: each try reads what is there, so a clear after anything writes what is missing."""
    story: ApplyStory = tell("cleared_apply")
    fault = story.extract_load.emulator.fault
    # The third write begins, and nobody hears how it ends.
    fault("slow", path=r"products\.json", method="POST", answer_delay=600, skip=2, times=1)
    story.put(*range(12))
    story.begin()
    story.wait("the third write", lambda: len(story.held()) == 3)
    os.kill(story.stack.task_processes(story.dag_id, story.run_id, "load").child, signal.SIGKILL)
    story.tried("failed")
    result = cleared(story)
    assert story.held() == dict.fromkeys(map(str, range(12)), 1)
    assert result["created"] == 9

    story.put(*range(12, 15))
    story.extract_load.fail(side="destination", object="products", verb="POST", status=500)
    number = story.task()["try_number"]
    # All tasks of the run, as a person clears who wants today's records.
    story.api.clear(story.dag_id, story.run_id)
    story.tried("failed", try_number=number + 1)
    cleared(story, list_of_tasks)
    assert story.held() == dict.fromkeys(map(str, range(15)), 1)

    written = story.writes()
    result = cleared(story)
    assert (result["created"], result["updated"], result["unchanged"]) == (0, 0, 15)
    assert story.writes() == written


def a_delegated_batch(tell: Tell) -> None:
    story: DelegatedStory = tell("cleared_delegated")
    killed(story, "before batch id")
    assert len(story.made()) == 1
    first = cleared(story)
    assert story.made() == [first["batch_id"]]
    second = cleared(story, list_of_tasks)
    assert story.made() == [first["batch_id"], second["batch_id"]]
    kept(story, second)
    assert len(story.made()) == 2
    assert set(story.held().values()) == {1}


def a_delegated_batch_that_waits(tell: Tell) -> None:
    """Cleared while it waits in the triggerer: the new try waits for the same batch."""
    story: DelegatedStory = tell("cleared_deferred_delegated")
    cleared_while_deferred(story)
    assert len(story.made()) == 1
    story.finish()
    result = story.tried(try_number=2)
    assert story.made() == [result["batch_id"]]
    assert story.held() == {"0": 1, "1": 1, "2": 1}


def a_delegated_batch_that_failed(tell: Tell) -> None:
    story: DelegatedStory = tell("cleared_delegated")
    story.jobs = ("Customer", "customers")
    story.extract_load.fail(side="source", object="Customer", page=1)
    story.begin()
    story.tried("failed")
    result = cleared(story)
    assert story.made()[1:] == [result["batch_id"]]
    assert len(story.made()) == 2
    assert story.held() == {"0": 1, "1": 1, "2": 1}


def documents_of_records(tell: Tell) -> None:
    """The lines that were made once stay the import's lines, whatever the source says by then."""
    story: ImportStory = tell("cleared_documents")

    def held() -> Counter[str]:
        return Counter(json.loads(line)["user_account_id"] for line in story.held().elements())

    story.begin(stop="before commit 2", max_part_bytes="1500")
    story.kill(story.stopped())
    story.tried("failed")
    assert len(story.executions()) == 2
    first = cleared(story)
    assert held() == dict.fromkeys(RECORDS, 1)
    assert len(story.executions()) == first["parts"] > 2
    assert len(story.imports()) == 1
    second = cleared(story, list_of_tasks)
    assert held() == dict.fromkeys(RECORDS, 2)
    assert [first["import_id"], second["import_id"]] == [one["id"] for one in story.imports()]
    kept(story, second)
    assert len(story.imports()) == 2
    assert held() == dict.fromkeys(RECORDS, 2)


@pytest.mark.parametrize(
    "scenario",
    [
        documents_of_records,
        an_apply,
        a_post_of_unknown_fate,
        an_upload,
        a_batch_run,
        a_centrapay_batch,
        a_delegated_batch,
        an_upload_that_failed_lines,
        a_batch_run_that_failed,
        a_centrapay_batch_that_failed,
        a_batch_run_that_waits,
        a_delegated_batch_that_waits,
        a_delegated_batch_that_failed,
    ],
)
def test_cleared(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
