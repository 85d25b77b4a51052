"""The reject file: complete or not there, replaced by a retry, private."""

from __future__ import annotations

import json

import fsspec

from airflow_bulk.documents.source_check import RejectFile

ROW = {
    "source": "a.ndjson",
    "version": "v",
    "line": 7,
    "part": 2,
    "reasons": ["not an object"],
    "offset": 90,
    "length": 4,
}


class StoredFolder:
    """What is used of a universal path that names a folder."""

    def __init__(self, path: str) -> None:
        self.fs, self.path = fsspec.filesystem("memory"), path

    def __truediv__(self, name: str) -> StoredFolder:
        return StoredFolder(f"{self.path}/{name}")

    def open(self, mode: str):
        return self.fs.open(self.path, mode)

    def __str__(self) -> str:
        return f"memory:/{self.path}"


def test_rows_with_content(tmp_path):
    rejects = RejectFile(tmp_path / "deep" / "rejects", "a.ndjson")
    rejects.write(**ROW, raw=b"[1]\r\n")
    rejects.write(**ROW, raw=b"\xff\n")
    rejects.write(**ROW, raw=None)
    assert not (tmp_path / "deep" / "rejects" / "a.ndjson").exists()
    path = tmp_path / "deep" / "rejects" / "a.ndjson"
    assert rejects.finish() == str(path)
    common = {
        "schema": 1,
        "state": "rejected",
        "where": "check",
        "lines": 1,
        "execution": None,
        "source": "a.ndjson",
        "version": "v",
        "line": 7,
        "part": 2,
        "reasons": ["not an object"],
        "offset": 90,
        "bytes": 4,
    }
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        common | {"raw": "[1]"},
        common | {"raw_base64": "/w=="},
        common,
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["a.ndjson"]


def test_position_alone_holds_no_content(tmp_path):
    rejects = RejectFile(str(tmp_path), "a.ndjson", content="position")
    rejects.write(**ROW, raw=b"secret\n")
    rejects.finish()
    assert "secret" not in (tmp_path / "a.ndjson").read_text()


def test_a_retry_replaces_the_file_and_what_a_killed_try_left(tmp_path):
    killed = RejectFile(tmp_path, "a.ndjson")
    killed.write(**ROW, raw=b"killed\n")
    first = RejectFile(f"file://{tmp_path}", "a.ndjson")
    first.write(**ROW, raw=b"first\n")
    first.finish()
    second = RejectFile(tmp_path, "a.ndjson")
    second.write(**ROW, raw=b"second\n")
    second.finish()
    assert [one.name for one in tmp_path.iterdir()] == ["a.ndjson"]
    assert "second" in (tmp_path / "a.ndjson").read_text()
    clean = RejectFile(tmp_path, "a.ndjson")
    assert clean.finish() == ""
    assert not list(tmp_path.iterdir())


def test_discarding_leaves_nothing(tmp_path):
    rejects = RejectFile(tmp_path, "a.ndjson")
    rejects.write(**ROW, raw=b"x\n")
    rejects.discard()
    assert not list(tmp_path.iterdir())
    rejects.discard()


def test_a_folder_in_a_store():
    folder = StoredFolder("/bucket/rejects")
    rejects = RejectFile(folder, "a.ndjson")
    rejects.write(**ROW, raw=b"x\n")
    assert rejects.finish() == "memory://bucket/rejects/a.ndjson"
    assert json.loads(folder.fs.cat_file("/bucket/rejects/a.ndjson"))["raw"] == "x"
