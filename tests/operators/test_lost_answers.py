"""Exactly once where answers are lost, refused or late, and where an earlier try died in between."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import DyingStore, Killed, MemoryStore, importing, once, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions, UploadDocumentsOperator


def test_killed_at_every_write(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Whatever write a try dies at, before or after it counts, the next try ends with each line once."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    sending = SendingOptions(max_part_bytes=20_000, settle=0)
    for at, after in ((at, after) for at in itertools.count(1) for after in (False, True)):
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        store = DyingStore(at, after=after)
        one = task(importing(source, sending=sending), store)
        try:
            one.run()
        except Killed:
            result = one.run()
            assert emulator.held() == once(lines), (at, after)
            assert result["lines_accepted"] == 300
            assert len(emulator.imports()) == 1
        else:
            break
    assert at > 10  # generation's start, plan, pages, import, and three writes a part


@pytest.mark.parametrize(("workers", "overlap"), [(1, False), (2, True)])
@pytest.mark.parametrize(
    "fault",
    [
        {"name": "lost_answer", "times": 2},
        {"name": "lost_answer", "times": 2, "how": "reset"},
        {"name": "late", "times": 2, "seconds": 0.3},
        {"name": "server_error", "times": 2, "when": "after", "status": 500},
        {"name": "server_error", "times": 2, "when": "before", "status": 503},
        {"name": "rate_limited", "times": 2, "retry_after": 1},
        {"name": "reset", "times": 2, "after": 5000},
        {"name": "html_answer", "times": 2, "method": "POST"},
        {"name": "empty_answer", "times": 2, "method": "POST"},
    ],
    ids=lambda fault: "-".join(str(v) for v in fault.values()),
)
def test_uploads_go_wrong(
    emulator: Emulator, task: Any, tmp_path: Path, fault: dict[str, Any], workers: int, overlap: bool
) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    emulator.fault(path=r"/executions$", **fault)
    sending = SendingOptions(max_part_bytes=20_000, settle=0.6, workers=workers, overlap=overlap)
    result = task(importing(source, sending=sending)).run()
    assert emulator.held() == once(lines)
    assert result["lines_accepted"] == 500
    assert not [one for one in emulator.executions(result["import_id"]) if one["status"] == "PENDING"]


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "lost_answer"},
        {"name": "late", "seconds": 0.3, "path": r"/document_imports$"},
        {"name": "server_error", "when": "after", "status": 502},
        {"name": "server_error", "when": "before", "status": 502},
        {"name": "rate_limited", "retry_after": 0, "method": "POST"},
        {"name": "html_answer", "method": "POST"},
    ],
    ids=lambda fault: "-".join(str(v) for v in fault.values()),
)
def test_creation_goes_wrong(emulator: Emulator, task: Any, tmp_path: Path, fault: dict[str, Any]) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.fault(**{"path": r"/document_imports$", "method": "POST", "times": 1, **fault})
    task(importing(source, sending=SendingOptions(settle=0.6))).run()
    assert len(emulator.imports()) == 1
    assert emulator.held() == once(lines)


def test_an_answer_that_comes_true_late_is_noticed(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Later than anyone would wait: the part is sent again, and the end is a loud failure, not a silent double."""
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.settings(start_delay=0, run_seconds=6)
    emulator.fault("late", times=1, seconds=4)
    one = task(importing(source, sending=SendingOptions(settle=0.1)))
    with pytest.raises(
        AirflowException, match=r"execution \d+ \(\w+, 10 lines\) fits no part.*A retry finds the same"
    ):
        one.run()


def test_no_marker_no_adoption(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.fault("lost_answer", path=r"/document_imports$", method="POST", times=1)
    one = task(importing(source, sending=SendingOptions(name_marker=False)))
    with pytest.raises(AirflowException, match="without a marker in the name nothing can be looked up"):
        one.run()
    with pytest.raises(AirflowException, match="without a marker in the name nothing can be looked up"):
        one.run()
    (made,) = emulator.imports()
    assert made["name"] == "profiles"


def test_superseded_try_cuts_and_cancels_nothing(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    emulator.settings(start_delay=1000)
    store = MemoryStore()
    one = task(importing(source), store)
    execution_seen = []

    class Refusing(MemoryStore):
        values = store.values

        def __init__(self) -> None:
            self.refused = False

        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            if '"commit"' in str(value).replace("'", '"') and execution_seen:
                raise BrokenPipeError("a newer try exists")
            if '"sent"' in str(value).replace("'", '"'):
                execution_seen.append(key)
            super().set(key, value, retention=retention)

    one.store = Refusing()
    with pytest.raises(AirflowException, match="nothing is cancelled"):
        one.run()
    (made,) = emulator.imports()
    (execution,) = emulator.executions(made["id"])
    assert execution["status"] == "PENDING"
    one.store = store
    emulator.settings(start_delay=0)
    emulator.clock.advance(2000)
    assert one.run()["lines_accepted"] == 500
    assert emulator.held() == once(lines)


@pytest.mark.parametrize("status", [401, 403, 404, 413])
def test_refused_in_the_middle(emulator: Emulator, task: Any, tmp_path: Path, status: int) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    names = {401: "unauthorized", 403: "forbidden", 404: "gone", 413: "too_large"}
    emulator.fault(names[status], path=r"/executions$", method="POST", times=1, skip=1)
    one = task(importing(source))
    with pytest.raises(AirflowException) as raised:
        one.run()
    assert isinstance(raised.value, AirflowFailException) == (status != 401)
    assert "part 2" in str(raised.value)
    assert len(emulator.executions(one.pushed["import_id"])) == 1
    result = one.run()
    assert result["lines_accepted"] == 500
    assert emulator.held() == once(lines)


def test_canceled_by_somebody_is_sent_again(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    emulator.settings(start_delay=1000)
    one = task(importing(source, cancel_on_kill=True))
    with pytest.raises(AirflowException, match="Nothing keeps running"):
        one.run_past_deadline()
    emulator.settings(start_delay=0)
    one.clear()
    one.make = importing(source)
    result = one.run()
    statuses = [each["status"] for each in emulator.executions(result["import_id"])]
    assert statuses.count("CANCELED") == statuses.count("SUCCEEDED") == result["parts"]
    assert emulator.held() == once(lines)


def test_upload_into_a_given_import(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Others feed the import too: only exclusive=True adopts, and nothing unmatched is cancelled."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    made = task(importing(source)).run()["import_id"]
    settings: dict[str, Any] = {"exclusive": False}
    sending = SendingOptions(settle=0.5)
    one = task(
        lambda: UploadDocumentsOperator(
            task_id="t", import_id=made, source=str(source), sending=sending, poll_interval=0.2, **settings
        )
    )
    emulator.fault("lost_answer", path=r"/executions$", method="POST", times=1)
    with pytest.raises(
        AirflowException, match=r"fits part 1; candidates: \d+.*a retry finds the same: say exclusive=True"
    ):
        one.run()
    assert len(emulator.executions(made)) == 2
    settings["exclusive"] = True
    assert one.run()["lines_accepted"] == 10
    assert len(emulator.executions(made)) == 2
    assert set(emulator.held(made).values()) == {2}
    assert sorted(emulator.held(made)) == sorted(lines)
