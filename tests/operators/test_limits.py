"""The limits of a connection, as an import keeps them: what the platform's request log says."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from one_task import Task, importing, once, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.limits import bodies
from airflow_bulk.hooks.limits.bodies import BodyTurns
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.platforms.mediarithmics.document_import_calls import list_document_imports


@pytest.fixture
def limited(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``limited(max_uploads=1)``: the default connection with limits."""

    def limit(**limits: Any) -> None:
        connection = json.loads(emulator.connection_json())
        connection["extra"].update(limits)
        monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", json.dumps(connection))

    return limit


def uploads(emulator: Emulator) -> list[tuple[float, float]]:
    """Begin and end of each body, in seconds."""
    calls = [
        call
        for call in emulator.requests()
        if call["method"] == "POST" and call["path"].endswith("/executions")
    ]
    return sorted((call["at"] / 1000, call["at"] / 1000 + call["seconds"]) for call in calls)


def most_at_once(spans: list[tuple[float, float]]) -> int:
    # The begin is in whole milliseconds.
    return max(sum(begin <= at < end - 0.002 for begin, end in spans) for at, _ in spans)


def test_workers_share_the_places_of_bodies(emulator: Emulator, limited: Any, tmp_path: Path) -> None:
    emulator.fault("slow", answer_delay=0.3)  # so bodies overlap unless they are kept from it
    limited(max_uploads=1)
    good = write_profiles(tmp_path / "x.ndjson", 1000)
    sending = SendingOptions(max_part_bytes=20_000, workers=2, settle=0)
    Task(importing(tmp_path / "x.ndjson", sending=sending)).run()
    spans = uploads(emulator)
    assert len(spans) > 4
    assert most_at_once(spans) == 1
    assert emulator.held() == once(good)


def test_a_body_is_one_of_the_requests(emulator: Emulator, limited: Any, tmp_path: Path) -> None:
    limited(requests_per_minute=120)
    write_profiles(tmp_path / "x.ndjson", 300)
    Task(importing(tmp_path / "x.ndjson", sending=SendingOptions(max_part_bytes=10_000, settle=0))).run()
    times = sorted(call["at"] / 1000 for call in emulator.requests())
    assert len(uploads(emulator)) > 3
    # One each half a second, but for a burst of a second's worth.
    assert times[-1] - times[0] >= (len(times) - 4) * 0.5


def test_bytes_of_an_import_leave_at_the_agreed_rate(
    emulator: Emulator, limited: Any, tmp_path: Path
) -> None:
    path = tmp_path / "x.ndjson"
    write_profiles(path, 2000)
    limited(max_bytes_per_second=path.stat().st_size // 2)
    Task(importing(path, sending=SendingOptions(max_part_bytes=50_000, workers=2, settle=0))).run()
    spans = uploads(emulator)
    # The head of a body leaves first, and then each block when its time has come.
    assert spans[-1][1] - spans[0][0] >= 1.5


def test_an_import_that_finds_no_place_ends_at_its_deadline(
    emulator: Emulator, limited: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    monkeypatch.setattr(bodies, "PATIENCE", 0.5)
    limited(max_uploads=1)
    good = write_profiles(tmp_path / "x.ndjson", 100)
    task = Task(importing(tmp_path / "x.ndjson", timeout=5))
    taken = BodyTurns(MediarithmicsHook().body_limits, lambda: False)
    with taken.body(), pytest.raises(AirflowException, match="5 s"):
        task.run()
    assert uploads(emulator) == []
    assert emulator.held() == {}
    again = Task(importing(tmp_path / "x.ndjson"))
    again.run()
    assert emulator.held() == once(good)


def test_a_silence_that_a_body_was_asked_for_holds_for_all(
    emulator: Emulator, limited: Any, tmp_path: Path
) -> None:
    limited(max_uploads=3)
    emulator.fault("rate_limited", retry_after=5, path="executions$", method="POST", times=1)
    good = write_profiles(tmp_path / "x.ndjson", 100)
    task = threading.Thread(target=Task(importing(tmp_path / "x.ndjson")).run)
    task.start()
    until = time.monotonic() + 60
    while not any(call["status"] == 429 for call in emulator.requests()) and time.monotonic() < until:
        time.sleep(0.02)
    MediarithmicsHook().send(list_document_imports(emulator.datamart_id))
    task.join(120)
    assert emulator.held() == once(good)
    calls = sorted(emulator.requests(), key=lambda call: call["at"])
    refused = next(number for number, call in enumerate(calls) if call["status"] == 429)
    assert calls[refused + 1]["at"] - calls[refused]["at"] >= 4900


def test_an_overlapping_import_waits_for_no_place_past_its_deadline(
    emulator: Emulator, limited: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    # Each part that waits waits longer than the whole test may take.
    monkeypatch.setattr(bodies, "PATIENCE", 600.0)
    limited(max_uploads=1)
    write_profiles(tmp_path / "x.ndjson", 1000)
    sending = SendingOptions(max_part_bytes=10_000, overlap=True, settle=0)
    task = Task(importing(tmp_path / "x.ndjson", timeout=3, sending=sending))
    taken = BodyTurns(MediarithmicsHook().body_limits, lambda: False)
    with taken.body(), pytest.raises(AirflowException, match="3 s"):
        task.run()
    assert uploads(emulator) == []
