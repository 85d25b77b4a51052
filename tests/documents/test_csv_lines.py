"""USER_SEGMENT as CSV: the header decides over the file, each row is judged as the JSON line it stands for."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bulk.documents import check_line
from airflow_bulk.documents.lines.checking import Finding, LineChecker, Report
from airflow_bulk.documents.lines.csv_lines import COLUMNS, check_header

HEADER = (
    "operation,user_account_id,compartment_id,email_hash,user_agent_id,segment_id,segment_technical_name,"
    "expiration_duration,expiration_ts,data_bag"
)


def check_row(row: str | bytes, header: str = HEADER) -> list[str]:
    return check_line("USER_SEGMENT", row, "TEXT_CSV", header=header)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        HEADER + "\r\n",
        "expiration_duration,segment_id,email_hash,operation\n",
        '"operation","user_agent_id","segment_technical_name","expiration_duration"',
    ],
)
def test_good_headers(header: str) -> None:
    assert check_header(header.encode()) == []


@pytest.mark.parametrize(
    ("header", "reasons"),
    [
        (
            "operation,email_hash,segment_id",
            ["the CSV header lacks expiration_duration"],
        ),
        (
            "expiration_duration,compartment_id",
            [
                "the CSV header lacks operation",
                "the CSV header lacks user_account_id or email_hash or user_agent_id",
                "the CSV header lacks segment_id or segment_technical_name",
            ],
        ),
        (
            "operation,email_hash,segment_id,expiration_duration,email_hash",
            ["the CSV header names email_hash twice"],
        ),
        (
            "operation,email_hash,canary,segment_id,expiration_duration,",
            [
                "the CSV header's cell at position 6 is empty: a spreadsheet adds such columns; take them out of all lines",
                f"unknown column in the CSV header at position 3; known are {', '.join(COLUMNS)}",
            ],
        ),
        (
            "operation,email_hash,segment_id,expiration_duration, ,",
            [
                "the CSV header's cells at positions 5, 6 are empty: a spreadsheet adds such columns; take them out of all lines"
            ],
        ),
        (
            "sep=,",
            [
                "the line `sep=` is one that a spreadsheet adds, but the CSV header has to stand there: take it out"
            ],
        ),
        (
            '"sep=,",,,',
            [
                "the line `sep=` is one that a spreadsheet adds, but the CSV header has to stand there: take it out"
            ],
        ),
        (
            " \t",
            ["the line is blank, but the CSV header has to stand there: take the blank lines above it out"],
        ),
        (
            "operation,Email_Hash,user_agent_id,segment_id, expiration_duration",
            [
                f"unknown column in the CSV header at position 2, 5; known are {', '.join(COLUMNS)}",
                "the CSV header lacks expiration_duration",
            ],
        ),
        ('operation,"email_hash', ["the CSV header cannot be read: a quoted cell does not end on its line"]),
    ],
)
def test_bad_headers_refuse_the_whole_file(header: str, reasons: list[str]) -> None:
    found = check_header(header.encode())
    assert [reason.split(";")[0] for reason in found] == [reason.split(";")[0] for reason in reasons]
    assert not any("canary" in reason for reason in found)
    with pytest.raises(ValueError, match="CSV header"):
        LineChecker("USER_SEGMENT", "TEXT_CSV", header=header.encode())


def test_a_wrong_delimiter_is_guessed_from_the_header() -> None:
    header = HEADER.replace(",", ";").encode()
    assert "the CSV header has a single column: is ',' the delimiter of this file?" in check_header(header)
    assert check_header(header, ";") == []
    assert check_header(HEADER.replace(",", "\t").encode(), "\t") == []
    assert check_header(b"\xff,operation") == ["the CSV header is not valid UTF-8"]


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "é", "\0"])
def test_impossible_delimiters(delimiter: str) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        check_header(HEADER.encode(), delimiter)


@pytest.mark.parametrize(
    "row",
    [
        'UPDATE,crm-77,4100,,,880,,43200,,"{""tier"":""gold""}"',
        "DELETE,,,5b0f,,,vip,0,,",
        "DELETE,,,5b0f,,,vip,0,,\r\n",
        '"UPDATE","","","","vec:1","880","vip","1","0",""',
        "UPDATE,,,é,,880,,0,1.5,12",
        'UPDATE,"a,b",,,,880,,0,,',
    ],
)
def test_good_rows(row: str) -> None:
    assert check_row(row) == []


QUOTES = "a quote stands where none may be: quote the whole cell and double the quotes inside"
BREAK = "a quoted cell does not end on its line; each line is one command, so no cell may hold a line break"


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ("DELETE,,,5b0f,,,vip,0,", ["the row has 9 cells, but the header has 10"]),
        ("DELETE,,,5b0f,,,vip,0,,,", ["the row has 11 cells, but the header has 10"]),
        ("DELETE", ["the row has 1 cell, but the header has 10"]),
        ('DELETE,,,5b0f,,,vip,0,,"a', [BREAK]),
        ('b",,,5b0f,,,vip,0,,', [BREAK]),
        ('DELETE,,,5b"0"f,,,vip,0,,', [QUOTES]),
        ('DELETE,,,"5b"0f"",,,vip,0,,', [QUOTES]),
        ("DELETE,,,5b\r0f,,,vip,0,,", ["a carriage return stands inside the line"]),
        ("DELETE,,,5b\0f,,,vip,0,,", ["the line holds a NUL byte"]),
        (b"DELETE,,,\xff,,,vip,0,,", ["the line is not valid UTF-8"]),
        (HEADER, None),
        ("UPSERT,,,5b0f,,,vip,0,,", ["operation has to be UPDATE or DELETE"]),
        (",,,5b0f,,,vip,0,,", ["operation is missing"]),
        (
            "UPDATE,a,,5b0f,,,vip,0,,",
            ["exactly one identifier is needed, found 2: user_account_id and email_hash"],
        ),
        (
            "UPDATE,,4100,,,,vip,0,,",
            ["exactly one identifier is needed, found none, compartment_id alone is none"],
        ),
        ("UPDATE,a,,,,,,0,,", ["one of segment_id or segment_technical_name is needed"]),
        ("UPDATE,a,,,,1,,,,", ["expiration_duration is missing, UPDATE needs it"]),
        *(
            (f"UPDATE,a,,,,1,,{cell},,", ["expiration_duration has to be an integer of 0 or more (minutes)"])
            for cell in ("1.5", "-1", "1e3", "007", "9223372036854775808")
        ),
        (
            "UPDATE,a,,,,1,,a day,,",
            ["expiration_duration has to be an integer of 0 or more (minutes), but is a string"],
        ),
        ("UPDATE,a,,,,1,,0,-1,", ["expiration_ts has to be a number of 0 or more (milliseconds)"]),
        ('UPDATE,a,,,,1,,0,,"{""tier"":gold}"', ["data_bag has to be a string that holds JSON"]),
        ("UPDATE,a,,,,1,,0,,gold", ["data_bag has to be a string that holds JSON"]),
        (",,,,,,,,,", None),
    ],
)
def test_bad_rows(row: str | bytes, reasons: list[str] | None) -> None:
    found = check_row(row)
    assert found
    assert reasons is None or found == reasons
    raw = row if isinstance(row, bytes) else row.encode()
    report = LineChecker("USER_SEGMENT", "TEXT_CSV", header=HEADER.encode()).check(raw + b"\n")
    assert report.findings == [Finding(0, 0, len(raw) + 1, tuple(found))]


def test_a_quoted_line_break_rejects_each_of_its_lines() -> None:
    good = "DELETE,,,5b0f,,,vip,0,,"
    block = f'{good}\nUPDATE,"two\nlines",,,,880,,0,,\n{good}\n'.encode()
    report = LineChecker("USER_SEGMENT", "TEXT_CSV", header=HEADER.encode()).check(block)
    assert report.lines == 4
    assert [(finding.line, finding.reasons) for finding in report.findings] == [(1, (BREAK,)), (2, (BREAK,))]


def test_another_delimiter() -> None:
    header = HEADER.replace(",", ";").encode()
    checker = LineChecker("USER_SEGMENT", "TEXT_CSV", header=header, delimiter=";")
    assert checker.check(b'UPDATE;a,b;;;;880;;0;;"{""a"":1}"\n\nDELETE;;;5b0f;;;vip;0;;').findings == [
        Finding(1, 34, 35, ())
    ]


# -- Every path the same verdict, and the same as the JSON line --------------------------------------------------

CELLS = st.sampled_from(
    ["", "", "a", "0", "1.5", "-1", "1e2", "007", "é", " ", 'say "x"', "a,b", "a;b", "{}", '{"a":[1]}']
)
CELLS |= st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), max_size=4)
LIKELY: dict[str, st.SearchStrategy[str]] = {
    "operation": st.sampled_from(["UPDATE", "DELETE"]),
    "expiration_duration": st.integers(0, 10**20).map(str),
    "expiration_ts": st.just("") | st.integers(0, 10**13).map(str),
    "data_bag": st.just("")
    | st.dictionaries(st.text("a\"',é", max_size=3), st.integers(), max_size=2).map(json.dumps),
}


@st.composite
def tables(draw: Callable[[Any], Any]) -> tuple[str, list[list[str]]]:
    """A good header and rows, most of them good."""
    left_out = draw(
        st.sets(st.sampled_from(["expiration_ts", "data_bag", "compartment_id", "user_agent_id"]))
    )
    columns = draw(st.permutations([name for name in COLUMNS if name not in left_out]))
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        row = {name: draw(LIKELY[name]) if name in LIKELY else "" for name in columns}
        row[draw(st.sampled_from(["user_account_id", "email_hash"]))] = draw(CELLS)
        row[draw(st.sampled_from(["segment_id", "segment_technical_name"]))] = draw(CELLS)
        for name in draw(st.sets(st.sampled_from(columns), max_size=1)):
            row[name] = draw(CELLS)
        rows.append([row[name] for name in columns])
    return ",".join(columns), rows


def written(row: list[str], quoting: int) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator="").writerow(row)
    return out.getvalue()


def as_json(columns: list[str], row: list[str]) -> str:
    """The JSON line that a row stands for: an empty cell is an absent property."""
    line: dict[str, object] = {name: cell for name, cell in zip(columns, row, strict=True) if cell}
    for name in ("expiration_duration", "expiration_ts"):
        if name in line and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", str(line[name])):
            line[name] = json.loads(str(line[name]))
    return json.dumps(line)


def line_by_line(header: str, block: bytes) -> Report:
    findings, start = [], 0
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", block)
    for number, line in enumerate(lines):
        reasons = check_row(line, header)
        if reasons or not line.strip(b" \t\r\n"):
            findings.append(Finding(number, start, start + len(line), tuple(reasons)))
        start += len(line)
    return Report(len(lines), findings)


@settings(max_examples=100, deadline=None)
@given(tables(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_judged_as_their_json_lines(
    table: tuple[str, list[list[str]]], quoting: int, end: str
) -> None:
    header, rows = table
    for row in rows:
        good = not check_line("USER_SEGMENT", as_json(header.split(","), row))
        assert (not check_row(written(row, quoting) + end, header)) == good
    block = "".join(written(row, quoting) + end for row in rows).encode()
    checker = LineChecker("USER_SEGMENT", "TEXT_CSV", header=header.encode())
    assert checker.check(block) == line_by_line(header, block)


@settings(max_examples=150, deadline=None)
@given(tables(), st.data())
def test_every_path_gives_the_verdicts_of_check_line(
    table: tuple[str, list[list[str]]], data: st.DataObject
) -> None:
    header, rows = table
    lines = []
    for row in rows:
        line = written(row, data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))).encode()
        if data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(line)))
            junk = data.draw(
                st.sampled_from([b'"', b'""', b",", b"\r", b"\0", b"\xff", b"\xc3\xa9", b" ", b"", b"\n"])
            )
            line = line[:place] + junk + line[place + data.draw(st.integers(0, 2)) :]
        lines.append(line)
    block = b"\n".join(lines)
    checker = LineChecker("USER_SEGMENT", "TEXT_CSV", header=header.encode())
    for _ in range(2):
        assert checker.check(block) == line_by_line(header, block)
