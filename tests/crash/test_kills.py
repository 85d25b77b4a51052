"""SIGKILL at the worst instants of a sending: each line is held exactly once, and nothing stays PENDING."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest
from story import Story

Tell = Callable[[str], Story]


def between_commit_and_last_block(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="after commit 1")
    pid = story.stopped()
    assert story.parts()[:3] == ["sent", "commit", "checked"]
    story.kill(pid)
    story.ends_well()
    # The body without its last block was no request.
    assert story.cuts().count("client") == 1


def between_last_block_and_record(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="before sent 1")
    pid = story.stopped()
    assert len(story.executions()) == 2
    assert story.parts()[:2] == ["sent", "commit"]
    story.kill(pid)
    result = story.ends_well()
    # It was found, not sent again.
    assert len(story.uploads()) == result["parts"]


def between_last_block_and_record_while_pending(tell: Tell) -> None:
    story = tell("crash_waiting")
    story.write()
    story.begin(stop="before sent 1")
    story.kill(story.stopped())
    story.ends_well()
    # PENDING took no line: it was cancelled, and the part sent again.
    assert story.statuses()["CANCELED"] == 1


def between_last_block_and_record_of_two_children(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="before sent 2", workers="2")
    story.kill(story.stopped())
    result = story.ends_well()
    # Their line counts tell which part is which.
    assert len([one for one in story.uploads() if one["status"] == 200]) == result["parts"]


def while_parts_leave_as_soon_as_they_are_checked(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write(1000)
    story.begin(stop="before sent 1", overlap="true")
    pid = story.stopped()
    recorded = len(story.parts())
    story.kill(pid)
    result = story.ends_well()
    # The rest of the source had not been read yet.
    assert len(story.uploads()) == result["parts"] > recorded


def create_before_its_answer(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.fault("slow", "creation", answer_delay=30.0)
    story.begin()
    story.wait("the import", story.imports)
    assert not [one for one in story.creations() if one["done"]]
    story.kill(story.wait_for("running")["pid"])
    story.ends_well()
    assert len(story.creations()) == 1


def create_between_answer_and_record(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="before import id")
    pid = story.stopped()
    assert len(story.imports()) == 1
    story.kill(pid)
    story.ends_well()
    assert len(story.creations()) == 1


def create_before_its_post(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="after import intent")
    story.kill(story.stopped())
    story.ends_well()


def supervisor_alone_and_the_orphan_sends_on(tell: Tell) -> None:
    story = tell("crash_orphan")
    story.write(4_000, size=4_000)
    story.fault("slow", bytes_per_second=1_000_000)
    story.begin(max_part_bytes="9000000", stop="before commit 0")
    upload = story.wait("the POST", lambda: [one for one in story.uploads() if one["body_bytes"] > 500_000])
    assert not upload[0]["done"]
    orphan = story.wait_for("running")["pid"]
    story.kill(story.supervisor(orphan))
    # The orphan comes to its last block by itself, and waits there until the next try has sent everything.
    assert story.stopped() == orphan
    result = story.ends_well()
    assert psutil.pid_exists(orphan)
    assert [one["done"] for one in story.uploads()].count(False) == 1
    story.go()
    story.wait("the orphan to end", lambda: not psutil.pid_exists(orphan))
    story.wait("its body to be cut", lambda: all(one["done"] for one in story.uploads()))
    assert story.cuts().count("client") == 1
    story.each_line_once()
    assert len(story.executions()) == result["parts"]


def supervisor_alone_and_the_task_with_it(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.begin(stop="before commit 1")
    task = psutil.Process(story.stopped())
    story.kill(story.supervisor(task.pid))
    # It stands where nobody lets it go: only the kernel can end it.
    gone, _ = psutil.wait_procs([task], timeout=30)
    assert gone
    result = story.ends_well()
    assert story.cuts().count("client") == 1
    assert len(story.executions()) == result["parts"]


def parent_of_two_sending_children(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write(12_000, size=4_000)
    story.fault("slow", times=2, bytes_per_second=300_000)
    story.begin(max_part_bytes="16000000", workers="2")

    def in_mid_body() -> list[dict[str, Any]]:
        return [one for one in story.uploads() if one["body_bytes"] > 100_000 and not one["done"]]

    story.wait("two POSTs under way", lambda: len(in_mid_body()) == 2)
    parent = story.wait_for("running")["pid"]
    children = psutil.Process(parent).children()
    assert len(children) == 2
    story.kill(parent)
    psutil.wait_procs(children, timeout=10)
    assert not [one for one in children if one.is_running()]
    result = story.ends_well()
    assert story.cuts() == ["client", "client", *[None] * result["parts"]]


def answer_lost_and_the_execution_late(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.fault("late", seconds=3.0, skip=1)
    story.begin()
    result = story.ends_well()
    assert story.task()["try_number"] == 1
    assert len(story.uploads()) == result["parts"]


def killed_while_the_execution_is_late_and_retried_at_once(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.fault("late", seconds=6.0, skip=1)
    story.begin(settle="8")
    story.wait("the lost answer", lambda: [one for one in story.uploads() if "late" in one["faults"]])
    story.kill(story.wait_for("running")["pid"])
    result = story.ends_well()
    assert story.task()["try_number"] == 2
    assert len(story.uploads()) == result["parts"]


KILLS = [
    supervisor_alone_and_the_orphan_sends_on,
    supervisor_alone_and_the_task_with_it,
    parent_of_two_sending_children,
    between_commit_and_last_block,
    between_last_block_and_record,
    between_last_block_and_record_while_pending,
    between_last_block_and_record_of_two_children,
    while_parts_leave_as_soon_as_they_are_checked,
    create_before_its_post,
    create_before_its_answer,
    create_between_answer_and_record,
    answer_lost_and_the_execution_late,
    killed_while_the_execution_is_late_and_retried_at_once,
]


@pytest.mark.parametrize("scenario", KILLS)
def test_each_line_once_after(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
