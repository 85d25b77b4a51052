"""What a run tells the page: each step, at last the end; and nothing of it can end the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from airflow.sdk.log import mask_secret
from one_task import importing, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.failures import TaskStopped, TryFailed
from airflow_bulk.runs.record import LARGEST_VALUE, Record, RecordLost
from airflow_bulk.runs.shown import ShownRun
from airflow_bulk.runs.upload.run import UploadRun
from airflow_bulk.runs.upload.shown import keep_executions
from airflow_bulk.shown import ROW_KEYS

KEY = ROW_KEYS["mediarithmics"]


class Told:
    """A task instance of which only XCom is asked; each push may fail."""

    def __init__(self, *errors: Exception | None) -> None:
        self.pushed: list[tuple[str, Any]] = []
        self._errors = list(errors)

    def xcom_push(self, key: str, value: Any) -> None:
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        self.pushed.append((key, value))


def test_each_step_of_an_import(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 300, bad=(7,))
    one = task(importing(source, datamart_id=emulator.datamart_id, max_failures=1))
    steps = []
    push = one.push

    def listen(key: str, value: Any) -> None:
        push(key, value)
        if key == KEY:
            steps.append((value["phase"], value.get("lines_read"), value.get("lines_accepted")))

    one.push = listen
    result = one.run()
    assert steps == [
        ("begun", None, None),
        ("checked", 300, None),
        ("sending", 300, None),
        ("submitted", 300, None),
        ("over", 300, 299),
    ]
    row = one.shown[KEY]
    (made,) = emulator.imports()
    assert made["name"].endswith(f"[{row['marker']}]")  # from the console's name, the page leads to the task
    assert (row["id"], row["name"], row["parts"]) == (result["import_id"], "profiles", result["parts"])
    found = one.store.get("g1.found")
    assert [(line, len(reasons)) for _, line, reasons in found["first"]] == [(7, 2)]
    ends = one.store.get("g1.executions.0")
    assert [end[:2] for end in ends] == [[one_id, "SUCCEEDED"] for one_id in result["execution_ids"]]
    assert all(created <= began <= ended for *_, created, began, ended, _ in ends)


def test_a_recorded_end_is_shown_whole(
    emulator: Emulator, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry after the end opens nothing, and its XCom began empty."""
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 20)
    one = task(importing(source, datamart_id=emulator.datamart_id))
    result = one.run()
    one.shown.clear()
    assert one.run() == result
    row = one.shown[KEY]
    assert (row["phase"], row["id"], row["lines_read"], row["lines_accepted"]) == (
        "over",
        result["import_id"],
        20,
        20,
    )


def test_long_messages_of_executions_are_cut(task: Any) -> None:
    """100 of them must stay below what a value may hold, in any script; else a finished import failed."""
    one = task(None)
    record = Record.of(one.context())
    seen = [
        RemoteSnapshot(
            id=f"{number}", remote_status=RemoteStatus.FAILED, status="失敗" * 200, message='"\n漢字' * 200
        )
        for number in range(250)
    ]
    keep_executions(record, seen)
    assert [len(one.store.get(f"g1.executions.{page}")) for page in range(3)] == [100, 100, 50]
    stored = [msgspec.json.encode(one.store.get(key)) for key in one.store.values]
    assert max(map(len, stored)) < LARGEST_VALUE * 0.8


def test_what_cannot_be_kept_is_left_out(task: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = task(None)
    endless = RemoteSnapshot(id="1" * 2 * LARGEST_VALUE, remote_status=RemoteStatus.FAILED, status="FAILED")
    keep_executions(Record.of(one.context()), [endless])
    assert "The page will lack 'executions.0'" in caplog.text
    short = RemoteSnapshot(id="1", remote_status=RemoteStatus.FAILED, status="FAILED")
    record = Record.of(one.context())
    one.store.refused = True
    with pytest.raises(RecordLost):  # a newer try exists: this one ends
        keep_executions(record, [short])


def test_a_push_that_fails_is_made_up_for() -> None:
    ti = Told(ConnectionError("no answer"))
    shown = ShownRun(ti, KEY)
    shown.tell({"phase": "begun"})
    assert ti.pushed == []
    shown.tell({"phase": "begun"})
    assert [value["phase"] for _, value in ti.pushed] == ["begun"]
    shown.tell({"phase": "begun"})
    assert len(ti.pushed) == 1


def test_a_failure_after_a_push_that_failed_has_the_whole_row() -> None:
    ti = Told(ConnectionError("no answer"))
    shown = ShownRun(ti, KEY)
    shown.tell({"phase": "begun", "name": "profiles"})
    shown.tell_failure("The source is missing.")
    (_, row) = ti.pushed[-1]
    assert (row["name"], row["reason"]) == ("profiles", "The source is missing.")


def test_a_stop_in_the_middle_of_a_push_stops() -> None:
    """It is raised in whatever the main thread does."""
    with pytest.raises(TaskStopped):
        ShownRun(Told(TaskStopped("stopped")), KEY).tell({"phase": "begun"})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(AirflowException("The source is missing."), "The source is missing.", id="ours"),
        pytest.param(
            TryFailed(ValueError("invalid literal: 'jane@example.com'")),
            "ValueError; the log",
            id="of a library",
        ),
        pytest.param(RuntimeError("jane@example.com"), "RuntimeError; the log", id="unforeseen"),
        pytest.param(AirflowException("token hunter2secret refused"), "token *** refused", id="a secret"),
    ],
)
def test_why_it_failed(error: Exception, told: str) -> None:
    mask_secret("hunter2secret")
    ti = Told()
    with pytest.raises(type(error)), ShownRun(ti, KEY).failing():
        raise error
    (_, row) = ti.pushed[-1]
    assert told in row["reason"]
    assert "jane" not in row["reason"]
    assert "hunter2" not in row["reason"]


@pytest.mark.parametrize(
    "error",
    [
        TryFailed(RecordLost("a newer try exists")),
        RecordLost("the same"),
        AirflowSkipException("empty"),
        TaskStopped(),
    ],
)
def test_what_is_no_failure_of_this_try(error: Exception) -> None:
    """A newer try has the row; a skip is none; a stop has no time."""
    ti = Told()
    with pytest.raises(type(error)), ShownRun(ti, KEY).failing():
        raise error
    assert ti.pushed == []


def test_a_row_that_cannot_be_made_ends_no_run(
    emulator: Emulator, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a platform adds to the row may ask its hook, and the hook a connection that is gone."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 20)

    def no_row(run: UploadRun, result: dict[str, Any]) -> dict[str, Any]:
        raise LookupError("no such connection")

    monkeypatch.setattr(UploadRun, "_row", no_row)
    one = task(importing(source, datamart_id=emulator.datamart_id))
    assert one.run()["lines_accepted"] == len(lines)
    assert one.shown[KEY]["phase"] == "over"
