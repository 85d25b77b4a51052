"""The nightly import through real HTTP: what goes out, what is held, what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from one_task import importing, once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions

NAMES = [
    "import_id",
    "execution_ids",
    "lines_read",
    "lines_rejected",
    "lines_accepted",
    "lines_failed",
    "lines_unprocessed",
    "lines_unjoined",
    "blank_lines",
    "parts",
    "bytes",
    "seconds",
    "rejects_uri",
    "results_uri",
    "error_file_uris",
    "possible_issue_on_identifiers",
    "console_url",
    "verified",
]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("overlap", [False, True])
def test_good_file(emulator: Emulator, task: Any, tmp_path: Path, workers: int, overlap: bool) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 1000)
    sending = SendingOptions(max_part_bytes=20_000, workers=workers, overlap=overlap)
    one = task(importing(source, sending=sending))
    result = one.run()
    assert list(result) == NAMES
    assert result["lines_read"] == result["lines_accepted"] == 1000
    assert result["lines_rejected"] == result["lines_failed"] == result["blank_lines"] == 0
    assert result["parts"] == len(result["execution_ids"]) > 4
    assert result["bytes"] == source.stat().st_size
    assert emulator.held(result["import_id"]) == once(lines)
    assert one.pushed["import_id"] == result["import_id"]
    assert one.pushed["console_url"] == result["console_url"]
    assert result["console_url"].endswith(f"/imports/{result['import_id']}")


def test_import_is_created_as_asked(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 3)
    one = task(importing(source, priority="{{ params.priority }}", shuffle_lines="false"))
    one.run(priority="HIGH")
    (made,) = emulator.imports()
    assert made["name"].startswith("profiles [")
    assert (made["priority"], made["shuffle_lines"]) == ("HIGH", False)
    assert made["document_type"] == "USER_PROFILE"


def test_rejects_are_written_and_the_sum_closes(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    bad = (2, 500, 501, 999)
    lines = write_profiles(source, 1000, bad)
    one = task(importing(source, max_failures="1%", rejects_path=str(tmp_path / "rejects")))
    result = one.run()
    assert emulator.held(result["import_id"]) == once(lines)
    assert (result["lines_rejected"], result["lines_accepted"], result["lines_read"]) == (4, 996, 1000)
    rows = [json.loads(row) for row in Path(result["rejects_uri"]).read_text().splitlines()]
    assert [row["line"] for row in rows] == list(bad)
    assert Path(result["rejects_uri"]).stat().st_mode & 0o777 == 0o600


def test_too_many_rejects_send_nothing(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 100, (7, 8))
    one = task(importing(source, max_failures=1, rejects_path=str(tmp_path / "rejects")))
    with pytest.raises(AirflowFailException, match=r"2 of 100 lines \(2%\).*Nothing was sent.*line 7"):
        one.run()
    assert emulator.imports() == []
    (rejects,) = (tmp_path / "rejects").iterdir()
    assert len(rejects.read_text().splitlines()) == 2


def test_dry_run_sends_nothing_and_leaves_no_record(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 100, (7,))
    dry = task(importing(source, max_failures=5, dry_run="{{ params.dry }}"))
    result = dry.run(dry=True)
    assert (result["import_id"], result["lines_read"], result["lines_rejected"]) == (None, 100, 1)
    assert emulator.imports() == []
    result = dry.run(dry=False)
    assert emulator.held(result["import_id"]) == once(lines)


def test_several_sources_from_one_template(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """A template renders a list as text; a comma in a name is no end of it."""
    first, second = tmp_path / "a,b.ndjson", tmp_path / "c.ndjson"
    first.write_text(profile(1))
    second.write_text(profile(2))
    one = task(importing("{{ params.files }}"))
    result = one.run(files=[str(first), str(second)])
    assert emulator.held(result["import_id"]) == once([profile(1), profile(2)])


def test_many_files_share_a_part(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    lines = []
    for number in range(20):
        text = profile(number)
        lines.append(text)
        (tmp_path / f"{number:03}.ndjson").write_text(text)  # no final newline
    result = task(importing(tmp_path / "*.ndjson")).run()
    assert result["parts"] == 1
    assert emulator.held(result["import_id"]) == once(lines)
    apart = SendingOptions(one_part_per_file=True)
    assert task(importing(tmp_path / "*.ndjson", sending=apart)).run()["parts"] == 20


@pytest.mark.parametrize(
    ("on_empty", "raised"), [("fail", AirflowFailException), ("skip", AirflowSkipException)]
)
@pytest.mark.parametrize("content", [None, "", "\n \r\n\n"])
def test_empty_source(
    emulator: Emulator, task: Any, tmp_path: Path, on_empty: str, raised: type[Exception], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "a.ndjson").write_text(content)
    with pytest.raises(raised, match="Nothing was sent"):
        task(importing(tmp_path / "*.ndjson", on_empty=on_empty)).run()
    result = task(importing(tmp_path / "*.ndjson", on_empty="ok")).run()
    assert (result["import_id"], result["lines_read"], result["parts"]) == (None, 0, 0)
    assert emulator.imports() == []


def test_platform_failures_are_judged_and_named(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    # The emulator's strict mode wants what our rules do not: two bad lines only it sees.
    source = tmp_path / "segments.ndjson"
    source.write_text("".join(f"{line}\n" for line in ["not json", "nor this", profile(1)]))
    sending = SendingOptions(check=False)
    failing = task(importing(source, sending=sending, max_failures=1))
    with pytest.raises(
        AirflowFailException, match=r"2 of 3 lines failed .*0 rejected.*2 failed on the platform"
    ):
        failing.run()
    result = task(importing(source, sending=sending, max_failures="70%")).run()
    assert (result["lines_accepted"], result["lines_failed"], result["lines_read"]) == (1, 2, 3)
    assert len(result["error_file_uris"]) == 1


def test_another_encoding_leaves_untouched(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Unchecked bytes are the author's affair: they are cut on line borders, counted, and not changed."""
    source = tmp_path / "profiles.ndjson"
    body = (
        "".join(f"{profile(n, city='Zürich')}\r\n" for n in range(300)).encode().replace(b"\\u00fc", b"\xfc")
    )
    source.write_bytes(body)
    sending = SendingOptions(max_part_bytes=20_000, check=False)
    one = task(importing(source, sending=sending, encoding="latin-1", max_failures="100%"))
    result = one.run()
    (made,) = emulator.imports()
    assert made["encoding"] == "latin-1"
    assert (result["lines_read"], result["lines_rejected"], result["bytes"]) == (300, 0, len(body))
    # The emulator reads utf-8 alone, so every line fails there; that all came is what it was sent.
    assert result["lines_failed"] == 300
    parts = [part.read_bytes() for part in (emulator.state / "bodies").glob("*.body")]
    assert len(parts) == result["parts"] > 1
    assert b"".join(sorted(parts, key=body.index)) == body


def test_own_deadline_cancels_and_names(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.settings(start_delay=1000)
    late = task(importing(source, timeout=60.0))
    with pytest.raises(
        AirflowException, match=r"was not over 60 s after its submission.*Nothing keeps running"
    ):
        late.run_past_deadline()
    (execution,) = emulator.executions(late.pushed["import_id"])
    assert execution["status"] == "CANCELED"
    emulator.settings(start_delay=0)
    late.clear()
    result = late.run()
    assert result["lines_accepted"] == 10
    assert sum(emulator.held().values()) == 10


@pytest.mark.parametrize(("fault", "status"), [("forced_failed", "FAILED"), ("lost_status", "LOST")])
def test_failed_execution_is_named_and_resent_only_on_request(
    emulator: Emulator, task: Any, tmp_path: Path, fault: str, status: str
) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 1000)
    emulator.fault(fault, times=1, taken=0.0)
    options: dict[str, Any] = {"sending": SendingOptions(max_part_bytes=20_000)}
    one = task(lambda: importing(source, **options)())
    with pytest.raises(
        AirflowFailException, match=rf"ended as {status}.*part 1: .*profiles.ndjson, from line 1"
    ):
        one.run()
    options["sending"] = SendingOptions(max_part_bytes=20_000, resend_failed_parts=True)
    one.clear()
    assert one.run()["lines_accepted"] == 1000
    assert emulator.held() == once(lines)


def test_unknown_status_is_waited_for(emulator: Emulator, task: Any, tmp_path: Path, caplog: Any) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.settings(start_delay=0, run_seconds=1)
    emulator.fault("unknown_status", times=2)
    assert task(importing(source)).run()["lines_accepted"] == 10
    assert caplog.text.count("'HIBERNATING'") == 1


def test_without_waiting(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    emulator.settings(start_delay=1000)
    result = task(importing(source, wait_for_completion=False)).run()
    assert result["lines_accepted"] is result["lines_failed"] is None
    assert len(result["execution_ids"]) == 1


def test_an_outage_while_waiting_passes(emulator: Emulator, task: Any, tmp_path: Path, caplog: Any) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 10)
    emulator.settings(run_seconds=1)
    # More refusals than one look repeats by itself, and the look is not given up.
    emulator.fault("rate_limited", path=r"/executions$", method="GET", times=7, retry_after=0)
    assert task(importing(source)).run()["lines_accepted"] == 10
    assert emulator.held() == once(lines)
    assert "Waiting on" in caplog.text
