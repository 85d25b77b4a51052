"""While one answer is not settled nothing else begins, and nobody asks for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import importing, once, profile

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions


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
    assert one.run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)
