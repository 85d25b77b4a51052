"""While one answer is not settled nothing else begins, and nobody asks for ever."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import ME, MemoryStore, importing, once, profile

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.endpoint import without_credentials
from airflow_bulk.hooks.limits import rate
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.hooks.sending.protocol import Answer
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.runs.record import Record
from airflow_bulk.runs.recorded_parts import RecordedParts
from airflow_bulk.runs.upload.gate import UploadGate


def write_equal_lines(path: Path, count: int) -> list[str]:
    """Lines of one length: without anything else, parts of equal line counts."""
    lines = [profile(1000 + n) for n in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return lines


@pytest.mark.parametrize("workers", [1, 2])
def test_overlapping_parts_of_one_size(emulator: Emulator, task: Any, tmp_path: Path, workers: int) -> None:
    """Two parts of as many lines, both without an answer, could never be told apart again."""
    source = tmp_path / "profiles.ndjson"
    lines = write_equal_lines(source, 800)
    emulator.fault("lost_answer", path=r"/executions$", method="POST", times=3)
    sending = SendingOptions(max_part_bytes=20_000, settle=0.3, overlap=True, workers=workers)
    assert task(importing(source, sending=sending)).run()["lines_accepted"] == 800
    assert emulator.held() == once(lines)


def test_a_page_of_a_proxy_is_not_asked_for_ever(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_equal_lines(source, 10)
    emulator.fault("html_answer", path=r"/executions$", method="POST", when="before")
    one = task(importing(source, sending=SendingOptions(settle=0)))
    with pytest.raises(AirflowException, match="part 1") as raised:
        one.run()
    assert not isinstance(raised.value, AirflowFailException)
    emulator.clear_faults()
    assert one.run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)


@pytest.mark.parametrize(
    ("retry_after", "asked"), [(1, "and asks to wait 1 s"), (None, "and does not say how long to wait")]
)
def test_a_short_pause_is_told(
    emulator: Emulator,
    task: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    retry_after: int | None,
    asked: str,
) -> None:
    source = tmp_path / "profiles.ndjson"
    write_equal_lines(source, 10)
    emulator.fault("rate_limited", path=r"/executions$", method="POST", times=1, retry_after=retry_after)
    assert task(importing(source)).run()["lines_accepted"] == 10
    assert [text for text in caplog.messages if text.startswith("Part 1 was not taken: ") and asked in text]


def test_a_long_pause_is_left_to_airflow(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """A worker must not sleep for a day because the platform said so."""
    source = tmp_path / "profiles.ndjson"
    lines = write_equal_lines(source, 10)
    emulator.fault("rate_limited", path=r"/executions$", method="POST", times=1, retry_after=86_400)
    one = task(importing(source))
    said = "answered 429.*, and asks to wait 86400 s. A retry goes on .* by the task's retry_delay"
    with pytest.raises(AirflowException, match=said) as raised:
        one.run()
    assert not isinstance(raised.value, AirflowFailException)
    # Nothing of this process leaves meanwhile; a retry begins in another one, much later.
    requests = len(emulator.requests())
    with pytest.raises(AirflowException, match="no call may leave for another"):
        one.run()
    assert len(emulator.requests()) == requests
    rate._budgets.clear()
    assert one.run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_an_answer_that_quotes_the_token_is_not_repeated(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    hook = MediarithmicsHook()
    recorded = RecordedParts.empty(
        Record(MemoryStore(), max_tries=1, clear_number=0, try_number=1, identity=ME)
    )
    part = Part(index=0, file=0, start=0, length=10, lines=1, body=10)
    recorded.add([part])
    gate = UploadGate(
        recorded,
        hook.document_imports(),
        credentials=hook.credentials,
        without_credentials=lambda reply: without_credentials(reply, hook.endpoint),
        recording=False,
        deadline=time.time() + 60,
        on_execution=lambda execution_id, owner: None,
        silence=hook.silence,
    )
    gate.may_begin(part)
    gate.may_finish(part)
    said = json.dumps({"status": "error", "error": f"bad token {emulator.token}"}).encode()
    message = ""
    try:
        gate.answered(part, Answer(status, {"content-type": "application/json"}, said))
    except Exception as error:
        message = str(error)
    assert "bad token" in message + caplog.text
    assert emulator.token not in message + caplog.text
