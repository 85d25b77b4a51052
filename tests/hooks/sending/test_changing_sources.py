"""What is sent is what was checked: changed files, truncated ones, objects of a store."""

from __future__ import annotations

import gzip
import os

import fsspec
import pytest
from tests.hooks.sending.pooling import (
    ALL_WAYS,
    GOOD,
    GOOD_LINES,
    GOOD_SET,
    Gate,
    jobs_of,
    make_pool,
    pack,
    sent_lines,
    target_of,
)

from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceChanged, SourceError


@ALL_WAYS
def test_a_file_that_changed_behind_its_dates_is_cut(sink, source, workers):
    gate = Gate()
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        state = source.stat()
        with source.open("r+b") as file:
            file.seek(250_000)
            file.write(b"X")
        os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
        pool.aim(target_of(sink))
        with pytest.raises(SourceChanged, match=r"source\.ndjson"):
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert set(sent_lines(sink)) < GOOD_SET


@ALL_WAYS
def test_facts_that_differ_from_the_record_stop_the_run(sink, source, workers):
    first, second = Gate(), Gate()
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), first)
    source.write_bytes(source.read_bytes().replace(b"0000123", b"0000124"))
    with make_pool(source, workers) as pool:
        pool.aim(target_of(sink))
        with pytest.raises(SourceChanged, match=r"source\.ndjson \(part 1\)"):
            pool.run(jobs_of(first.parts), second)
    assert GOOD % 1 not in sent_lines(sink) and not second.parts


@ALL_WAYS
def test_a_truncated_file_ends_the_first_pass(source, workers):
    packed = pack(source, ".gz")
    packed.write_bytes(packed.read_bytes()[:-100])
    with make_pool(packed, workers) as pool, pytest.raises(SourceError, match="truncated"):
        pool.run(pool.first_pass(), Gate())


class CountingStore:
    """A store that counts what is fetched from it."""

    def __init__(self) -> None:
        self.inner = fsspec.filesystem("memory")
        self.fetched: list[tuple[str, int]] = []

    def cat_file(self, path, start=None, end=None):
        data = self.inner.cat_file(path, start, end)
        self.fetched.append((path, len(data)))
        return data

    def __getattr__(self, name):
        return getattr(self.inner, name)


class StoredPath:
    def __init__(self, store: CountingStore, uri: str) -> None:
        self.fs, self.path = store, uri.removeprefix("memory:/")


@pytest.fixture
def store(source):
    store = CountingStore()
    half = len(source.read_bytes()) // 2
    half = source.read_bytes().index(b"\n", half) + 1
    store.inner.pipe_file("/bucket/1.ndjson", source.read_bytes()[:half])
    store.inner.pipe_file("/bucket/2.ndjson", source.read_bytes()[half:])
    for number in "12":
        packed = gzip.compress(store.inner.cat_file(f"/bucket/{number}.ndjson"))
        store.inner.pipe_file(f"/bucket/{number}.ndjson.gz", packed)
    yield store
    store.inner.rm("/bucket", recursive=True)


@ALL_WAYS
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("spooled", [False, True])
def test_remote_objects_are_read_twice_or_once(tmp_path, sink, store, workers, suffix, spooled):
    files = find_files(f"memory://bucket/*.ndjson{suffix}", lambda uri: StoredPath(store, uri))
    gate = Gate()
    with make_pool(files, workers, spool_dir=str(tmp_path) if spooled else None) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts, check=False), gate)
    assert sent_lines(sink) == GOOD_LINES
    read = sum(count for _, count in store.fetched)
    stored = sum(one.record.size for one in files)
    assert read == stored if spooled else read <= 2 * stored
    if not spooled and not suffix:
        assert len(store.fetched) <= 2 * len(gate.parts) + 4
    assert {path.name for path in tmp_path.iterdir()} == {"source.ndjson"}


def test_an_object_that_changed_between_the_passes_stops_the_run(sink, store):
    files = find_files("memory://bucket/*.ndjson", lambda uri: StoredPath(store, uri))
    gate = Gate()
    with make_pool(files) as pool:
        pool.run(pool.first_pass(), gate)
    store.inner.pipe_file("/bucket/2.ndjson", b"\n")
    with make_pool(files) as pool:
        pool.aim(target_of(sink))
        with pytest.raises(SourceChanged, match=r"2\.ndjson"):
            pool.run(jobs_of(gate.parts), gate)
