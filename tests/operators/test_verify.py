"""The platform's own copy is read back: what it says is in the result, and a copy that differs fails the task."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import importing, killed_after, once, profile, write_profiles

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import CreateDocumentImportOperator, UploadDocumentsOperator

COPIES = r"/data_file/data$"


def verifying(source: Any, **more: Any) -> Any:
    return importing(source, **{"verify": "input_file", **more})


def read_back(emulator: Emulator) -> int:
    return sum(call["path"].endswith("/data_file/data") for call in emulator.requests())


def all_good(parts: int) -> dict[str, Any]:
    return {"parts": parts, "verified": parts, "different": [], "not_readable": 0, "why": None}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_every_part_is_read_back(
    emulator: Emulator, task: Any, tmp_path: Path, packed: bool, workers: int
) -> None:
    """Over files, with rejected and blank lines, and a last line without its end: what counts is what was sent."""
    files = [tmp_path / f"{number}.ndjson{'.gz' if packed else ''}" for number in range(2)]
    for number, path in enumerate(files):
        lines = [profile(number * 1000 + one) for one in range(400)]
        lines[5:5] = ["", "no object"]
        text = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(text) if packed else text)
    sending = SendingOptions(max_part_bytes=20_000, workers=workers)
    one = task(verifying([str(path) for path in files], max_failures=2, sending=sending))
    result = one.run()
    assert result["parts"] > 3
    assert result["verified"] == all_good(result["parts"])
    assert read_back(emulator) == result["parts"]
    assert one.run() == result  # a retry after the end reads nothing again
    assert read_back(emulator) == result["parts"]


def test_a_csv_with_its_repeated_header(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    rows = [f"crm-{number},1000,UPDATE,7,0" for number in range(1500)]
    path.write_text(
        "\r\n".join(["user_account_id,compartment_id,operation,segment_id,expiration_duration", *rows])
    )
    result = task(verifying(path, document_type="USER_SEGMENT")).run()
    assert result["parts"] > 1
    assert result["verified"] == all_good(result["parts"])


def test_bytes_that_were_not_checked(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 50)
    assert task(verifying(path, sending=SendingOptions(check=False))).run()["verified"] == all_good(1)


def test_an_upload_into_a_given_import(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 50)
    made = task(
        lambda: CreateDocumentImportOperator(task_id="t", document_type="USER_PROFILE", name="given")
    ).run()
    result = task(
        lambda: UploadDocumentsOperator(
            task_id="t", import_id=made, source=str(path), verify="input_file", poll_interval=0.2
        )
    ).run()
    assert result["verified"] == all_good(1)


def test_nothing_is_read_unless_it_is_asked_for(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 50)
    assert task(importing(path)).run()["verified"] is None
    assert task(verifying(path, verify="None")).run()["verified"] is None
    assert read_back(emulator) == 0


@pytest.mark.parametrize("by", [0, 7, -7])
def test_a_copy_that_differs_fails_the_task(emulator: Emulator, task: Any, tmp_path: Path, by: int) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = write_profiles(path, 600)
    emulator.fault("altered_file", skip=1, times=1, by=by)
    one = task(verifying(path))
    with pytest.raises(AirflowFailException, match=r"copy of 1 part .*nothing is sent again") as caught:
        one.run()
    told = str(caught.value)
    (import_,) = emulator.imports()
    execution = emulator.executions(import_["id"])[1]["id"]
    assert f"part 2 (execution {execution}): " in told
    assert "crm-" not in told
    posted = sum(call["method"] == "POST" for call in emulator.requests())
    # A retry ends in the same way; a clear reads the copies once more.
    with pytest.raises(AirflowFailException, match="is not what was sent"):
        one.run()
    one.clear()
    result = one.run()
    assert result["verified"] == all_good(result["parts"])
    assert sum(call["method"] == "POST" for call in emulator.requests()) == posted
    assert emulator.held() == once(lines)


@pytest.mark.parametrize(("fault", "said"), [("forbidden", "403"), ("gone", "404")])
def test_a_copy_that_may_not_be_read_fails_nothing(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str, said: str
) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 600)
    emulator.fault(fault, path=COPIES, method="GET", times=2)
    result = task(verifying(path)).run()
    parts = result["parts"]
    verified = result["verified"]
    assert (verified["parts"], verified["verified"], verified["not_readable"]) == (parts, parts - 2, 2)
    assert said in verified["why"]
    assert f"2 of {parts} parts could not be read back" in caplog.text
    assert result["lines_accepted"] == 600


def test_an_outage_is_waited_out(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 600)
    emulator.fault("server_error", path=COPIES, method="GET", skip=1, times=6, status=503)
    result = task(verifying(path)).run()
    assert result["verified"] == all_good(result["parts"])
    # What was compared before the outage is not read once more.
    assert read_back(emulator) == result["parts"] + 6


def test_an_outage_up_to_the_deadline_fails_nothing(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 20)
    emulator.fault("server_error", path=COPIES, method="GET", status=501)
    began = time.monotonic()
    result = task(verifying(path, timeout=5)).run()
    assert time.monotonic() - began < 60
    assert (result["verified"]["not_readable"], result["lines_accepted"]) == (1, 20)
    assert "501" in result["verified"]["why"] or "deadline" in result["verified"]["why"]


def test_a_task_that_is_stopped_while_it_reads(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = write_profiles(path, 600)
    emulator.fault("slow", path=COPIES, method="GET", skip=1, times=1, answer_delay=20.0)
    one = task(verifying(path))
    with killed_after(3.0, lambda: one.operator.on_kill()):
        one.run()
    assert read_back(emulator) == 2
    result = one.run()
    assert result["verified"] == all_good(result["parts"])
    assert emulator.held() == once(lines)


def test_copies_are_there_only_at_the_end(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 3)
    with pytest.raises(AirflowFailException, match="verify needs wait_for_completion=True"):
        task(verifying(path, wait_for_completion=False)).run()
    with pytest.raises(AirflowFailException, match="verify must be one of input_file"):
        task(verifying(path, verify="hash")).run()
    assert emulator.imports() == []
