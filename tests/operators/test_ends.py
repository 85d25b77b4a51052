"""What a recorded end means: a retry, a clear, another clear, a changed source (ARCHITECTURE.md sections 5.5, 5.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import importing, once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 300)
    return path


def test_retry_after_the_end_returns_it(emulator: Emulator, task: Any, source: Path) -> None:
    one = task(importing(source))
    first = one.run()
    source.unlink()
    assert one.run() == first
    assert len(emulator.imports()) == 1


def test_clear_after_success_imports_again(emulator: Emulator, task: Any, source: Path, caplog: Any) -> None:
    one = task(importing(source))
    first = one.run()
    one.clear()
    second = one.run()
    assert second["import_id"] != first["import_id"]
    assert set(emulator.held().values()) == {2}
    assert f"The former import is {first['import_id']}" in caplog.text
    assert one.run() == second  # a retry of the second generation


def test_clear_after_success_may_keep(emulator: Emulator, task: Any, source: Path) -> None:
    one = task(importing(source, on_clear="keep"))
    first = one.run()
    one.clear()
    assert one.run() == first
    assert set(emulator.held().values()) == {1}


def test_clear_after_failed_judgement_judges_again(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "mixed.ndjson"
    source.write_text(f"nothing\n{profile(1)}\n")
    options: dict[str, Any] = {"max_failures": 0}
    one = task(lambda: importing(source, sending=SendingOptions(check=False), **options)())
    for _ in range(2):  # the retry finds the recorded judgement
        with pytest.raises(AirflowFailException, match=r"1 of 2 lines failed"):
            one.run()
    one.clear()
    with pytest.raises(AirflowFailException, match=r"1 of 2 lines failed"):
        one.run()
    options["max_failures"] = 1
    one.clear()
    result = one.run()
    assert (result["lines_accepted"], result["lines_failed"]) == (1, 1)
    assert len(emulator.imports()) == 1
    assert len(emulator.executions(result["import_id"])) == 1


def test_clear_that_cannot_be_told_fails(emulator: Emulator, task: Any, source: Path) -> None:
    one = task(importing(source))
    one.run()
    one.clear_number += 1
    with pytest.raises(AirflowFailException, match="Clear this task once more"):
        one.run()
    one.clear()
    one.run()
    assert set(emulator.held().values()) == {2}


def test_source_that_changed_between_tries(emulator: Emulator, task: Any, source: Path) -> None:
    emulator.fault("unauthorized", path=r"/executions$", method="POST", skip=1)
    options: dict[str, Any] = {}
    one = task(lambda: importing(source, **options)())
    with pytest.raises(Exception, match="401"):
        one.run()
    emulator.clear_faults()
    lines = write_profiles(source, 301)
    with pytest.raises(
        AirflowFailException, match=r"fingerprint \w+ before, \w+ now \(.*profiles.ndjson changed\)"
    ):
        one.run()
    assert sum(emulator.held().values()) < 300
    options["on_source_change"] = "restart"
    result = one.run()
    assert emulator.held(result["import_id"]) == once(lines)
    assert len(emulator.imports()) == 2


def test_source_that_changed_in_between_same_size_and_time(
    emulator: Emulator, task: Any, source: Path
) -> None:
    """The fingerprint is fooled; the digest of the part is not."""
    import os

    emulator.fault("unauthorized", path=r"/executions$", method="POST", times=1)
    one = task(importing(source))
    with pytest.raises(Exception, match="401"):
        one.run()
    before = source.stat()
    source.write_bytes(source.read_bytes().replace(b"crm-1", b"crm-9", 1))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(AirflowFailException, match="changed"):
        one.run()
    assert emulator.held() == {}
