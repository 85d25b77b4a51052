"""Which lines of a results file are sent again, and what they are by then."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.documents.chosen_lines import MOST_STRETCHES, BadLine, ChosenLines, RowChoice, rows_left
from airflow_bulk.documents.result_rows import SCHEMA, ResultRow, content_of
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceChanged, SourceUnusable
from airflow_bulk.documents.source.reader import LineRules

PROFILES = LineRules(document_type="USER_PROFILE")
ACTIVITIES = LineRules(document_type="USER_ACTIVITY")
SEGMENTS = LineRules(document_type="USER_SEGMENT", mime_type="TEXT_CSV")
HEADER = b"operation,user_account_id,segment_id,expiration_duration\n"


def profile(number: int) -> bytes:
    return json.dumps(
        {"operation": "UPSERT", "user_account_id": f"u{number}", "user_profile": {"n": number}}
    ).encode()


def row(**fields: Any) -> ResultRow:
    return ResultRow(**{"schema": SCHEMA, "part": 0, **fields})


def at(
    path: Path, lines: list[bytes], number: int, *, state: str = "failed", header: bytes = b""
) -> ResultRow:
    """A row that points at a line of a file."""
    offset = len(header) + sum(len(line) + 1 for line in lines[:number])
    return row(
        state=state,
        source=str(path),
        version=mark(path),
        line=number + 1 + bool(header),
        offset=offset,
        bytes=len(lines[number]) + 1,
    )


def mark(path: Path) -> str:
    return find_files(str(path), check_extension=False)[0].record.mark


def written(path: Path, lines: list[bytes], header: bytes = b"") -> Path:
    data = header + b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz"])
def test_a_line_without_content_is_read_at_its_place(tmp_path: Path, name: str) -> None:
    lines = [profile(n) for n in range(50)]
    path = written(tmp_path / name, lines)
    rows = [at(path, lines, n) for n in (3, 17, 49, 2)]  # also backwards
    chosen = ChosenLines(rows, PROFILES, RowChoice("failed", False))
    assert list(chosen) == [lines[n] + b"\n" for n in (3, 17, 49, 2)]
    assert (chosen.chosen.failed, chosen.chosen.lines) == (4, 4)


def test_what_is_chosen_follows_only(tmp_path: Path) -> None:
    rows = [
        row(state="rejected", source="f", line=1, raw="r"),
        row(state="failed", source="f", line=2, raw="f"),
    ]
    chosen = {
        only: list(ChosenLines(rows, PROFILES, RowChoice(only, False)))
        for only in ("failed", "rejected", "both")
    }  # type: ignore[arg-type]
    assert chosen == {"failed": [b"f\n"], "rejected": [b"r\n"], "both": [b"r\n", b"f\n"]}


def test_a_file_that_changed_is_not_read_again(tmp_path: Path) -> None:
    lines = [profile(n) for n in range(3)]
    path = written(tmp_path / "a.ndjson", lines)
    one = at(path, lines, 1)
    written(path, [profile(9), *lines])
    with pytest.raises(SourceChanged, match="rejects_content='line'"):
        list(ChosenLines([one], PROFILES, RowChoice("failed", False)))


def fix(bad: BadLine) -> dict[str, Any] | None:
    record = bad.record
    return None if record["user_account_id"] == "u1" else {**record, "operation": "DELETE"}


def test_a_transform_changes_lines_and_leaves_some_out() -> None:
    rows = [row(state="failed", source="f", line=n + 1, raw=profile(n).decode()) for n in range(3)]
    chosen = ChosenLines(rows, PROFILES, RowChoice("failed", False), transform=fix)
    sent = [json.loads(line) for line in chosen]
    assert [(one["user_account_id"], one["operation"]) for one in sent] == [
        ("u0", "DELETE"),
        ("u2", "DELETE"),
    ]
    assert (chosen.chosen.failed, chosen.chosen.dropped, chosen.chosen.lines) == (3, 1, 2)


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        (lambda bad: 7, "returned int"),
        (lambda bad: "a\nb", "more than one line"),
        (lambda bad: " ", "an empty line"),
        (lambda bad: bad.text[:-1] + "\ud800}", "half a surrogate pair"),
        (lambda bad: bad.record["no such SECRET"], "failed with KeyError in test_chosen_lines.py, line "),
    ],
)
def test_a_transform_that_cannot_be_used(transform: Any, says: str) -> None:
    rows = [row(state="failed", source="f", line=5, raw='{"user_account_id": "SECRET"}')]
    with pytest.raises(SourceUnusable, match=says) as raised:
        list(ChosenLines(rows, PROFILES, RowChoice("failed", False), transform=transform))
    assert "f line 5" in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__
    assert "SECRET" not in repr(BadLine("SECRET", "failed", (), "f", 1, {"x": "SECRET"}))


def test_csv_lines_stand_under_their_header(tmp_path: Path) -> None:
    lines = [f"UPDATE,u{n},880,0".encode() for n in range(5)]
    path = written(tmp_path / "a.csv", lines, HEADER)
    rows = [at(path, lines, n, header=HEADER) for n in (1, 4)]
    assert list(ChosenLines(rows, SEGMENTS, RowChoice("failed", False))) == [
        HEADER,
        lines[1] + b"\n",
        lines[4] + b"\n",
    ]

    def other_segment(bad: BadLine) -> dict[str, Any]:
        return {**bad.record, "segment_id": 'a "b", c'}

    changed = list(ChosenLines(rows, SEGMENTS, RowChoice("failed", False), transform=other_segment))
    assert changed[1] == b'UPDATE,u1,"a ""b"", c",0\n'


def test_two_headers_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "a.csv", [b"UPDATE,u,880,0"], HEADER)
    other_header = b"operation,user_account_id,expiration_duration,segment_id\n"
    two = written(tmp_path / "b.csv", [b"UPDATE,u,0,880"], other_header)
    rows = [
        at(one, [b"UPDATE,u,880,0"], 0, header=HEADER),
        at(two, [b"UPDATE,u,0,880"], 0, header=other_header),
    ]
    with pytest.raises(SourceUnusable, match=r"b\.csv: its header is not that of the lines before"):
        list(ChosenLines(rows, SEGMENTS, RowChoice("failed", False)))


def part_row(path: Path, data_length: int, failed: int) -> ResultRow:
    return row(state="failed", lines=failed, part=0, stretches=[(str(path), 1, 0, data_length, mark(path))])


def test_a_whole_part_leaves_out_what_was_not_sent_then(tmp_path: Path) -> None:
    lines = [profile(0), b"", b"{broken", profile(1), profile(2)]
    path = written(tmp_path / "a.ndjson", lines)
    broken = at(path, lines, 2, state="rejected")
    one = part_row(path, path.stat().st_size, failed=2)
    left = ChosenLines([one], PROFILES, RowChoice("failed", False))
    assert (list(left), left.chosen.left) == ([], {"failed": 2})
    chosen = ChosenLines([broken, one], PROFILES, RowChoice("failed", True))
    assert list(chosen) == [profile(n) + b"\n" for n in range(3)]
    assert (chosen.chosen.in_parts, chosen.chosen.part_lines, chosen.chosen.lines) == (2, 3, 3)


@pytest.mark.parametrize("sent", [3, 5])
def test_blank_lines_are_left_out_whether_they_were_sent_or_not(tmp_path: Path, sent: int) -> None:
    path = written(tmp_path / "a.ndjson", [profile(0), b"", profile(1), b" \t", profile(2)])
    one = msgspec.structs.replace(part_row(path, path.stat().st_size, failed=2), part_lines=sent)
    chosen = ChosenLines([one], PROFILES, RowChoice("failed", True))
    assert list(chosen) == [profile(n) + b"\n" for n in range(3)]


@pytest.mark.parametrize("sent", [2, 4])
def test_a_part_that_is_read_otherwise_is_refused(tmp_path: Path, sent: int) -> None:
    path = written(tmp_path / "a.ndjson", [profile(n) for n in range(3)])
    one = msgspec.structs.replace(part_row(path, path.stat().st_size, failed=2), part_lines=sent)
    with pytest.raises(SourceUnusable, match=f"3 lines would be sent again, and the part had {sent}"):
        list(ChosenLines([one], PROFILES, RowChoice("failed", True)))
    never_sent = msgspec.structs.replace(one, state="unprocessed", lines=sent, part_lines=None)
    with pytest.raises(SourceUnusable, match=f"the part had {sent}"):
        list(ChosenLines([never_sent], PROFILES, RowChoice("failed", True)))


def test_activities_without_a_key_are_never_sent_twice(tmp_path: Path) -> None:
    activity = {
        "$ts": 1,
        "$type": "TOUCH",
        "$session_status": "NO_SESSION",
        "$events": [],
        "$user_account_id": "u",
    }
    keyed = json.dumps({**activity, "$unique_key": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}).encode()
    good = written(tmp_path / "a.ndjson", [keyed])
    rows = [part_row(good, len(keyed) + 1, failed=1)]
    assert list(ChosenLines(rows, ACTIVITIES, RowChoice("failed", True))) == [keyed + b"\n"]
    plain = json.dumps(activity).encode()
    bad = written(tmp_path / "b.ndjson", [keyed, plain])
    rows = [part_row(bad, bad.stat().st_size, failed=1)]
    with pytest.raises(SourceUnusable, match="without \\$unique_key"):
        list(ChosenLines(rows, ACTIVITIES, RowChoice("failed", True)))


@given(
    states=st.lists(st.sampled_from(["rejected", "failed"]), max_size=30),
    dropped=st.sets(st.integers(0, 29)),
    only=st.sampled_from(["failed", "rejected", "both"]),
)
def test_every_chosen_line_is_sent_or_dropped(states: list[str], dropped: set[int], only: Any) -> None:
    rows = [row(state=state, source="f", line=n + 1, raw=str(n)) for n, state in enumerate(states)]
    chosen = ChosenLines(
        rows,
        PROFILES,
        RowChoice(only, False),
        transform=lambda bad: None if int(bad.text) in dropped else bad.text,
    )
    wanted = [n for n, state in enumerate(states) if only in ("both", state)]
    assert [int(line) for line in chosen] == [n for n in wanted if n not in dropped]
    assert chosen.chosen.lines == len(wanted) - chosen.chosen.dropped
    assert chosen.chosen.rejected + chosen.chosen.failed == len(wanted)


def test_a_dictionary_of_csv_has_no_other_columns_than_the_header() -> None:
    rows = [row(state="failed", source="f", line=5, raw="UPDATE,u,880,0", header=HEADER.decode().rstrip())]

    def other_name(bad: BadLine) -> dict[str, Any]:
        return {**bad.record, "SECRET": "999"}

    with pytest.raises(SourceUnusable, match="1 key beside the columns of the header, at f line 5") as raised:
        list(ChosenLines(rows, SEGMENTS, RowChoice("failed", False), transform=other_name))
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("key", ["segment", "segment_id"])
def test_a_column_that_is_left_out_is_empty(key: str) -> None:
    rows = [row(state="failed", source="f", line=5, raw="UPDATE,u,880,0", header=HEADER.decode().rstrip())]

    def without(bad: BadLine) -> dict[str, Any]:
        return {name: value for name, value in bad.record.items() if name != key}

    sent = list(ChosenLines(rows, SEGMENTS, RowChoice("failed", False), transform=without))
    assert sent[1] == (b"UPDATE,u,,0\n" if key == "segment_id" else b"UPDATE,u,880,0\n")


LATIN = msgspec.structs.replace(SEGMENTS, check=False, encoding="latin-1")


@pytest.mark.parametrize("made", [str, dict])
def test_only_bytes_are_sent_in_another_encoding(made: type) -> None:
    line, header = "UPDATE,é,880,0".encode("latin-1"), "operation,né,segment_id,duration".encode("latin-1")
    stored = {**content_of(line), **content_of(header, "header")}
    assert set(stored) == {"raw_base64", "header_base64"}
    rows = [row(state="failed", source="f", line=5, **stored)]
    as_it_was = list(ChosenLines(rows, LATIN, RowChoice("failed", False)))
    assert as_it_was == [header + b"\n", line + b"\n"]
    chosen = ChosenLines(
        rows, LATIN, RowChoice("failed", False), transform=lambda bad: bad.raw.replace(b"880", b"881")
    )
    assert list(chosen) == [header + b"\n", line.replace(b"880", b"881") + b"\n"]
    with pytest.raises(SourceUnusable, match=f"returned {made.__name__} at f line 5: it must return bytes"):
        transform = {str: lambda bad: bad.text, dict: lambda bad: bad.record}[made]
        list(ChosenLines(rows, LATIN, RowChoice("failed", False), transform=transform))


@pytest.mark.parametrize("rejected", [2, MOST_STRETCHES])
def test_a_part_of_too_many_pieces_is_left_whole_and_refused_later(tmp_path: Path, rejected: int) -> None:
    good, broken = profile(0), b"{broken"
    path = written(tmp_path / "a.ndjson", [good, broken] * rejected + [good])
    pair = len(good) + len(broken) + 2
    line = {"state": "rejected", "source": str(path), "version": mark(path), "bytes": len(broken) + 1}
    rows = [row(line=2 * n + 2, offset=n * pair + len(good) + 1, **line) for n in range(rejected)]
    part = part_row(path, path.stat().st_size, failed=2)
    part = msgspec.structs.replace(part, part_lines=rejected + 1)
    left = list(rows_left([*rows, part], RowChoice("rejected", False)))
    again = ChosenLines(left, PROFILES, RowChoice("failed", True))
    if rejected < MOST_STRETCHES:
        assert [len(one.stretches) for one in left] == [rejected + 1]
        assert list(again) == [good + b"\n"] * (rejected + 1)
    else:
        assert left == [part]
        with pytest.raises(SourceUnusable, match="does not tell all of its rejected lines"):
            list(again)
