"""What a try may still do: a newer one exists, a person stops or clears it, or its clock has not begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from one_task import MemoryStore, importing, once, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.runs.failures import TaskStopped


class SupersededAfterCommit(MemoryStore):
    """A newer try takes over as soon as a commit has been written."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value, retention=retention)
        self.refused = "'commit'" in str(value)


def test_a_superseded_try_cancels_nothing_that_it_cannot_match(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """What a newer try sends is unmatched, too, in the older one's eyes."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.settings(start_delay=1000)
    emulator.fault("lost_answer", path=r"/executions$", method="POST", times=1)
    store = SupersededAfterCommit()
    one = task(importing(source), store)
    with pytest.raises(AirflowException, match="a newer try exists"):
        one.run()
    (made,) = emulator.imports()
    assert [each["status"] for each in emulator.executions(made["id"])] == ["PENDING"]
    one.store = MemoryStore()
    one.store.values = store.values
    emulator.settings(start_delay=0)
    assert one.run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)


def test_a_superseded_try_cancels_nothing_at_its_deadline(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.settings(start_delay=1000)

    class SupersededOnceSent(MemoryStore):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            super().set(key, value, retention=retention)
            self.refused = "'sent'" in str(value)

    one = task(importing(source), SupersededOnceSent())
    with pytest.raises(AirflowException, match="a newer try exists"):
        one.run_past_deadline()
    (made,) = emulator.imports()
    assert [each["status"] for each in emulator.executions(made["id"])] == ["PENDING"]


def test_without_a_marker_a_clear_is_the_answer(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """The message sends a person to look and to clear; the clear must then do something."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.fault("lost_answer", path=r"/document_imports$", method="POST", times=1)
    one = task(importing(source, sending=SendingOptions(name_marker=False, settle=0.2)))
    for _ in range(2):
        with pytest.raises(AirflowException, match="then clear this task"):
            one.run()
    one.clear()
    assert one.run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)


def test_waiting_for_a_source_costs_no_time_of_the_work(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """The deadline counts from the first submission, not from the first try that found no file."""
    source = tmp_path / "profiles.ndjson"
    one = task(importing(source, timeout=3600))
    with pytest.raises(AirflowException, match="no such file"):
        one.run()
    stored = one.store.get("g1.started")
    one.store.set("g1.started", {**stored, "at": stored["at"] - 7200})  # two hours of retries ago
    lines = write_profiles(source, 10)
    result = one.run()
    assert emulator.held() == once(lines)
    assert result["seconds"] < 3600


def test_stopped_before_the_first_call_of_a_try(
    emulator: Emulator, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cancels then was prepared before: a connection may not be read any more, its lock may be held."""
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.settings(start_delay=1000)
    one = task(importing(source, cancel_on_kill=False, datamart_id=emulator.datamart_id))
    with pytest.raises(AirflowException, match="Still running"):
        one.run_past_deadline()

    class StoppedAtTheImport(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            monkeypatch.delenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT")
            one.operator.on_kill()

    one.pushed = StoppedAtTheImport()
    one.make = importing(source, datamart_id=emulator.datamart_id)
    with pytest.raises(TaskStopped):
        one.run()
    (made,) = emulator.imports()
    assert [each["status"] for each in emulator.executions(made["id"])] == ["CANCELED"]
