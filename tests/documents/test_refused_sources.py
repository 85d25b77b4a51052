"""Sources that are refused whole, because they are damaged, have changed or are in another format."""

from __future__ import annotations

import os

import pytest
from cut_source import CSV, GOOD, NDJSON, Outcome, write_files

from airflow_bulk.documents.source.cuts import Layout, plan_parts
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceChanged, SourceError
from airflow_bulk.documents.source.reader import SourceReader


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-20], "truncated"),
        (lambda data: data[:50] + b"\xff" * 8 + data[58:], "not a sound|truncated"),
    ],
)
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_compressed_file_is_refused(tmp_path, suffix, damage, words):
    content = b"".join(GOOD % os.urandom(8).hex().encode() + b"\n" for _ in range(2_000))
    [name] = write_files(tmp_path, [content], suffix)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(SourceError, match=words):
        Outcome(tmp_path, [name], NDJSON, Layout(), planned=False)


@pytest.mark.parametrize("change", ["grow", "touch", "remove"])
def test_a_file_that_changed_is_not_read(tmp_path, change):
    path = tmp_path / "a.ndjson"
    path.write_bytes(GOOD % b"a" + b"\n")
    found = find_files(str(path))
    if change == "grow":
        path.write_bytes(GOOD % b"aa" + b"\n")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with SourceReader(found, NDJSON, 1_000) as reader, pytest.raises(SourceChanged, match=r"a\.ndjson"):
        list(plan_parts(reader, Layout(max_part_bytes=1_000)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[\n{"operation":"DELETE"}]', "jq -c"),
        (b'{\n  "operation": "DELETE"\n}', "jq -c"),
        (b'\xef\xbb\xbf[{"operation":"DELETE"}]', "jq -c"),
    ],
)
def test_json_that_is_not_one_command_a_line_is_refused_whole(tmp_path, content, words):
    names = write_files(tmp_path, [content])
    with pytest.raises(SourceError, match=words):
        Outcome(tmp_path, names, NDJSON, Layout(), planned=True)


@pytest.mark.parametrize(
    "header",
    [
        b"UPDATE,a,b,c\n",
        b"operation,operation,user_account_id,segment_id,expiration_duration\n",
        b"operation,color\n",
    ],
)
def test_a_faulty_csv_header_is_refused_whole(tmp_path, header):
    (tmp_path / "a.csv").write_bytes(header + b"UPDATE,a,880,0\n")
    with pytest.raises(SourceError, match=r"a\.csv: line 1: "):
        Outcome(tmp_path, ["a.csv"], CSV, Layout(), planned=True)
