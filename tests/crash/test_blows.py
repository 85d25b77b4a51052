"""Blow after blow at no chosen instant: kill, lose the supervisor, clear, mark failed and clear at once."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from story import Story

from airflow_api import AirflowApiError

Tell = Callable[[str], Story]

BLOWS = 4


def kill(story: Story, pid: int) -> None:
    story.kill(pid)


def kill_with_supervisor(story: Story, pid: int) -> None:
    supervisor = story.supervisor(pid)
    story.kill(supervisor)


def clear(story: Story, pid: int) -> None:
    story.clear()


def mark_failed_and_clear(story: Story, pid: int) -> None:
    story.mark_failed()
    story.clear()


def blow_after_blow(tell: Tell, *, seed: int, dag_id: str) -> None:
    dice = random.Random(seed)
    story = tell(dag_id)
    story.write(300)
    # Every answer is late, so that blows meet every state of a part.
    story.fault("slow", times=None, answer_delay=0.7)
    story.fault("slow", "creation", times=None, answer_delay=0.7)
    story.begin(max_part_bytes="8000", settle="3")
    for _ in range(BLOWS):
        story.going_again()
        time.sleep(dice.uniform(1.0, 8.0))
        task = story.task()
        if task["state"] == "success":
            break  # cleared now, it would import again
        weights = {"running": [4, 1, 2, 2]}.get(task["state"], [0, 0, 1, 1])
        blow = dice.choices([kill, kill_with_supervisor, clear, mark_failed_and_clear], weights)[0]
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, AirflowApiError):
            blow(story, task["pid"])
    story.going_again()
    story.ends_well()


BLOW_AFTER_BLOW = {
    f"{dag_id}, seed {seed}": functools.partial(blow_after_blow, seed=seed, dag_id=dag_id)
    for seed, dag_id in ((1, "crash_quick"), (3, "crash_deferred"))
}


@pytest.mark.slow  # chosen instants are in every run, and `make crash` has all of them
@pytest.mark.parametrize("scenario", BLOW_AFTER_BLOW.values(), ids=BLOW_AFTER_BLOW)
def test_each_line_once_after(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)
