"""Finding files: the same ones in the same order, and clear refusals before anything is read."""

from __future__ import annotations

import gzip
import os

import fsspec
import pytest

from airflow_bulk.documents.source.bodies import Spill
from airflow_bulk.documents.source.contents import open_contents, spool
from airflow_bulk.documents.source.files import find_files, shown
from airflow_bulk.documents.source.parts import NothingFound, SourceChanged, SourceError, SourceMissing


class StoredPath:
    """What is used of a universal path."""

    def __init__(self, uri: str) -> None:
        self.fs, self.path = fsspec.url_to_fs(uri.replace("conn@", ""))


@pytest.fixture
def store():
    fs = fsspec.filesystem("memory")
    for name, content in {
        "b.ndjson": b"{}\n",
        "a.ndjson.gz": gzip.compress(b"{}\n"),
        "c.csv": b"x\n",
    }.items():
        fs.pipe_file(f"/bucket/in/{name}", content)
    yield fs
    fs.rm("/bucket", recursive=True)


def test_patterns_are_sorted_and_entries_keep_their_order(tmp_path):
    for name in ("b.ndjson", "a.ndjson", "c.ndjson"):
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "folder.ndjson").mkdir()
    found = find_files([str(tmp_path / "c.ndjson"), str(tmp_path / "*.ndjson")])
    assert [one.path.name for one in found] == ["c.ndjson", "a.ndjson", "b.ndjson"]
    assert find_files(f"file://{tmp_path}/a.ndjson")[0].record == found[1].record
    assert found[1].record.size == 3
    assert found[1].record.version == str((tmp_path / "a.ndjson").stat().st_mtime_ns)


def test_a_name_with_pattern_signs_is_the_file_of_that_name(tmp_path):
    (tmp_path / "a[1].ndjson").write_bytes(b"{}\n")
    (tmp_path / "a1.ndjson").write_bytes(b"{}\n")
    assert [one.path.name for one in find_files(str(tmp_path / "a[1].ndjson"))] == ["a[1].ndjson"]


def test_compression_is_seen_by_the_first_bytes(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(gzip.compress(b"{}\n"))
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(b"{}\n"))
    assert [one.record.compression for one in find_files(str(tmp_path / "*"))] == ["gzip", "gzip"]


def _fifo(path):
    os.mkfifo(path)


def _loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "name", "error", "words"),
    [
        (lambda path: None, "a.ndjson", SourceMissing, "no such file"),
        (lambda path: path.mkdir(), "a.ndjson", SourceError, "is a directory"),
        (_fifo, "a.ndjson", SourceError, "not a regular file"),
        (_loop, "a.ndjson", SourceError, "cannot be read"),
        (lambda path: path.write_bytes(b"{}\n"), "a.ndjson.gz", SourceError, "not gzip data"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "a.ndjson.zst", SourceError, "is gzip data"),
        (lambda path: path.write_bytes(b"x\n"), "a.csv", SourceError, "check_extension=False"),
        (lambda path: path.write_bytes(gzip.compress(b"x\n")), "a.csv.gz", SourceError, "ends in .csv"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, make, name, error, words):
    make(tmp_path / name)
    with pytest.raises(error, match=words) as refusal:
        find_files(str(tmp_path / name))
    assert str(tmp_path / name) in str(refusal.value)
    assert "Nothing was sent" in str(refusal.value)


def test_the_extension_check_can_be_turned_off_and_knows_both_formats(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x\n")
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    assert find_files(str(tmp_path / "a.csv"), check_extension=False)
    assert find_files(str(tmp_path / "a.csv"), mime_type="TEXT_CSV")
    with pytest.raises(SourceError, match=r"\.jsonl"):
        find_files(str(tmp_path / "a.jsonl"), mime_type="TEXT_CSV")


def test_an_empty_pattern_is_an_error_of_its_own(tmp_path, store):
    for pattern in (str(tmp_path / "*.ndjson"), "memory://bucket/in/*.zst"):
        with pytest.raises(NothingFound):
            find_files(pattern, StoredPath)


def test_objects_of_a_store(store):
    found = find_files("memory://conn@bucket/in/*.ndjson*", StoredPath)
    assert [one.record.uri for one in found] == [
        "memory://conn@/bucket/in/a.ndjson.gz",
        "memory://conn@/bucket/in/b.ndjson",
    ]
    assert [(one.record.compression, one.record.local) for one in found] == [("gzip", False), ("", False)]
    with pytest.raises(SourceMissing):
        find_files("memory://bucket/in/none.ndjson", StoredPath)
    with pytest.raises(SourceError, match="directory"):
        find_files("memory://bucket/in", StoredPath)
    with pytest.raises(SourceError, match="no storage"):
        find_files("s3://bucket/key")


def test_an_object_that_changed_is_not_read(store):
    found = find_files("memory://bucket/in/b.ndjson", StoredPath)
    store.pipe_file("/bucket/in/b.ndjson", b"{} \n")
    with pytest.raises(SourceChanged, match=r"b\.ndjson"):
        open_contents(found[0], 1_000)


@pytest.mark.parametrize("folder", ["{home}", "~"])
def test_spooled_copies_read_like_the_originals(tmp_path, store, monkeypatch, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = find_files(["memory://bucket/in/b.ndjson", "memory://bucket/in/a.ndjson.gz"], StoredPath)
    spooled, copies = spool(found, folder.format(home=tmp_path))
    Spill(folder.format(home=tmp_path)).close()
    with copies:
        for one in spooled:
            view = memoryview(bytearray(10))
            assert bytes(view[: open_contents(one, 1_000).readinto(view, 0)]) == b"{}\n"
        assert not list(tmp_path.iterdir())


def test_secrets_in_a_uri_are_not_shown():
    assert shown("https://user:secret@host/key?X-Signature=abc#x") == "https://user:***@host/key"
    assert shown("s3://conn_id@bucket/a*.gz") == "s3://conn_id@bucket/a*.gz"
    assert shown("/data/what?.ndjson") == "/data/what?.ndjson"
    assert shown("abfs://box/key.gz?sv=2024&sig=abc%2F") == "abfs://box/key.gz"
    for scheme in ("https", "HTTPS", "http::https"):
        assert shown(f"{scheme}://host/key?abc") == f"{scheme}://host/key"
    for query in ("&sig=abc", "$x=abc", "a[0]=abc"):
        assert shown(f"s3://bucket/key?{query}") == "s3://bucket/key"
    assert shown("s3://conn@bucket/what?/a#1.ndjson") == "s3://conn@bucket/what?/a#1.ndjson"


def test_the_home_of_the_worker_s_user(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/a.ndjson").write_bytes(b"{}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for source in ("~/a.ndjson", "~/*.ndjson", "file://~/a.ndjson"):
        assert [one.path for one in find_files(source)] == [tmp_path / "home/a.ndjson"]
    with pytest.raises(SourceMissing, match=rf"^{tmp_path}/home/b.ndjson: no such file. Nothing was sent"):
        find_files("~/b.ndjson")
    (tmp_path / "~").mkdir()
    (tmp_path / "~/a.ndjson").write_bytes(b"{}\n")
    assert [one.path for one in find_files("~/a.ndjson")] == [tmp_path / "~/a.ndjson"]


def test_a_relative_path_that_is_missing_says_from_where_it_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = rf"A relative path counts from the worker's folder, {tmp_path}\."
    with pytest.raises(
        SourceMissing, match=rf"{tmp_path}/in/a\.ndjson: no such file\. {said} Nothing was sent"
    ):
        find_files("in/a.ndjson")
    with pytest.raises(NothingFound, match=rf"^in/\*: no file matches this pattern\. {said}$"):
        find_files("in/*")
    with pytest.raises(SourceMissing) as absolute:
        find_files(str(tmp_path / "a.ndjson"))
    assert "A relative path" not in str(absolute.value)


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        ("export_{ds}.ndjson", "{ds}", "looks like a placeholder that nobody filled: .*as in {{ ds }}"),
        ("export_{ dag_run.run_id }.ndjson", "{ dag_run.run_id }", "nobody filled"),
        ("export_${DS}.ndjson", "${DS}", "nobody filled"),
        ("export_$RUN_DATE.ndjson", "$RUN_DATE", "nobody filled"),
        ("export_%Y%m%d.ndjson", "%Y", "nobody filled"),
        ("export_{{ ds }}.ndjson", "{{ ds }}", "was not rendered: "),
        ("export_{% if x %}1{% endif %}.ndjson", "{% if x %}", "was not rendered: "),
        ("*_{ds}.ndjson", "{ds}", "nobody filled"),
    ],
)
def test_a_placeholder_in_the_name_of_a_missing_file_is_named(tmp_path, store, name, found, words):
    for source in (str(tmp_path / name), f"memory://bucket/in/{name}"):
        with pytest.raises(SourceMissing, match=words) as refusal:
            find_files(source, StoredPath)
        assert f" {found} " in str(refusal.value)
    (tmp_path / name).write_bytes(b"{}\n")
    assert [one.path.name for one in find_files(str(tmp_path / name))] == [name]


@pytest.mark.parametrize(
    "name", ["a%20b.ndjson", "a%d0%bf.ndjson", "_$folder$", "{a,b}.ndjson", "a-{1}.ndjson"]
)
def test_what_is_no_placeholder_is_not_called_one(tmp_path, name):
    with pytest.raises(SourceMissing, match=r"no such file\. Nothing was sent"):
        find_files(str(tmp_path / name))
