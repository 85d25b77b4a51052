"""The check of a whole source in one process: parts, line numbers, totals, and how it is stopped."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

import pytest

from airflow_bulk.documents.inspection import CheckStopped
from airflow_bulk.documents.source.cuts import Layout, plan_parts
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import Part, SourceChanged, SourceError
from airflow_bulk.documents.source.reader import LineRules, SourceReader
from airflow_bulk.documents.source_check import RejectFile, SourceCheck

RULES = LineRules(document_type="USER_PROFILE")
LAYOUT = Layout(max_part_bytes=10_000)
GOOD = b'{"operation":"DELETE","user_account_id":"%07d"}\n'
BAD = b'{"operation":"canary"}\n'


def write(folder: Path, suffix: str = "") -> list[Path]:
    """Two files of 1,000 lines, a bad and a blank one among each hundred; some lines hold an unknown property."""
    paths = []
    for name in ("a", "b"):
        lines = [GOOD % number for number in range(1, 1_001)]
        lines[6::100] = [BAD] * 10
        lines[7::100] = [b"\n"] * 10
        lines[0] = b'{"operation":"DELETE","user_account_id":"x","colour":"red"}\n'
        path = folder / f"{name}.ndjson{suffix}"
        path.write_bytes(gzip.compress(b"".join(lines)) if suffix else b"".join(lines))
        paths.append(path)
    return paths


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_source_is_counted_and_its_bad_lines_are_told_by_number(tmp_path, suffix):
    paths = write(tmp_path, suffix)
    rejects = RejectFile(tmp_path / "rejects", "r.ndjson")
    heard: list[Part] = []
    check = SourceCheck(
        find_files([str(path) for path in paths]), RULES, LAYOUT, rejects=rejects, on_part=heard.append
    )
    check.run()
    assert check.parts == heard and [part.index for part in heard] == list(range(len(heard)))
    assert len(heard) > 8
    assert sum(part.lines for part in heard) == 1_960
    assert sum(part.rejected for part in heard) == sum(part.blank for part in heard) == 20
    # Every part begins in the line after those of the parts before it.
    place = 1
    for part in heard:
        assert part.line == (place if place <= 1_000 else place - 1_000)
        place += part.lines + part.rejected + part.blank
    rows = [json.loads(row) for row in Path(rejects.finish()).read_text().splitlines()]
    assert [(Path(row["source"]), row["line"]) for row in rows] == [
        (path, line) for path in paths for line in range(7, 1_000, 100)
    ]
    assert [(one.uri, one.line) for one in check.totals.first] == [
        (str(paths[0]), line) for line in range(7, 1_000, 100)
    ]
    assert set(check.totals.reasons.values()) == {20}  # each bad line breaks two rules
    assert check.totals.hints["unknown property"] >= 1


def test_the_parts_are_those_that_would_be_sent(tmp_path):
    files = find_files([str(path) for path in write(tmp_path)])
    check = SourceCheck(files, RULES, LAYOUT)
    check.run()
    with SourceReader(files, RULES, LAYOUT.max_part_bytes) as reader:
        planned = list(plan_parts(reader, LAYOUT))
    assert [(part.file, part.start, part.length) for part in check.parts] == [
        (part.file, part.start, part.length) for part in planned
    ]


def test_an_empty_source_has_no_parts(tmp_path):
    (tmp_path / "empty.ndjson").touch()
    check = SourceCheck(find_files(str(tmp_path / "empty.ndjson")), RULES, LAYOUT)
    check.run()
    assert check.parts == [] and check.totals.first == []


def test_a_line_longer_than_a_part_is_rejected(tmp_path):
    path = tmp_path / "long.ndjson"
    path.write_bytes(GOOD % 1 + b"x" * 20_000 + b"\n" + GOOD % 2)
    check = SourceCheck(find_files(str(path)), RULES, LAYOUT)
    check.run()
    assert [one.line for one in check.totals.first] == [2]
    assert sum(part.lines for part in check.parts) == 2


def test_a_truncated_file_ends_the_check(tmp_path):
    [path, _] = write(tmp_path, ".gz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"a\.ndjson\.gz.*truncated"):
        SourceCheck(find_files(str(path)), RULES, LAYOUT).run()


def test_a_file_that_changed_since_it_was_found_is_not_checked(tmp_path):
    [path, _] = write(tmp_path)
    found = find_files(str(path))
    path.write_bytes(path.read_bytes() + GOOD % 1)
    with pytest.raises(SourceChanged, match=r"a\.ndjson"):
        SourceCheck(found, RULES, LAYOUT).run()


def test_stopped_from_a_signal_handler(tmp_path):
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(1_000_000)))
    check = SourceCheck(find_files(str(path)), RULES, Layout())
    before = signal.signal(signal.SIGALRM, lambda number, frame: check.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(CheckStopped):
            check.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert check.parts == []


def test_stopped_before_it_begins(tmp_path):
    check = SourceCheck(find_files([str(path) for path in write(tmp_path)]), RULES, LAYOUT)
    check.stop()
    with pytest.raises(CheckStopped):
        check.run()
    assert check.parts == []
