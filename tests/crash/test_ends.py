"""After an end was recorded: what a retry, a clear of a success and a clear of a failed judgement do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest
from story import Story

Tell = Callable[[str], Story]


def clear_after_success_imports_again(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin()
    first = story.ends_well()
    story.clear_success()
    story.wait_for("running", "success", try_number=2)
    second = story.ends()
    former, now = story.imports()
    assert (first["import_id"], second["import_id"]) == (former["id"], now["id"])
    story.each_line_once(times=2)
    assert set(story.held(now["id"]).values()) == {1}
    assert story.state()["generation"] == {"number": 2}
    # The former import is named.
    assert former["id"] in story.api.log(story.dag_id, story.run_id, "load", try_number=2)


def retry_after_the_end_returns_it(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="after end")
    pid = story.stopped()
    recorded = story.state()["g1.end"]
    before = len(story.calls())
    story.kill(pid)
    result = story.ends_well()
    assert story.task()["try_number"] == 2
    assert recorded["good"]
    assert result == recorded["result"]
    assert len(story.calls()) == before


def cleared_before_airflow_heard_of_the_end(tell: Tell) -> None:
    """What Airflow shows as failed was no success for anyone: a clear goes on, and imports nothing again."""
    story = tell("crash_quick")
    story.write()
    story.begin(stop="after end")
    pid = story.stopped()
    recorded = story.state()["g1.end"]
    story.mark_failed()
    story.wait("the try to end", lambda: not psutil.pid_exists(pid))
    assert story.api.wait_for_run(story.dag_id, story.run_id) == "failed"
    story.clear()
    story.wait_for("success", try_number=2)
    assert story.ends_well() == recorded["result"]
    story.clear_success()
    story.wait_for("success", try_number=3)
    story.ends()
    assert len(story.imports()) == 2
    story.each_line_once(times=2)


def killed_in_execute_complete(tell: Tell) -> None:
    story = tell("crash_deferred")
    story.write()
    story.begin(stop="before end")
    story.wait_for("deferred")
    story.wait("the parts", lambda: set(story.parts()) == {"sent"})
    parts = len(story.parts())
    story.finish_executions()
    # The end is recorded by execute_complete alone.
    pid = story.stopped()
    story.kill(pid)
    result = story.ends_well()
    assert story.task()["try_number"] == 2
    assert len(story.uploads()) == result["parts"] == parts


def failed_judgement_and_looser_limit(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    path = story.folder / "lines.ndjson"
    path.write_text(path.read_text() + f"{story.bad_line()}\n" * 3)
    variable = f"max_failures_{story.run_id}"
    story.api.set_variable(variable, "2")
    # Unchecked, so that the platform is the one that refuses three lines.
    story.begin(check="false", limit_variable=variable)
    story.ends("failed")
    assert story.task()["try_number"] == 1, "a retry cannot change a judgement"
    assert not story.state()["g1.end"]["good"]
    uploads = len(story.uploads())
    story.each_line_once()

    story.clear()
    story.wait_for("failed", try_number=2)
    assert "max_failures=2" in story.api.log(story.dag_id, story.run_id, "load", try_number=2)
    # Airflow writes a run's end after its task's; written after a clear, it would leave the task without a try.
    assert story.api.wait_for_run(story.dag_id, story.run_id) == "failed"

    story.api.set_variable(variable, "3")
    story.clear()
    story.wait_for("success", try_number=3)
    result = story.ends()
    assert (result["lines_accepted"], result["lines_failed"]) == (len(story.lines), 3)
    assert len(story.uploads()) == uploads == result["parts"]
    assert len(story.imports()) == 1
    story.each_line_once()


ENDS = [
    killed_in_execute_complete,
    failed_judgement_and_looser_limit,
    cleared_before_airflow_heard_of_the_end,
    clear_after_success_imports_again,
    retry_after_the_end_returns_it,
]
# test_clears.py has it, after a clear in mid-import.
_TOLD_ON_NEXT = clear_after_success_imports_again


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, marks=pytest.mark.told_on_next) if one is _TOLD_ON_NEXT else one for one in ENDS],
)
def test_end(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
