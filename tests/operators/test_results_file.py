"""The results file, end to end: real files, the emulator's error files in every layout, whichever try ends the import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from one_task import Task, importing, write_profiles
from results_file import (
    LAYOUTS,
    expected,
    failing,
    joined,
    lines_of,
    options,
    rows_of,
    stand_where_they_say,
    write,
)

from airflow_bulk.documents.error_files import ErrorRow
from airflow_bulk.emulator.handle import Emulator


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
