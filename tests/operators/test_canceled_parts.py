"""Parts whose executions were cancelled, by somebody or by the task itself."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from one_task import importing, profile

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook


def test_cancelled_too_often(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Somebody cancels on the platform whatever the task sends."""
    path = tmp_path / "profiles.ndjson"
    path.write_text(profile(1))
    emulator.settings(start_delay=1000)
    hook, over = MediarithmicsHook(), threading.Event()

    def cancel_all() -> None:
        while not over.wait(0.1):
            for one in emulator.imports():
                for execution in emulator.executions(one["id"]):
                    if execution["status"] == "PENDING":
                        hook.cancel_execution(str(one["id"]), execution["id"])

    somebody = threading.Thread(target=cancel_all)
    somebody.start()
    try:
        with pytest.raises(
            AirflowException, match=r"Part 1 .* ended CANCELED 4 times: executions \d+, \d+, \d+, \d+"
        ):
            task(importing(path)).run()
    finally:
        over.set()
        somebody.join()


def test_what_the_task_itself_cancelled_is_sent_again_however_often(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    path = tmp_path / "profiles.ndjson"
    path.write_text(profile(1))
    emulator.settings(start_delay=1000)
    one = task(importing(path))
    for _ in range(6):
        with pytest.raises(AirflowException, match="was not over"):
            one.run_past_deadline()
        one.store.values = {
            key: value for key, value in one.store.values.items() if not key.endswith("started")
        }
    (imported,) = emulator.imports()
    assert [each["status"] for each in emulator.executions(imported["id"])] == ["CANCELED"] * 6


def test_what_an_earlier_trigger_cancels_late_is_sent_again_however_often(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """A cancel of an earlier try's end may still be under way when a person has cleared the task, and the new try waits."""
    path = tmp_path / "profiles.ndjson"
    path.write_text(profile(1))
    emulator.settings(start_delay=1000)
    one, hook = task(importing(path, deferrable=True)), MediarithmicsHook()
    for _ in range(6):
        with pytest.raises(TaskDeferred):
            one.run()
        (imported,) = emulator.imports()
        hook.cancel_execution(str(imported["id"]), emulator.executions(imported["id"])[-1]["id"])
        one.try_number -= 1  # called back
        with pytest.raises(TaskDeferred):
            one.run()
    statuses = [each["status"] for each in emulator.executions(imported["id"])]
    assert statuses == ["CANCELED"] * 6 + ["PENDING"]
