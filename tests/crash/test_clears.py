"""Every way to clear a task means the same, also where it deletes the task's state (Airflow 3.4; airflow.md section 9.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clearing import api_defaults, keeping_the_state, list_of_tasks, page, whole_run
from story import Story

from airflow_bulk.runs.record_copy import clears_discard

Tell = Callable[[str], Story]
Clear = Callable[[Story], None]


def unfinished_then_success(clear: Clear) -> Callable[[Tell], None]:
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


def deferred(clear: Clear) -> Callable[[Tell], None]:
    """Cleared while it waits in the triggerer: the new try waits for the same executions."""

    def scenario(tell: Tell) -> None:
        story = tell("crash_deferred")
        story.write()
        story.begin()
        story.deferred()
        parts = len(story.parts())
        clear(story)
        story.wait_for("deferred", try_number=2)
        story.wait("the old trigger to end", story.old_trigger_is_over)
        assert story.statuses() == {"PENDING": parts}
        result = story.ends_well()
        assert story.statuses() == {"SUCCEEDED": result["parts"]}
        assert len(story.uploads()) == parts == result["parts"]

    return scenario


#: Where a clear keeps the state, as on Airflow 3.3, these send what ``page`` sends.
LATER_WAYS = [list_of_tasks, keeping_the_state] if clears_discard() else []
WAYS = [api_defaults, page, *LATER_WAYS, whole_run]


def _each(story: Callable[[Clear], Any], ways: list[Clear], short: list[Clear]) -> list[Any]:
    """The story of each way of clearing.

    :param short: the ways that ``make test-next`` plays.
    """
    marks = pytest.mark.told_on_next
    return [pytest.param(story(way), id=way.__name__, marks=() if way in short else marks) for way in ways]


# By the instance, with the box, by the run: an Airflow may treat each in another way. By the task's name clears test_deferred.
@pytest.mark.parametrize("scenario", _each(unfinished_then_success, WAYS, [*LATER_WAYS, whole_run]))
def test_unfinished_then_success(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)


# A whole run cannot be cleared while it runs.
WAYS_WHILE_DEFERRED = [page, *LATER_WAYS[:1]]


@pytest.mark.parametrize("scenario", _each(deferred, WAYS_WHILE_DEFERRED, [page]))
def test_deferred(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)


def mapped_over_a_task(clear: Clear) -> Callable[[Tell], None]:
    """One of two mapped imports is cut, then both are cleared, alone or with the task that lists their sources."""

    def scenario(tell: Tell) -> None:
        story = tell("crash_mapped_sources")
        story.write(name="lines.0.ndjson")
        story.write(300, name="lines.1.ndjson")
        story.begin(stop="before commit 2", stop_index=0)
        pid = story.stopped()
        story.api.wait_for_task(story.dag_id, story.run_id, "load", {"success"}, map_index=1)
        first = story.api.xcom(story.dag_id, story.run_id, "load", map_index=1)

        def known() -> bool:
            state = story.api.task_state(story.dag_id, story.run_id, "load", map_index=1)
            return bool(state["g1.end"]["known"])

        # Cleared before that, it would be no success yet, and import nothing again.
        story.wait("the success to be recorded as known", known)
        story.kill(pid)
        assert story.api.wait_for_run(story.dag_id, story.run_id) == "failed"
        clear(story)
        assert story.api.wait_for_run(story.dag_id, story.run_id) == "success"
        second = story.api.xcom(story.dag_id, story.run_id, "load", map_index=1)
        cut = story.api.xcom(story.dag_id, story.run_id, "load", map_index=0)
        # The one that was cut goes on; the success is imported again.
        made = {one["id"] for one in story.imports()}
        assert made == {first["import_id"], second["import_id"], cut["import_id"]} and len(made) == 3
        held = story.held()
        lines = [set((story.folder / f"lines.{number}.ndjson").read_text().splitlines()) for number in (0, 1)]
        assert [{held[line] for line in each} for each in lines] == [{1}, {2}]

    return scenario


@pytest.mark.parametrize("scenario", _each(mapped_over_a_task, [page, whole_run], [whole_run]))
def test_mapped_over_a_task(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
