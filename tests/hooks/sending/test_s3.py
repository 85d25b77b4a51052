"""A source on an S3 server on loopback, through the library that Airflow's object storage uses."""

from __future__ import annotations

import gzip
import json

import pytest
import s3fs
from moto.server import ThreadedMotoServer
from tests.hooks.sending.sink import Sink

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import NothingFound, SourceChanged, SourceError
from airflow_bulk.documents.source_check import RejectFile
from airflow_bulk.hooks.sending.pool import SenderPool
from airflow_bulk.hooks.sending.protocol import Job, LineRules, Target

GOOD = b'{"operation":"DELETE","user_account_id":"%07d"}\n'
LINES = [GOOD % number if number % 50 else b"{}\n" for number in range(1, 9_001)]
KEPT = [line for line in LINES if line != b"{}\n"]


class StoredPath:
    """What is used of a universal path; counts the bytes that are fetched."""

    def __init__(self, fs: s3fs.S3FileSystem, uri: str) -> None:
        self.fs, self.path = fs, uri.removeprefix("s3://").removeprefix("crm@")

    def __truediv__(self, name: str) -> StoredPath:
        return StoredPath(self.fs, f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return f"s3://{self.path}"

    def open(self, mode: str):
        return self.fs.open(self.path, mode)


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def fs(server):
    fs = s3fs.S3FileSystem(
        key="k",
        secret="s",
        endpoint_url=server,
        client_kwargs={"region_name": "eu-west-1"},
        skip_instance_cache=True,
    )
    # All S3 servers of a process share their buckets: this name is for this file alone.
    fs.mkdir("wire")
    for number in range(3):
        piece = b"".join(LINES[number * 3_000 : (number + 1) * 3_000])
        fs.pipe_file(f"wire/export/{number}.ndjson.gz", gzip.compress(piece))
        fs.pipe_file(f"wire/plain/{number}.ndjson", piece)
    fs.fetched = []
    fetch = fs.cat_file

    def cat_file(path, **options):
        data = fetch(path, **options)
        fs.fetched.append((path, len(data)))
        return data

    fs.cat_file = cat_file
    yield fs
    fs.rm("wire", recursive=True)


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.close()


class Gate:
    def __init__(self) -> None:
        self.parts = []

    def checked(self, part, findings):
        self.parts.append(part)

    def may_begin(self, part):
        pass

    may_finish = may_begin

    def answered(self, part, answer):
        assert answer.status == 200

    def lost(self, part, error):
        raise AssertionError(error)


def _run(files, sink, send=None, **options) -> list:
    gate = Gate()
    layout = Layout(max_part_bytes=100_000, workers=options.get("workers", 1))
    with SenderPool(
        files=files, rules=LineRules(document_type="USER_PROFILE"), layout=layout, **options
    ) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(Target(url=sink.url, headers={}))
        todo = iter(gate.parts if send is None else send)
        pool.run(lambda in_flight: (part := next(todo, None)) and Job(part=part, check=False), gate)
    return gate.parts


@pytest.mark.parametrize("folder", ["export/*.gz", "plain/*.ndjson"])
@pytest.mark.parametrize(("workers", "spooled"), [(1, False), (1, True), (2, True)])
def test_objects_are_read_twice_at_most_and_once_with_a_spool(tmp_path, fs, sink, folder, workers, spooled):
    files = find_files(f"s3://crm@wire/{folder}", lambda uri: StoredPath(fs, uri))
    assert [file.record.uri[-8:-3] for file in files] == sorted(file.record.uri[-8:-3] for file in files)
    parts = _run(files, sink, workers=workers, spool_dir=str(tmp_path) if spooled else None)
    assert sorted(line for taken in sink.taken for line in taken.body.splitlines(keepends=True)) == sorted(
        KEPT
    )
    read, stored = sum(count for _, count in fs.fetched), sum(file.record.size for file in files)
    assert read == stored if spooled else stored <= read <= 2 * stored
    if "plain" in folder and not spooled:
        assert len(fs.fetched) <= 2 * (len(parts) + len(files))
    assert not list(tmp_path.iterdir())


def _sent_at_once(files, sink, max_part_bytes) -> list[bytes]:
    """Check and send part after part, and return the lines that arrived, sorted."""
    gate = Gate()
    layout = Layout(max_part_bytes=max_part_bytes)
    with SenderPool(files=files, rules=LineRules(document_type="USER_PROFILE"), layout=layout) as pool:
        pool.aim(Target(url=sink.url, headers={}))
        pool.run(pool.first_pass(send=True), gate)
    assert len(gate.parts) > 1
    return sorted(line for taken in sink.taken for line in taken.body.splitlines(keepends=True))


def test_an_object_is_read_twice_at_most_where_parts_leave_at_once(fs, sink):
    lines = [b'{"operation":"DELETE","user_account_id":"%07d"}\n' % number for number in range(200_000)]
    fs.pipe_file("wire/large.ndjson", b"".join(lines))
    files = find_files("s3://crm@wire/large.ndjson", lambda uri: StoredPath(fs, uri))
    fs.fetched.clear()
    assert _sent_at_once(files, sink, 1_000_000) == lines
    assert sum(count for _, count in fs.fetched) <= 2 * files[0].record.size


def test_local_files_and_objects_are_sent_at_once(tmp_path, fs, sink):
    """More files in a part than are held open: the check goes on behind them while their bodies are read again."""
    lines, names = [], []
    for number in range(12):
        mine = [
            b'{"operation":"DELETE","user_account_id":"%02d-%06d"}\n' % (number, one) for one in range(20_000)
        ]
        mine = mine if number % 6 == 5 else mine[:100]
        (tmp_path / f"{number:02}.ndjson").write_bytes(b"".join(mine))
        names.append(str(tmp_path / f"{number:02}.ndjson"))
        lines += mine
    files = find_files([*names, "s3://crm@wire/plain/1.ndjson"], lambda uri: StoredPath(fs, uri))
    sent = _sent_at_once(files, sink, 600_000)
    assert [line for line in sent if b"-" in line] == sorted(lines)
    assert len(sent) > len(lines)


def test_rejects_go_to_the_store(fs, sink):
    files = find_files("s3://crm@wire/plain/*", lambda uri: StoredPath(fs, uri))
    rejects = RejectFile(StoredPath(fs, "s3://wire/rejects"), "r.ndjson")
    _run(files, sink, rejects=rejects)
    assert rejects.finish() == "s3://wire/rejects/r.ndjson"
    rows = [json.loads(row) for row in fs.cat_file("wire/rejects/r.ndjson").splitlines()]
    assert len(rows) == 180 and {row["line"] % 50 for row in rows} == {0}
    abandoned = RejectFile(StoredPath(fs, "s3://wire/rejects"), "abandoned.ndjson")
    abandoned.write(source="a", version="v", line=1, part=0, reasons=[], offset=0, length=1, raw=b"x")
    abandoned.discard()
    del abandoned
    assert not fs.exists("wire/rejects/abandoned.ndjson")


def test_an_object_that_changed_between_tries_is_not_sent(fs, sink):
    files = find_files("s3://crm@wire/plain/*", lambda uri: StoredPath(fs, uri))
    parts = _run(files, sink, send=[])
    before = len(sink.taken)
    changed = fs.cat_file("wire/plain/1.ndjson").replace(b"0003001", b"0003002")
    fs.pipe_file("wire/plain/1.ndjson", changed)
    gate = Gate()
    with SenderPool(files=files, rules=LineRules(document_type="USER_PROFILE"), layout=Layout()) as pool:
        pool.aim(Target(url=sink.url, headers={}))
        todo = [part for part in parts if part.file == 1]
        with pytest.raises(SourceChanged, match=r"plain/1\.ndjson"):
            pool.run(lambda in_flight: Job(part=todo.pop(0), report=False) if todo else None, gate)
    assert len(sink.taken) == before


def test_refusals(fs):
    def open_path(uri):
        return StoredPath(fs, uri)

    with pytest.raises(NothingFound, match=r"s3://crm@wire/export/\*\.zst"):
        find_files("s3://crm@wire/export/*.zst", open_path)
    with pytest.raises(SourceError, match="no such object"):
        find_files("s3://crm@wire/export/none.ndjson", open_path)
    with pytest.raises(SourceError, match="is a directory"):
        find_files("s3://crm@wire/export", open_path)
    fs.pipe_file("wire/export/bad.ndjson.gz", b"not gzip at all")
    with pytest.raises(SourceError, match=r"bad\.ndjson\.gz"):
        _run(find_files("s3://crm@wire/export/bad.ndjson.gz", open_path), None)
    fs.pipe_file("wire/export/hidden.ndjson", gzip.compress(b"{}\n"))
    with pytest.raises(SourceError, match="its name does not end in"):
        _run(find_files("s3://crm@wire/export/hidden.ndjson", open_path), None)
