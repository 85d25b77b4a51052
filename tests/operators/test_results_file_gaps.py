"""The results file where something is missing: no error file, another source, no folder; killed, late, or without content."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from one_task import DyingStore, Killed, Task, importing, profile, write_profiles
from results_file import (
    DATA_FILE,
    failing,
    joined,
    options,
    read_rows,
    rows_of,
    write,
)

from airflow_bulk.documents.error_files import ErrorRow
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions


@pytest.mark.parametrize(
    ("fault", "params", "why"),
    [
        ("gone", DATA_FILE, "the platform answered 404"),
        ("forbidden", DATA_FILE, "the platform answered 403"),
        ("unauthorized", DATA_FILE, "the platform answered 401"),
        ("error_file", {"content": "huge"}, "the file has 10000000000000 bytes, and at most"),
        ("error_file", {"content": "not_utf8"}, "the error file does not tell it"),
        ("html_answer", DATA_FILE, "the error file has 1 rows|does not tell it"),
        ("empty_answer", DATA_FILE, "the error file does not tell it"),
    ],
)
def test_no_error_file(
    emulator: Emulator, task: type[Task], tmp_path: Path, fault: str, params: dict[str, Any], why: str
) -> None:
    import re

    write_profiles(tmp_path / "a.ndjson", 100, bad=(50,))
    failing(emulator)
    emulator.fault(fault, **params)
    result = task(importing(tmp_path / "a.ndjson", **options(tmp_path))).run()
    rows = rows_of(result)
    assert joined(rows) == [] and joined(rows, "rejected") == [("a.ndjson", 50)]
    failed = [row for row in rows if row["state"] == "failed"]
    ((*stretch, version),) = failed[0]["stretches"]
    assert stretch == [str(tmp_path / "a.ndjson"), 1, 0, (tmp_path / "a.ndjson").stat().st_size] and version
    assert any(re.search(why, reason) for row in failed for reason in row["reasons"])


def test_a_file_cut_to_its_first_rows(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator, error_file_rows=2)
    rows = rows_of(task(importing(tmp_path / "a.ndjson", **options(tmp_path))).run())
    assert joined(rows) == [("a.ndjson", 20), ("a.ndjson", 40)]
    assert (rows[-1]["lines"], rows[-1]["reasons"]) == (3, ["not joined: the error file does not tell it"])


def test_names_of_the_platform_are_no_paths(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    failing(emulator, input_file_name="../../../../evil\n/etc/passwd%00")
    result = task(importing(tmp_path / "a.ndjson", **options(tmp_path))).run()
    assert "evil" in result["error_file_uris"][0]
    assert len(joined(rows_of(result))) == 5
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.ndjson", "bad"}


def test_an_outage_is_waited_out(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator)
    emulator.fault("server_error", status=503, times=6, **DATA_FILE)
    rows = rows_of(task(importing(tmp_path / "a.ndjson", **options(tmp_path))).run())
    assert len(joined(rows)) == 5


def test_an_outage_that_outlives_the_deadline(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator)
    emulator.fault("server_error", status=503, **DATA_FILE)
    result = task(importing(tmp_path / "a.ndjson", timeout=3, **options(tmp_path))).run()
    rows = rows_of(result)
    assert result["lines_unjoined"] == 5 and "answered 503" in rows[0]["reasons"][0]


# The source has changed, or is gone.


@pytest.mark.parametrize("gone", [True, False])
def test_another_source_than_was_sent(
    emulator: Emulator, task: type[Task], tmp_path: Path, gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "a.ndjson"
    write_profiles(source, 100, bad=(50,))
    failing(emulator, start_delay=50)
    make = importing(source, deferrable=True, **options(tmp_path))
    one = task(make)
    with pytest.raises(TaskDeferred):
        one.run()
    if gone:
        source.unlink()
    else:
        write_profiles(source, 100)
    emulator.clock.advance(100)
    one.try_number -= 1
    rows = rows_of(one.run())
    assert joined(rows) == [] and joined(rows, "rejected") == [("a.ndjson", 50)]
    failed = [row for row in rows if row["state"] == "failed"]
    assert all("stretches" not in row and row["source"] == str(source) for row in failed)
    assert all("the source has changed or is gone" in row["reasons"][-1] for row in failed)
    assert [row["reasons"][0] for row in failed] == ["Refused by a fault"] * 4
    assert "cannot be read again" in caplog.text


def two_are_rejected(emulator: Emulator, task: type[Task], folder: Path) -> Task:
    """A deferred import of two parts, with a rejected line in each; it waits for the platform."""
    write_profiles(folder / "a.ndjson", 400, bad=(3, 250))
    emulator.settings(start_delay=50)
    one = task(importing(folder / "a.ndjson", deferrable=True, **options(folder)))
    with pytest.raises(TaskDeferred):
        one.run()
    return one


@pytest.mark.parametrize("kept", ["gone", "cut"])
def test_the_reject_file_is_not_what_it_was(
    emulator: Emulator, task: type[Task], tmp_path: Path, kept: str
) -> None:
    """Then rejected lines come from the source once more."""
    one = two_are_rejected(emulator, task, tmp_path)
    (rejects,) = (tmp_path / "bad").iterdir()
    before = read_rows(str(rejects))
    if kept == "gone":
        rejects.unlink()
    else:
        rejects.write_text(rejects.read_text().splitlines(keepends=True)[0])
    emulator.clock.advance(100)
    one.try_number -= 1
    assert rows_of(one.run()) == before


def test_rejected_lines_that_nobody_can_tell_any_more(
    emulator: Emulator, task: type[Task], tmp_path: Path
) -> None:
    one = two_are_rejected(emulator, task, tmp_path)
    for path in (*(tmp_path / "bad").iterdir(), tmp_path / "a.ndjson"):
        path.unlink()
    emulator.clock.advance(100)
    one.try_number -= 1
    rows = rows_of(one.run())
    assert [(row["part"], row["lines"], row["line"]) for row in rows] == [(0, 1, None), (1, 1, None)]


# Ends.


def test_no_bad_line_no_file_and_nothing_is_read_again(
    emulator: Emulator, task: type[Task], tmp_path: Path
) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    result = task(importing(tmp_path / "a.ndjson", **options(tmp_path))).run()
    assert result["results_uri"] is None
    assert (result["lines_unprocessed"], result["lines_unjoined"]) == (0, 0)
    assert not (tmp_path / "bad").exists()
    assert not [call for call in emulator.requests() if "data_file" in call["path"]]


def test_without_a_folder_nothing_is_fetched(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator)
    result = task(importing(tmp_path / "a.ndjson", max_failures="50%")).run()
    assert (result["results_uri"], result["lines_failed"], result["lines_unjoined"]) == (None, 5, None)
    assert not [call for call in emulator.requests() if "data_file" in call["path"]]


def test_nobody_waited(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100, bad=(1,))
    result = task(importing(tmp_path / "a.ndjson", wait_for_completion=False, **options(tmp_path))).run()
    assert result["results_uri"] is result["lines_unprocessed"] is result["lines_unjoined"] is None
    assert result["rejects_uri"]


def test_a_failed_judgement_names_the_file(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 100, bad=(50,))
    failing(emulator)
    one = task(importing(tmp_path / "a.ndjson", **options(tmp_path, max_failures=3)))
    with pytest.raises(AirflowFailException, match=r"All bad lines: (\S+results\.ndjson)\.$") as caught:
        one.run()
    uri = str(caught.value).rpartition(" ")[2].rstrip(".")
    assert len(joined(read_rows(uri))) == 4
    # A retry finds the end, and says the same.
    with pytest.raises(AirflowFailException, match=r"All bad lines: "):
        one.run()


def test_parts_that_failed_for_good(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    source = tmp_path / "a.ndjson"
    write_profiles(source, 500, bad=(3, 300))
    failing(emulator)
    emulator.fault("forced_failed", skip=1, times=1)
    one = task(importing(source, **options(tmp_path)))
    with pytest.raises(AirflowFailException, match=r"clear send them once more\. All bad lines: ") as caught:
        one.run()
    uri = str(caught.value).rpartition(" ")[2].rstrip(".")
    rows = read_rows(uri)
    (lost,) = [row for row in rows if row["state"] == "unprocessed"]
    assert lost["part"] == 1 and "ended FAILED: it is not known" in lost["reasons"][0]
    ((name, first, offset, length, _),) = lost["stretches"]
    assert name == str(source)
    stretch = source.read_bytes()[offset : offset + length]
    assert source.read_bytes()[:offset].count(b"\n") == first - 1
    assert lost["lines"] == sum(b"user_account_id" in line for line in stretch.splitlines())
    assert {row["part"] for row in rows if row["state"] == "failed"} == {0, 2}
    # Sent again after a clear, as the message says: the file is written anew.
    make = importing(
        source, **options(tmp_path, sending=SendingOptions(max_part_bytes=20_000, resend_failed_parts=True))
    )
    one.make = make
    one.clear()
    result = one.run()
    assert result["results_uri"] == uri
    assert not [row for row in rows_of(result) if row["state"] == "unprocessed"]


def test_a_source_of_nothing_but_bad_lines(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 3, bad=(1, 2, 3))
    result = task(importing(tmp_path / "a.ndjson", **options(tmp_path, max_failures="100%"))).run()
    assert len(joined(rows_of(result), "rejected")) == 3 and result["import_id"] is None


def test_a_folder_that_takes_no_file_any_more(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    source = tmp_path / "a.ndjson"
    write_profiles(source, 100)
    failing(emulator)
    folder = tmp_path / "bad"
    folder.write_text("a file is in the way")
    one = task(importing(source, **options(tmp_path)))
    with pytest.raises(
        AirflowException,
        match=r"is over, and nothing of it is lost or sent again: once this is mended, a retry writes",
    ):
        one.run()
    folder.unlink()
    result = one.run()
    assert len(joined(rows_of(result))) == 5
    assert len(emulator.imports()) == 1 and set(emulator.held().values()) == {1}


def test_a_full_temporary_disk(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    """No file of the worker may grow while the error file is read, as on a full disk; a retry finds room again."""
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = True

    def read(file: Any) -> Any:
        if full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
            yield from (ErrorRow(message="x" * 4_000) for _ in range(10_000))
        yield ErrorRow(line_number=20, message="read")

    one = task(importing(tmp_path / "a.ndjson", error_file_reader=read, **options(tmp_path)))
    try:
        with pytest.raises(
            AirflowException,
            match=r"temporary folder takes no file \(OperationalError\)\. The .* is over, .*: once this is mended, a retry writes the file",
        ):
            one.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    full = False
    assert joined(rows_of(one.run())) == [("a.ndjson", 20)]
    assert len(emulator.imports()) == 1 and set(emulator.held().values()) == {1}


def test_killed_at_any_write_the_file_is_whole(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    """Whichever try ends the import, with nothing in memory of the ones before."""
    source = tmp_path / "a.ndjson"
    write_profiles(source, 300, bad=(3, 200))
    wanted, at = None, 0
    while True:
        at += 1
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        failing(emulator, "identifier")
        for after in (False, True):
            store = DyingStore(at, after=after)
            one = task(importing(source, **options(tmp_path)), store)
            try:
                result = one.run()
            except Killed:
                result = one.run()
            rows = [{**row, "execution": None, "columns": None} for row in rows_of(result)]
            wanted = wanted or rows
            assert rows == wanted and len(joined(rows)) == 14
            assert set(emulator.held(result["import_id"]).values()) == {1}
        if store.writes < at:
            break
    assert at > 10


# Personal data.

PERSON = "ada.canary@example.org"


def canaries(emulator: Emulator, folder: Path, content: str, caplog: Any) -> tuple[str, Task]:
    lines = [profile(n, user_account_id=f"{PERSON}-{n}") for n in range(1, 101)]
    lines[49] = json.dumps({"operation": "UPSERT", "email_hash": PERSON})
    write(folder / "a.ndjson", lines)
    failing(emulator, "line", messages_quote_lines=True)
    caplog.set_level("DEBUG")
    one = Task(importing(folder / "a.ndjson", **options(folder, rejects_content=content)))
    result = one.run()
    rows = rows_of(result)
    assert len(joined(rows)) == 4 and len(joined(rows, "rejected")) == 1
    said = json.dumps([one.store.values, one.pushed, one.shown, result]) + caplog.text
    assert PERSON not in said and emulator.token not in said
    return Path(result["results_uri"]).read_text(), one


def test_lines_stand_in_the_file_alone(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, _ = canaries(emulator, tmp_path, "line", caplog)
    assert text.count(PERSON) > 5


def test_positions_hold_no_content(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, _ = canaries(emulator, tmp_path, "position", caplog)
    assert PERSON not in text and '"raw"' not in text and '"columns"' not in text
    assert emulator.token not in text


def test_a_name_that_is_too_long_for_a_file_system(
    emulator: Emulator, task: type[Task], tmp_path: Path
) -> None:
    write_profiles(tmp_path / "a.ndjson", 100, bad=(50,))
    failing(emulator)
    files = set()
    for last in "ab":
        one = task(importing(tmp_path / "a.ndjson", **options(tmp_path)))
        one.run_id = "r" * 249 + last
        files.add(Path(one.run()["results_uri"]).name)
    assert len(files) == 2 and all(name.endswith(".results.ndjson") for name in files)
