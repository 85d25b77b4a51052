"""The results file, end to end: real files, the emulator's error files in every layout, whichever try ends the import."""

from __future__ import annotations

import gzip
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from one_task import DyingStore, Killed, Task, importing, profile, write_profiles
from results_file import joined, read_rows, rows_of, stand_where_they_say

from airflow_bulk.documents.error_files import ErrorRow
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions

LAYOUTS = ("line_number", "identifier", "line", "message")
EVERY = 20
PARTS = SendingOptions(max_part_bytes=20_000, settle=0.2)
DATA_FILE = {"method": "GET", "path": "data_file"}


def failing(emulator: Emulator, layout: str = "line_number", **settings: Any) -> None:
    emulator.settings(error_file_layout=layout, **settings)
    emulator.fault("failing_lines", every=EVERY)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"max_failures": "60%", "rejects_path": str(folder / "bad"), **more}


def expected(emulator: Emulator, names: list[str], files: list[list[str]]) -> list[tuple[str, int]]:
    """The good lines that the emulator does not hold."""
    held = emulator.held()
    return [
        (name, number)
        for name, lines in zip(names, files, strict=True)
        for number, line in enumerate(lines, 1)
        if '"user_account_id"' in line and line not in held
    ]


def lines_of(count: int, bad: tuple[int, ...] = (), blank: tuple[int, ...] = (), first: int = 0) -> list[str]:
    return [
        "" if n in blank else '{"operation":"UPSERT"}' if n in bad else profile(first + n)
        for n in range(1, count + 1)
    ]


def write(path: Path, lines: list[str]) -> bytes:
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return content


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout(
    emulator: Emulator, task: type[Task], tmp_path: Path, layout: str, deferrable: bool
) -> None:
    """Several files, parts over their borders, rejected and blank lines in between, a packed file."""
    files = [
        lines_of(150, bad=(3, 77), blank=(4, 5, 90)),
        lines_of(260, bad=(1, 2, 260), first=1000),
        lines_of(40, blank=(1,), first=2000),
    ]
    names = ["a.ndjson", "b.ndjson.gz", "c.ndjson"]
    plain = {name: write(tmp_path / name, lines) for name, lines in zip(names, files, strict=True)}
    failing(emulator, layout)
    one = task(importing([str(tmp_path / name) for name in names], **options(tmp_path)))
    if deferrable:
        emulator.settings(start_delay=5)
        make = one.make
        one.make = lambda: one._deferring(make())
        with pytest.raises(TaskDeferred):
            one.run()
        emulator.clock.advance(60)
        one.try_number -= 1
    result = one.run()
    rows = rows_of(result)
    assert joined(rows, "rejected") == [
        ("a.ndjson", 3),
        ("a.ndjson", 77),
        ("b.ndjson.gz", 1),
        ("b.ndjson.gz", 2),
        ("b.ndjson.gz", 260),
    ]
    stand_where_they_say(rows, plain)
    failed = [row for row in rows if row["state"] == "failed"]
    assert all("Refused by a fault" in row["reasons"] for row in failed)
    if layout == "message":
        assert joined(rows) == [] and result["lines_unjoined"] == len(expected(emulator, names, files))
        assert all(row["lines"] == 1 for row in failed)
        stretches = [row["stretches"] for row in failed if "stretches" in row]
        assert len(stretches) == len({row["part"] for row in failed})
        assert any(len(each) > 1 for each in stretches)  # a part over a border
        for each in stretches:
            for uri, line, offset, _, _ in each:
                assert plain[Path(uri).name][:offset].count(b"\n") == line - 1
    else:
        assert joined(rows) == expected(emulator, names, files) and result["lines_failed"] > 15
        assert all("raw" in row for row in failed)
        assert result["lines_unjoined"] == 0
    assert {row["execution"] for row in failed} <= set(result["execution_ids"])
    assert all("error_id" in row["columns"] for row in failed)


@pytest.mark.parametrize(
    ("layout", "found"), [("line_number", False), ("identifier", True), ("line", True), ("message", False)]
)
def test_segments_as_csv(
    emulator: Emulator, task: type[Task], tmp_path: Path, layout: str, found: bool
) -> None:
    """Whether a number counts the header cannot be told from these numbers, so they are not taken."""
    header = "operation,user_account_id,segment_id,expiration_duration"
    rows = [header, *(f"UPDATE,crm-{n},880,60" if n != 7 else "UPDATE,crm" for n in range(2, 101))]
    plain = write(tmp_path / "s.csv", rows)
    failing(emulator, layout)
    result = task(importing(tmp_path / "s.csv", document_type="USER_SEGMENT", **options(tmp_path))).run()
    told = rows_of(result)
    stand_where_they_say(told, {"s.csv": plain})
    assert joined(told, "rejected") == [("s.csv", 7)]
    # The header is line 1, and line 7 was not sent: the 20th line of the body is line 22 of the file.
    assert joined(told) == ([("s.csv", n) for n in (22, 42, 62, 82)] if found else [])
    if layout == "line_number":
        assert "count the CSV header" in told[-1]["reasons"][-1]


def test_a_reader_of_the_user(emulator: Emulator, task: type[Task], tmp_path: Path) -> None:
    header = "operation,user_account_id,segment_id,expiration_duration"
    write(tmp_path / "s.csv", [header, *(f"UPDATE,crm-{n},880,60" for n in range(2, 101))])
    failing(emulator)

    def read(file: Any) -> Any:
        next(file)
        for row in file:
            number, _, message = row.decode().rstrip().split(",")
            yield ErrorRow(line_number=int(number) - 1, message=message, columns={"mine": "yes"})

    make = importing(
        tmp_path / "s.csv", document_type="USER_SEGMENT", error_file_reader=read, **options(tmp_path)
    )
    rows = rows_of(task(make).run())
    assert joined(rows) == [("s.csv", n) for n in (21, 41, 61, 81)]
    assert rows[0]["columns"] == {"mine": "yes"}


def test_a_reader_that_fails(
    emulator: Emulator, task: type[Task], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator)

    def read(file: Any) -> Any:
        yield ErrorRow(line_number=20, message="first")
        raise KeyError("crm-40 is somebody")

    result = task(importing(tmp_path / "a.ndjson", error_file_reader=read, **options(tmp_path))).run()
    rows = rows_of(result)
    assert joined(rows) == [("a.ndjson", 20)]
    assert rows[-1]["lines"] == 4
    assert rows[-1]["reasons"] == [
        "not joined: the error file cannot be read: error_file_reader failed after 1 row (KeyError)"
    ]
    assert "somebody" not in caplog.text


@pytest.mark.parametrize(
    "row",
    [
        ErrorRow(line_number=40, message="\ud800x"),
        ErrorRow(line_number=40, identifier="\ud800x"),
        ErrorRow(line_number=40, raw="\ud800x"),
        ErrorRow(line_number=40, columns={"x": "\ud800x"}),
        ErrorRow(line_number=40, columns={"\ud800x": "x"}),
    ],
    ids=["message", "identifier", "raw", "value", "name"],
)
def test_a_reader_whose_text_no_file_can_hold(
    emulator: Emulator, task: type[Task], tmp_path: Path, row: ErrorRow
) -> None:
    write_profiles(tmp_path / "a.ndjson", 100)
    failing(emulator)

    def read(file: Any) -> Any:
        return [ErrorRow(line_number=20, message="first"), row, ErrorRow(line_number=60)]

    rows = rows_of(task(importing(tmp_path / "a.ndjson", error_file_reader=read, **options(tmp_path))).run())
    assert joined(rows) == [("a.ndjson", 20)]
    assert rows[-1]["lines"] == 4 and "with half a surrogate pair in" in rows[-1]["reasons"][0]


@pytest.mark.parametrize("layout", ["line_number", "identifier"])
def test_activities_are_not_told_by_a_number_alone(
    emulator: Emulator, task: type[Task], tmp_path: Path, layout: str
) -> None:
    """An activity that is sent twice is there twice, so the wrong line would be a harm."""
    activity = {"$type": "SITE_VISIT", "$session_status": "NO_SESSION", "$events": []}
    lines = [
        json.dumps(activity | {"$ts": 1_700_000_000_000 + n, "$user_account_id": f"crm-{n}"})
        for n in range(1, 101)
    ]
    write(tmp_path / "a.ndjson", lines)
    failing(emulator, layout)
    result = task(importing(tmp_path / "a.ndjson", document_type="USER_ACTIVITY", **options(tmp_path))).run()
    rows = rows_of(result)
    assert result["lines_failed"] == 5
    if layout == "identifier":
        assert joined(rows) == [("a.ndjson", n) for n in (20, 40, 60, 80, 100)]
    else:
        assert joined(rows) == [] and result["lines_unjoined"] == 5
        assert all("a line number alone is not believed" in row["reasons"][-1] for row in rows)


# Error files that are not to be had: the import does not fail of it.


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


@pytest.mark.parametrize("kept", ["gone", "cut"])
def test_the_reject_file_is_not_what_it_was(
    emulator: Emulator, task: type[Task], tmp_path: Path, kept: str
) -> None:
    """Then rejected lines come from the source once more."""
    source = tmp_path / "a.ndjson"
    write_profiles(source, 400, bad=(3, 250))
    emulator.settings(start_delay=50)
    one = task(importing(source, deferrable=True, **options(tmp_path)))
    with pytest.raises(TaskDeferred):
        one.run()
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
    source = tmp_path / "a.ndjson"
    write_profiles(source, 400, bad=(3, 250))
    emulator.settings(start_delay=50)
    one = task(importing(source, deferrable=True, **options(tmp_path)))
    with pytest.raises(TaskDeferred):
        one.run()
    for path in (*(tmp_path / "bad").iterdir(), source):
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
        AirflowException, match=r"is over, and nothing of it is lost or sent again: a retry writes"
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
            match=r"temporary folder takes no file \(OperationalError\)\. The .* is over, .*: a retry writes the file",
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
