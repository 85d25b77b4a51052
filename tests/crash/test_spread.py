"""A source spread over three tasks, of which one is killed, stopped or cleared: each line is held exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from story import Story
from task_run import ONE_WRITER

Tell = Callable[[str], Story]

SEND = "load.send"
INDEXES = (0, 1, 2)


def tries(story: Story) -> list[int]:
    return [story.api.task(story.dag_id, story.run_id, SEND, index)["try_number"] for index in INDEXES]


def states(story: Story) -> list[str | None]:
    found = story.api.states(story.dag_id, story.run_id)
    return [found.get((SEND, index)) for index in INDEXES]


def wait_for(story: Story, index: int, *wanted: str, try_number: int = 0) -> dict[str, Any]:
    story.wait("the groups to be known", lambda: states(story)[index] is not None)
    found: dict[str, Any] = story.api.wait_for_task(
        story.dag_id, story.run_id, SEND, wanted, map_index=index, try_number=try_number, timeout=240.0
    )
    return found


def one_import_a_group(story: Story) -> dict[str, Any]:
    """The run succeeds; the sum over all imports closes; each line is held once."""
    assert story.api.wait_for_run(story.dag_id, story.run_id) == "success", states(story)
    story.each_line_once()
    result = story.api.xcom(story.dag_id, story.run_id, "load.judge")
    assert result["lines_read"] == result["lines_accepted"] == len(story.lines)
    assert sorted(result["import_ids"]) == sorted(one["id"] for one in story.imports())
    assert len(result["import_ids"]) == len(INDEXES)
    assert len(result["execution_ids"]) == result["parts"] == story.statuses()["SUCCEEDED"]
    return result


def let_all_end(story: Story) -> None:
    """Let the platform run everything, once all groups are sent."""

    def look() -> bool:
        if set(states(story)) <= {"deferred", "success"}:
            story.finish_pending()
        return states(story) == ["success"] * len(INDEXES)

    story.wait("all groups to be imported", look)


def one_killed_in_the_middle_of_a_body(tell: Tell) -> None:
    story = tell("crash_spread")
    story.write(6_000, size=2_000)
    # The first upload of each group; a second one of the group that is killed goes at full speed.
    story.fault("slow", times=3, bytes_per_second=200_000)
    story.begin(max_part_bytes="16000000")

    def in_mid_body() -> list[dict[str, Any]]:
        made = [one["id"] for one in story.imports() if " (2 of 3) " in one["name"]]
        return [
            one
            for one in story.uploads()
            if one["body_bytes"] > 100_000
            and not one["done"]
            and any(f"/{id_}/" in one["path"] for id_ in made)
        ]

    story.wait("a POST of the second group under way", in_mid_body)
    story.kill(wait_for(story, 1, "running")["pid"])
    one_import_a_group(story)
    assert tries(story) == [1, 2, 1]
    assert story.cuts().count("client") == 1


def one_killed_between_last_block_and_record(tell: Tell) -> None:
    story = tell("crash_spread")
    story.write(900)
    story.begin(stop="before sent 1", stop_index=2, max_part_bytes="12000")
    pid = story.stopped()
    for index in (0, 1):
        wait_for(story, index, "success")
    story.kill(pid)
    result = one_import_a_group(story)
    assert tries(story) == [1, 1, 2]
    # It was found, not sent again.
    assert len(story.uploads()) == result["parts"]


def one_of_three_deferred_killed_at_its_commit(tell: Tell) -> None:
    story = tell("crash_spread_deferred")
    story.write(900)
    story.begin(stop="after commit 1", stop_index=0, max_part_bytes="12000")
    pid = story.stopped()
    for index in (1, 2):
        wait_for(story, index, "deferred")
    story.kill(pid)
    wait_for(story, 0, "deferred", try_number=2)
    let_all_end(story)
    one_import_a_group(story)
    assert tries(story) == [2, 1, 1]
    assert story.cuts().count("client") == 1


def one_of_three_marked_failed_and_cleared(tell: Tell) -> None:
    story = tell("crash_spread_deferred")
    story.write(900)
    story.begin(max_part_bytes="12000")
    for index in INDEXES:
        wait_for(story, index, "deferred")
    before = len(story.looks())
    story.wait("the triggers to look", lambda: len(story.looks()) >= before + 2 * len(INDEXES))
    with ONE_WRITER:
        story.api.set_task_state(story.dag_id, story.run_id, SEND, "failed", map_index=1)
    (theirs,) = [one for one in story.imports() if " (2 of 3) " in one["name"]]

    def ended() -> set[str]:
        return {one["status"] for one in story.emulator.executions(theirs["id"])}  # type: ignore[attr-defined]

    story.wait("its executions to be cancelled", lambda: ended() == {"CANCELED"})
    others = [one for one in story.imports() if one["id"] != theirs["id"]]
    left = {
        one["status"]
        for each in others
        for one in story.emulator.executions(each["id"])  # type: ignore[attr-defined]
    }
    assert left == {"PENDING"}
    with ONE_WRITER:
        story.api.clear(story.dag_id, story.run_id, (SEND, 1), downstream=True)
    wait_for(story, 1, "deferred", try_number=2)
    let_all_end(story)
    one_import_a_group(story)


@pytest.mark.parametrize(
    "scenario",
    [
        one_killed_in_the_middle_of_a_body,
        one_killed_between_last_block_and_record,
        one_of_three_deferred_killed_at_its_commit,
        one_of_three_marked_failed_and_cleared,
    ],
)
def test_each_line_once_after(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
