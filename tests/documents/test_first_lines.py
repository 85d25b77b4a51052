"""Where the content of a file begins: what it is refused for there, in which line, and what its blank lines cost."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from cut_source import CSV, GOOD, NDJSON, UNCHECKED, Outcome, write_files

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceError
from airflow_bulk.documents.source.reader import LineRules, SourceReader
from airflow_bulk.documents.source_check import RejectFile, SourceCheck

BOM = b"\xef\xbb\xbf"
COMMAND = {"operation": "DELETE", "user_account_id": "7"}
LINE = json.dumps(COMMAND).encode()
# What may stand before the first content, and how many lines it has.
BLANK_STARTS = {
    "nothing": (b"", 0),
    "BOM": (BOM, 0),
    "CRLF": (b"\r\n", 1),
    "BOM and blank lines": (BOM + b"\n \t\n\r\n", 3),
    "BOM behind a blank line": (b"\n" + BOM, 1),
    "one look": (b"\n" * (64 << 10), 64 << 10),
    "a BOM on the border of two looks": (b"\n" * ((64 << 10) - 1) + BOM, (64 << 10) - 1),
    "many looks": (b"  \t\r\n" * 70_000, 70_000),
}
ARRAY, PRETTY, COMMA = r"jq -c '\.\[\]' FILE", r"jq -c \. FILE", r"sed 's/,\[\[:space:\]\]\*\$//' FILE"
DOCUMENTS = {
    "array of one line": (b"[" + LINE + b"]", ARRAY),
    "brackets alone": (b"[\n" + LINE + b"\n]\n", ARRAY),
    "brackets alone, CRLF": (b"[\r\n" + LINE + b",\r\n" + LINE + b"\r\n]\r\n", ARRAY),
    "indented array": (json.dumps([COMMAND], indent=2).encode(), ARRAY),
    "indented object": (json.dumps(COMMAND, indent=2).encode(), PRETTY),
    "indented object, CRLF": (json.dumps(COMMAND, indent=2).replace("\n", "\r\n").encode(), PRETTY),
    "a name alone": (b'{"a":\n' + LINE + b"\n}\n", PRETTY),
    "a list begins": (b'{"a": [\n' + LINE + b"\n]}\n", PRETTY),
    "commas before": (b'{ "a": 1\n, "b":\n' + LINE + b"\n}\n", PRETTY),
    "the bracket behind": (b'{"a": ["\\"", {"b": 1}\n\n  ]}\n' + LINE, PRETTY),
    "a comma behind many blanks": (
        b'{"a": [{"x": 1}\n' + b" " * 200_000 + b"\n,\n" + LINE + b"\n]}\n",
        PRETTY,
    ),
    "commas behind": (LINE + b",\n" + LINE + b",\n" + LINE + b"\n", COMMA),
    "commas behind, CRLF": (LINE + b" , \r\n" + LINE + b"\r\n", COMMA),
    "a part of an object and a comma": (b'{"a": [{"b": 1},\n' + LINE + b"\n]}\n", PRETTY),
    "a long line and a comma": (GOOD % (b"x" * 300_000) + b",\n" + LINE + b"\n", COMMA),
    "a long line that goes on": (b'{"a": "' + b"x" * 300_000 + b'"\n, "b":\n' + LINE + b"}\n", PRETTY),
}
PACKS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def beginnings(paths: list[Path], rules: LineRules = NDJSON, limit: int = 1_000_000) -> None:
    with SourceReader(
        find_files([str(path) for path in paths], mime_type=rules.mime_type), rules, limit
    ) as reader:
        for number in range(len(paths)):
            reader.beginning(number)


@pytest.mark.parametrize("suffix", PACKS)
@pytest.mark.parametrize("start", BLANK_STARTS.values(), ids=BLANK_STARTS)
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_json_that_is_not_one_command_a_line_is_refused_wherever_it_begins(tmp_path, start, document, suffix):
    good, other = tmp_path / "1.ndjson", tmp_path / f"2.ndjson{suffix}"
    good.write_bytes(LINE + b"\n")
    other.write_bytes(PACKS[suffix](start[0] + document[0]))
    with pytest.raises(SourceError, match=document[1]) as refusal:
        beginnings([good, other])
    assert f"{other}: " in str(refusal.value)
    assert f"line {start[1] + 1}" in str(refusal.value).replace(",", " ").replace(";", " ")
    assert str(refusal.value).endswith("Nothing was sent; a retry looks again.")
    assert "user_account_id" not in str(refusal.value)


@pytest.mark.parametrize("unseen", ["\u00a0", "\u200b", "\u2028\n", "\x1e", "\0\n", "\x1a", "\n\ufeff\u2060"])
def test_an_array_behind_what_nobody_sees_is_refused_whole(tmp_path, unseen):
    path = tmp_path / "a.ndjson"
    path.write_bytes(unseen.encode() + b"[\n" + LINE + b"\n]\n")
    with pytest.raises(SourceError, match=rf"line {1 + unseen.count(chr(10))} begins a JSON array"):
        beginnings([path])


@pytest.mark.parametrize("start", BLANK_STARTS.values(), ids=BLANK_STARTS)
@pytest.mark.parametrize(
    "content",
    [
        LINE,
        LINE + b"\n" + LINE,
        b"{}\n" + LINE,
        b"canary\n" + LINE,
        b'{"operation":"DEL\n' + LINE,
        b'{"operation":"DELETE"\n' + LINE,  # cut short: the next line is another command
        b'{"a":"a line break in a text\n, and its end"}\n' + LINE,
        b'{"a":"\\\\\\"\n}"}\n' + LINE,
        LINE + b"\n,\n" + LINE,
        LINE + b"\n]\n",
        b"\xff\xfe{}\n" + LINE,  # damaged, and no UTF-16
        b"{\0}\0\n" + LINE,
        LINE + b"\r" + LINE + b"\n" + LINE,
        b"",
    ],
)
def test_what_speaks_against_one_line_alone_refuses_no_file(tmp_path, start, content):
    path = tmp_path / "a.ndjson"
    path.write_bytes(start[0] + content)
    beginnings([path])


@pytest.mark.parametrize(("suffix", "planned"), [("", True), ("", False), (".gz", False), (".zst", False)])
def test_blank_lines_at_the_beginning_are_left_out_and_lines_keep_their_numbers(tmp_path, suffix, planned):
    contents = [
        start + b"bad\n" + (GOOD % b"a" + b"\n") * 40 + b"bad\n" for start, _ in BLANK_STARTS.values()
    ]
    names = write_files(tmp_path, contents, suffix)
    blank = [lines for _, lines in BLANK_STARTS.values()]
    outcome = Outcome(tmp_path, names, NDJSON, Layout(max_part_bytes=2_000, workers=2), planned)
    assert sum(part.blank for part in outcome.parts) == sum(blank)
    rejects = RejectFile(tmp_path / "rejects", "r.ndjson")
    check = SourceCheck(
        find_files([str(tmp_path / name) for name in names]),
        NDJSON,
        Layout(max_part_bytes=2_000, workers=2),
        rejects=rejects,
    )
    check.run()
    assert [(part.start, part.length) for part in check.parts] == [
        (part.start, part.length) for part in outcome.parts
    ]
    rows = [json.loads(row) for row in Path(rejects.finish()).read_text().splitlines()]
    lines = [
        (str(tmp_path / name), lines + more)
        for name, lines in zip(names, blank, strict=True)
        for more in (1, 42)
    ]
    assert [(row["source"], row["line"]) for row in rows] == lines


def test_many_blank_lines_are_passed_over_in_flat_memory(tmp_path):
    path = tmp_path / "a.ndjson"
    with path.open("wb") as file:
        for _ in range(40):
            file.write(b"\n" * 1_000_000)
        file.write(b"[\n")
    tracemalloc.start()
    with pytest.raises(SourceError, match=r"line 40000001 begins a JSON array"):
        beginnings([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("encoding", "named", "mark"),
    [
        ("utf-16", "utf-16", b""),
        ("utf-16be", "utf-16", b"\xfe\xff"),
        ("utf-32", "utf-32", b""),
        ("utf-32be", "utf-32", b"\0\0\xfe\xff"),
        ("utf-16le", "utf-16le", b""),
        ("utf-16be", "utf-16be", b""),
        ("utf-32le", "utf-32le", b""),
        ("utf-32be", "utf-32be", b""),
    ],
)
@pytest.mark.parametrize("csv", [False, True])
@pytest.mark.parametrize("suffix", PACKS)
def test_a_text_in_another_encoding_is_refused_whole(tmp_path, encoding, named, mark, csv, suffix):
    text = "operation,user_account_id,segment_id,expiration_duration\r\nUPDATE,é,880,0\r\n" if csv else ""
    path = tmp_path / ("a.csv" if csv else "a.ndjson")
    path = path.with_name(path.name + suffix)
    # The last two have a byte that is a line end in UTF-8.
    data = mark + (text or f'{LINE.decode()[:-1]},"name":"é\u300a\u010a"}}\r\n' * 3).encode(encoding)
    path.write_bytes(PACKS[suffix](data))
    for rules in (CSV,) if csv else (NDJSON, LineRules(document_type="X", line_check="json:loads")):
        with pytest.raises(
            SourceError, match=f"its text is {named[:6].upper()}, but has to be UTF-8; .*-f {named} "
        ):
            beginnings([path], rules)
    beginnings(
        [path],
        UNCHECKED if not csv else LineRules(document_type="USER_SEGMENT", mime_type="TEXT_CSV", check=False),
    )


@pytest.mark.parametrize("repeat", [1, 3_000, 200_000])
@pytest.mark.parametrize("end", [b"", b"\r", b"\r\n"])
def test_lines_that_end_in_cr_alone(tmp_path, repeat, end):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\r" + b"\r".join([LINE] * (1 + repeat)) + end)
    with pytest.raises(SourceError, match=r"its lines end in CR alone, .*tr '\\r' '\\n' < FILE"):
        beginnings([path])
    beginnings([path], LineRules(document_type="X", line_check="json:loads"))
    table = tmp_path / "a.csv"
    rows = [b"UPDATE,a,880,0"] * repeat
    table.write_bytes(b"\r".join([b"operation,user_account_id,segment_id,expiration_duration", *rows]) + end)
    with pytest.raises(SourceError, match="its lines end in CR alone"):
        beginnings([table], CSV)


def test_one_object_with_cr_between_its_properties_is_a_line(tmp_path):
    names = write_files(tmp_path, [b'{"operation":"DELETE",\r"user_account_id":"7"}\r'])
    assert Outcome(tmp_path, names, NDJSON, Layout(), planned=True).parts[0].lines == 1


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"sep=,\r\n", "line 1: the line `sep=` is one that a spreadsheet adds"),
        (BOM + b'"sep=;"\n', "line 1: the line `sep=` is one that a spreadsheet adds"),
        (b"\r\n", "line 1: the line is blank, but the CSV header has to stand there"),
    ],
)
def test_lines_above_a_csv_header(tmp_path, start, words):
    path = tmp_path / "a.csv"
    path.write_bytes(start + b"operation,user_account_id,segment_id,expiration_duration\nUPDATE,a,880,0\n")
    with pytest.raises(SourceError, match=words):
        beginnings([path], CSV)
