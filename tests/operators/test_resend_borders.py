"""What is sent again at the borders: lines that today's check judges in another way, words of the platform, headers, encodings."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import profile
from resends import BROKEN, accounts, closes, fails, held, imported, partly_failed, resending, write

from airflow_bulk.documents.error_files import ErrorRow
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.runs.failures import TryFailed

UNCHECKED = SendingOptions(max_part_bytes=20_000, settle=0.2, check=False)


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(row) for row in Path(result["results_uri"]).read_text().splitlines()]


def states(result: dict[str, Any]) -> Counter[str]:
    return Counter(row["state"] for row in rows_of(result))


def with_a_long_line(emulator: Emulator, task: Any, folder: Path) -> dict[str, Any]:
    """40 lines, of which number 25 is too long for a part, and some fail without a place."""
    emulator.settings(error_file_layout="message")
    lines = [profile(n) for n in range(1, 41)]
    lines[24] = profile(25, user_profile={"x": "y" * 25_000})
    (folder / "p.ndjson").write_text("\n".join(lines) + "\n")
    fails(emulator, every=10, times=None)
    first = imported(task, folder / "p.ndjson", folder / "bad")
    assert first["lines_rejected"] == 1 and first["lines_failed"] == first["lines_unjoined"] > 1
    emulator.clear_faults()
    return first


@pytest.mark.parametrize("part_bytes", [20_000, 100_000])
def test_a_whole_part_leaves_out_a_line_that_was_too_long(
    emulator: Emulator, task: Any, tmp_path: Path, part_bytes: int
) -> None:
    first = with_a_long_line(emulator, task, tmp_path)
    sending = SendingOptions(max_part_bytes=part_bytes, settle=0.2)
    again = resending(first, whole_parts=True, sending=sending, max_failures="100%")
    result = task(again).run()
    assert closes(result, 40) == {"accepted": 39, "rejected": 1}
    assert states(result) == {"rejected": 1}
    assert "crm-25" not in held(emulator)


def test_a_line_that_was_too_long_is_sent_once_in_a_larger_part(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    first = with_a_long_line(emulator, task, tmp_path)
    sending = SendingOptions(max_part_bytes=100_000, settle=0.2)
    result = task(resending(first, only="both", whole_parts=True, sending=sending)).run()
    assert closes(result, 40) == {"accepted": 40}
    assert held(emulator)["crm-25"] == 1


def test_a_line_that_nobody_checked_is_rejected_and_not_lost(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    emulator.settings(error_file_layout="message")
    write(tmp_path / "p.ndjson", 40, broken=(5,))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", sending=UNCHECKED)
    assert (first["lines_rejected"], first["lines_failed"], first["lines_unjoined"]) == (0, 1, 1)
    result = task(resending(first, whole_parts=True, max_failures=1)).run()
    assert closes(result, 40) == {"accepted": 39, "rejected": 1}
    (row,) = rows_of(result)
    assert (row["state"], row["raw"]) == ("rejected", BROKEN)


@pytest.mark.parametrize("content", ["line", "position"])
def test_a_part_whose_rejected_lines_are_not_told_is_refused(
    emulator: Emulator, task: Any, tmp_path: Path, content: str
) -> None:
    emulator.settings(error_file_layout="message")
    write(tmp_path / "p.ndjson", 40, broken=(7, 20))
    fails(emulator, every=10)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", rejects_content=content)
    told = rows_of(first)
    part = next(row for row in told if "stretches" in row)
    before = len(emulator.imports())
    Path(first["results_uri"]).write_text("".join(json.dumps(row) + "\n" for row in told[1:]))
    with pytest.raises(TryFailed, match="does not tell all of its rejected lines") as raised:
        task(resending(first, whole_parts=True)).run()
    assert (
        f"{part['part_lines'] + 1} lines would be sent again, and the part had {part['part_lines']}"
        in str(raised.value)
    )
    assert len(emulator.imports()) == before
    for row in told:  # as an earlier version has written them
        row.pop("part_lines", None)
    Path(first["results_uri"]).write_text("".join(json.dumps(row) + "\n" for row in told))
    result = task(resending(first, whole_parts=True, max_failures=2)).run()
    assert closes(result, 40) == {"accepted": 38, "rejected": 2}


def quoting(errors: Any) -> Any:
    """An error file reader whose messages quote the line."""
    for row in csv.DictReader(io.TextIOWrapper(errors, "utf-8")):
        yield ErrorRow(
            line_number=int(row["line_number"]), message="bad value 'CANARY-secret@example.com' for 'x'"
        )


@pytest.mark.parametrize("content", ["line", "position"])
def test_rows_that_are_left_hold_no_more_words_than_are_allowed(
    emulator: Emulator, task: Any, tmp_path: Path, content: str
) -> None:
    emulator.settings(error_file_layout="line_number")
    write(tmp_path / "p.ndjson", 40, broken=(3,))
    fails(emulator, every=10)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", error_file_reader=quoting)
    again = resending(
        first,
        only="rejected",
        transform=lambda bad: profile(bad.line),
        rejects_content=content,
        max_failures="100%",
        rejects_path=str(tmp_path / "bad2"),
    )
    result = task(again).run()
    rows = rows_of(result)
    assert len(rows) == first["lines_failed"] > 0
    assert ("CANARY" in json.dumps(rows)) is (content == "line")
    assert {reason.startswith("bad value") for row in rows for reason in row["reasons"]} == {True}


HEADER = "operation,user_account_id,segment_id,expiration_duration"


def imported_csv(emulator: Emulator, task: Any, folder: Path, **more: Any) -> dict[str, Any]:
    """40 lines of CSV, of which number 7 is rejected and some fail."""
    emulator.settings(error_file_layout="identifier")
    lines = [f"UPDATE,crm-{n},880,60" if n != 7 else "UPDATE,crm-7" for n in range(1, 41)]
    (folder / "s.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    fails(emulator, every=10)
    first = imported(task, folder / "s.csv", folder / "bad", document_type="USER_SEGMENT", **more)
    assert first["lines_rejected"] == 1 and first["lines_failed"] > 0 == first["lines_unjoined"]
    return first


def sent_again(bad: Any) -> Any:
    return bad.text if bad.state == "failed" else f"{bad.text},880,60"


@pytest.mark.parametrize("source", ["gone", "changed"])
def test_csv_lines_that_the_results_file_holds_need_no_source(
    emulator: Emulator, task: Any, tmp_path: Path, source: str
) -> None:
    first = imported_csv(emulator, task, tmp_path)
    (tmp_path / "s.csv").unlink()
    if source == "changed":
        (tmp_path / "s.csv").write_text("segment_id,user_account_id\n880,x\n")
    assert {row["header"] for row in rows_of(first)} == {HEADER}
    result = task(resending(first, only="both", transform=sent_again)).run()
    assert closes(result, 40) == {"accepted": 40}


@pytest.mark.parametrize("source", ["gone", "changed"])
def test_a_results_file_without_headers_says_that_it_needs_the_source(
    emulator: Emulator, task: Any, tmp_path: Path, source: str
) -> None:
    first = imported_csv(emulator, task, tmp_path)
    rows = rows_of(first)
    for row in rows:  # as an earlier version has written them
        row.pop("header")
    Path(first["results_uri"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (tmp_path / "s.csv").read_text()
    (tmp_path / "s.csv").unlink()
    if source == "changed":
        (tmp_path / "s.csv").write_text(text + "UPDATE,x,880,60\n")
    with pytest.raises(
        AirflowFailException, match=f"{source}.*the header of its lines.*does not hold it"
    ) as raised:
        task(resending(first)).run()
    assert "rejects_content" not in str(raised.value)


def test_where_no_content_is_wanted_no_header_is_kept(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = imported_csv(emulator, task, tmp_path, rejects_content="position")
    assert all("header" not in row for row in rows_of(first))
    result = task(resending(first, only="both", transform=sent_again, rejects_content="position")).run()
    assert closes(result, 40) == {"accepted": 40}


def test_rows_that_are_left_keep_their_header(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = imported_csv(emulator, task, tmp_path)
    (tmp_path / "s.csv").unlink()
    second = task(resending(first, max_failures=1, rejects_path=str(tmp_path / "bad2"))).run()
    assert closes(second, 40) == {"accepted": 39, "rejected": 1}
    (left,) = rows_of(second)
    assert (left["header"], left["line"]) == (HEADER, 8)
    result = task(resending(second, only="rejected", transform=sent_again)).run()
    assert closes(result, 40) == {"accepted": 40}


def test_no_text_is_written_into_an_import_of_another_encoding(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    write(tmp_path / "p.ndjson", 40)
    fails(emulator, every=10)
    latin = {"encoding": "latin-1", "sending": UNCHECKED}
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", **latin)

    def text(bad: Any) -> dict[str, Any]:
        return {**bad.record, "user_profile": {"name": "\u00e9"}}

    with pytest.raises(TryFailed, match=r"returned dict at .*: it must return bytes"):
        task(resending(first, transform=text, sending=UNCHECKED)).run()

    result = task(resending(first, transform=lambda bad: bad.raw, sending=UNCHECKED)).run()
    assert closes(result, 40) == {"accepted": 40}


def test_a_later_round_does_not_say_that_nothing_was_sent(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    first = partly_failed(emulator, task, tmp_path, 60, every=3)
    fails(emulator, every=2, times=None)

    def once(bad: Any) -> Any:
        if "p.ndjson" in bad.source:
            return bad.text
        raise KeyError(bad.text)

    with pytest.raises(TryFailed, match=r"failed with KeyError.* Nothing of this round was sent; a retry"):
        task(resending(first, transform=once, rounds=3)).run()
    assert len(emulator.imports()) == 2  # the first round was sent, and what it brought stays


def test_a_part_whose_rejected_lines_were_mended_before_is_sent_without_them(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    emulator.settings(error_file_layout="message")
    write(tmp_path / "p.ndjson", 100, broken=(7, 8, 60))
    fails(emulator, every=40)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    mended = resending(
        first,
        only="rejected",
        transform=lambda bad: profile(bad.line),
        max_failures="100%",
        rejects_path=str(tmp_path / "bad2"),
    )
    second = task(mended).run()
    assert closes(second, 100) == {"accepted": 98, "failed": 2}
    whole = next(row for row in rows_of(second) if "stretches" in row)
    sizes = [size for _, _, _, size, _ in whole["stretches"]]
    assert sum(sizes) + 3 * len(BROKEN + "\n") == (tmp_path / "p.ndjson").stat().st_size
    result = task(resending(second, whole_parts=True)).run()
    assert closes(result, 100) == {"accepted": 100}
    assert set(held(emulator)) == set(accounts(100))
    assert {one for one, count in held(emulator).items() if count > 1}.isdisjoint(
        {"crm-7", "crm-8", "crm-60"}
    )
