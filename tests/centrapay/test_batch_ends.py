"""How a batch ends: what the status and the counts mean for the task, deadlines, retries, clears and stops."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from loading import accounts, bad_account, loading, loads, posts
from one_task import killed_after

from airflow_bulk.documents.inspection import CheckStopped
from airflow_bulk.runs.failures import TaskStopped

FILE = "s3://aws_partner@crm/accounts.jsonl"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [(404, b"", "404"), (302, b"/elsewhere", "302"), (200, b"\xff\xfe", "NOT_UTF")],
)
def test_a_file_that_cannot_be_fetched_or_read(
    centrapay: Any, files: Any, task: Any, status: int, body: bytes, code: str
) -> None:
    one = task(loading(url=files.put("/a.jsonl", body, status)))
    with pytest.raises(AirflowFailException, match="so nothing was processed") as caught:
        one.run()
    assert "reachable for Centrapay's servers" in str(caught.value)
    with pytest.raises(AirflowFailException, match="so nothing was processed"):
        one.run()  # a retry finds the recorded end
    assert posts(centrapay) == 1
    files.put("/a.jsonl", accounts(2))
    one.clear()
    assert one.run()["lines_accepted"] == 2
    assert posts(centrapay) == 2


def test_the_error_names_an_url_past_its_expiry(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.settings(step_seconds=100_000)
    one = task(loading(url=files.url + "/missing.jsonl?Expires=4000000000", timeout=0.2))
    with pytest.raises(AirflowException, match="was not over"):
        one.run()
    # As if the time had come since.
    one.store.values = {key: v.replace("4000000000.0", "1600000000.0") for key, v in one.store.values.items()}
    centrapay.settings(step_seconds=0)
    with pytest.raises(AirflowFailException, match=r"worked until 2020-09-13 12:26:40 UTC, which is past"):
        one.run()


@pytest.mark.parametrize(
    "settings",
    [
        {"total_count": True},
        {"bare_numbers": True},
        {"skip": ["copied", "chunked"]},
        {"skip": ["created"]},
        {"step_seconds": 1.5, "unknown_status": "hibernating"},
    ],
)
def test_what_the_documentation_leaves_open(
    centrapay: Any, files: Any, task: Any, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    centrapay.settings(**settings)
    result = task(loading(url=files.put("/a.jsonl", accounts(3)))).run()
    assert (result["count"], result["lines_accepted"], result["lines_failed"]) == (3, 3, 0)
    assert ("not documented: 'hibernating'" in caplog.text) is ("unknown_status" in settings)


@pytest.mark.parametrize(
    ("shown", "max_failures", "problem"),
    [
        ({"errorCount": "-1"}, 0, "errorCount cannot be read"),
        ({"errorCount": "lots"}, "50%", "errorCount cannot be read"),
        ({"count": "1.5"}, 0, "count cannot be read"),
        ({"count": None}, 0, r"count cannot be read \(nothing is said"),
        ({"errorCount": "5"}, 4, "5 of 10 records failed"),
        ({"count": "0", "errorCount": "1"}, "99%", r"1 of 0 records failed \(100%\)"),
        ({"errors": [{"message": "x"}] * 3}, 2, "3 of 10 records failed"),
    ],
)
def test_odd_counts(
    centrapay: Any, files: Any, task: Any, shown: dict[str, Any], max_failures: Any, problem: str
) -> None:
    centrapay.settings(step_seconds=100_000)
    options: dict[str, Any] = {"max_failures": max_failures}
    one = task(lambda: loading(url=files.put("/a.jsonl", accounts(10)), timeout=0.1, **options)())
    with pytest.raises(AirflowException, match="was not over"):
        one.run()
    (batch,) = centrapay.batches()
    centrapay.show_as(batch["id"], status="complete", **{"count": "10", "errorCount": "0", **shown})
    with pytest.raises(AirflowFailException, match=problem):
        one.run()
    options["max_failures"] = "100%"
    one.clear()
    assert one.run()["batch_id"] == batch["id"]
    assert posts(centrapay) == 1


def test_the_sum_has_to_close(centrapay: Any, s3: Any, task: Any) -> None:
    s3.put("accounts.jsonl", accounts(10).encode())
    centrapay.settings(step_seconds=100_000)
    one = task(loading(file=FILE, timeout=0.1))
    with pytest.raises(AirflowException, match="was not over"):
        one.run()
    (batch,) = centrapay.batches()
    centrapay.show_as(batch["id"], status="complete", count="7", errorCount="0")
    with pytest.raises(AirflowFailException, match=r"has 10 records, 7 counted.*3 missing"):
        one.run()


def test_a_deadline_keeps_the_record(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.settings(step_seconds=100_000)
    one = task(loading(url=files.put("/a.jsonl", accounts(1)), timeout=0.2))
    with pytest.raises(
        AirflowException, match=r"was not over 0.2 s after its submission.*no batch can be cancelled"
    ):
        one.run()
    centrapay.settings(step_seconds=0)
    assert one.run()["lines_accepted"] == 1
    assert posts(centrapay) == 1


def test_the_time_of_tries_that_posted_nothing_is_not_the_batches(
    centrapay: Any, files: Any, task: Any
) -> None:
    centrapay.settings(step_seconds=0.3)
    one = task(loading(url=files.put("/a.jsonl", accounts(1)), timeout=3600))
    centrapay.emulator.fault("rate_limited", path="^/api/batches$", method="POST", times=5, retry_after=0)
    with pytest.raises(AirflowException, match="429"):
        one.run()
    began = one.store.get("g1.started")
    one.store.set("g1.started", {**began, "at": began["at"] - 7200})
    assert one.run()["lines_accepted"] == 1


def test_without_waiting(centrapay: Any, files: Any, task: Any) -> None:
    result = task(loading(url=files.put("/a.jsonl", accounts(1)), wait_for_completion=False)).run()
    assert result["batch_id"] and result["status"] is None and result["lines_accepted"] is None


def test_retry_and_clear_after_a_success(centrapay: Any, files: Any, task: Any) -> None:
    one = task(loading(url=files.put("/a.jsonl", accounts(2))))
    first = one.run()
    assert one.run() == first
    one.clear()
    assert one.run()["batch_id"] != first["batch_id"]
    assert loads(centrapay) == {2}
    keeping = task(loading(url=files.put("/a.jsonl", accounts(2)), on_clear="keep"))
    kept = keeping.run()
    keeping.clear()
    assert keeping.run() == kept


def test_on_kill_says_that_the_batch_goes_on(
    centrapay: Any, files: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    centrapay.settings(step_seconds=100_000)
    one = task(loading(url=files.put("/a.jsonl", accounts(1)), timeout=0.2))
    with pytest.raises(AirflowException):
        one.run()
    with pytest.raises(TaskStopped):
        one.operator.on_kill()
    (batch,) = centrapay.batches()
    assert f"Batch {batch['id']} goes on at Centrapay. No batch can be cancelled." in caplog.text


def test_on_kill_in_mid_post_says_that_a_batch_may_go_on(
    centrapay: Any, files: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one = task(loading(url=files.put("/a.jsonl", accounts(1))))
    centrapay.emulator.fault("slow", path="^/api/batches$", method="POST", times=1, answer_delay=3.0)
    with killed_after(1.0, lambda: one.operator.on_kill()):
        one.run()
    assert (
        "A batch may have been created just now, and goes on then. No batch can be cancelled." in caplog.text
    )


def test_on_kill_stops_the_check_of_the_file(centrapay: Any, task: Any, tmp_path: Path) -> None:
    """Whatever becomes of the exception that on_kill raises: the check ends by itself, and leaves no rejects."""
    source, folder = tmp_path / "accounts.jsonl", tmp_path / "rejects"
    source.write_text((bad_account(1) + "\n") * 2_000 + accounts(1_000) * 500)
    one = task(loading(file=str(source), dry_run=True, errors_path=str(folder)))
    seen: list[Path] = []

    def kill(number: int, frame: Any) -> None:
        with pytest.raises(TaskStopped):
            one.operator.on_kill()

    def kill_once_it_checks() -> None:
        end = time.monotonic() + 20
        while not seen and time.monotonic() < end:
            seen.extend(folder.glob(".*"))
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGALRM)

    main = threading.get_ident()
    before = signal.signal(signal.SIGALRM, kill)
    watcher = threading.Thread(target=kill_once_it_checks)
    try:
        watcher.start()
        with pytest.raises(CheckStopped):
            one.run()
        watcher.join()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen and list(folder.iterdir()) == []
    assert posts(centrapay) == 0
