"""Bodies on the wire: what is sent is what was checked, nothing completes that was not allowed to."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import fsspec
import pytest
import zstandard
from tests.hooks.sink import Sink, answer, make_certificate

from airflow_bulk.documents.errors import SourceChanged, SourceError
from airflow_bulk.documents.parts import Layout
from airflow_bulk.documents.rejects import RejectFile
from airflow_bulk.documents.sources import find_files
from airflow_bulk.hooks.sending.children import ChildLost
from airflow_bulk.hooks.sending.crew import Crew
from airflow_bulk.hooks.sending.protocol import Answer, FateUnknown, Job, NotNow, Rules, SendingCut, Target

RULES = Rules(document_type="USER_PROFILE")
GOOD = b'{"operation":"DELETE","user_account_id":"%07d"}\n'
ALL_WAYS = pytest.mark.parametrize("workers", [1, 2, "overlap"])


class Gate:
    """Writes down what it is asked and told."""

    def __init__(self) -> None:
        self.parts, self.findings, self.events, self.answers, self.errors = [], [], [], [], []
        self.on_begin = self.on_finish = lambda part: None
        self.on_lost = lambda part, error: None
        self.flying: dict[int, int] = {}
        self.twins = 0

    def checked(self, part, findings):
        self.parts.append(part)
        self.findings.append(findings)

    def may_begin(self, part):
        self.events.append(("begin", part.index))
        self.twins += part.lines in self.flying.values()
        self.flying[part.index] = part.lines
        self.on_begin(part)

    def may_finish(self, part):
        self.events.append(("finish", part.index))
        self.on_finish(part)

    def answered(self, part, answer):
        self.events.append(("answered", part.index))
        self.flying.pop(part.index)
        self.answers.append(answer)

    def lost(self, part, error):
        self.events.append(("lost", part.index))
        self.flying.pop(part.index)
        self.errors.append(error)
        self.on_lost(part, error)


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture
def source(tmp_path) -> Path:
    """20,000 lines; a bad one and a blank one among each hundred."""
    path = tmp_path / "source.ndjson"
    path.write_bytes(b"".join(_line(number) for number in range(1, 20_001)))
    return path


def _line(number: int) -> bytes:
    if number % 100 == 7:
        return b'{"operation":"canary"}\n'
    return b"\n" if number % 100 == 8 else GOOD % number


GOOD_LINES = [_line(number) for number in range(1, 20_001) if number % 100 not in (7, 8)]
GOOD_SET = set(GOOD_LINES)


def _crew(source, workers=1, limit=100_000, **options) -> Crew:
    if workers == "overlap":
        workers, options["overlap"] = 1, True
    files = source if isinstance(source, list) else find_files(str(source))
    layout = Layout(max_part_bytes=limit, workers=workers)
    return Crew(files=files, rules=options.pop("rules", RULES), layout=layout, workers=workers, **options)


def _target(sink: Sink, **options) -> Target:
    headers = {"Authorization": "canary-token", "Content-Type": "application/x-ndjson"}
    return Target(url=sink.url, headers=headers, **options)


def _jobs(parts, **options):
    todo = [part for part in parts if part.lines]
    return lambda in_flight: Job(part=todo.pop(0), **options) if todo else None


def _sent(sink: Sink) -> list[bytes]:
    return sorted(line for taken in sink.taken for line in taken.body.splitlines(keepends=True))


def _pack(source: Path, suffix: str) -> Path:
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    packed = source.with_name(source.name + suffix)
    packed.write_bytes(pack(source.read_bytes()))
    return packed


@ALL_WAYS
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_two_passes_send_every_good_line_once(tmp_path, sink, source, workers, suffix):
    rejects, gate = RejectFile(tmp_path / "rejects", "r.ndjson"), Gate()
    with _crew(_pack(source, suffix) if suffix else source, workers, rejects=rejects) as crew:
        crew.run(crew.first_pass(), gate)
        assert not sink.connections
        uri = rejects.finish()
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts, check=False), gate)
    assert _sent(sink) == GOOD_LINES
    assert [part.index for part in gate.parts] == list(range(len(gate.parts)))
    assert sum(part.rejected for part in gate.parts) == sum(part.blank for part in gate.parts) == 200
    assert all(taken.head.count(b"canary-token") == 1 for taken in sink.taken)
    assert sorted(taken.lines for taken in sink.taken) == sorted(part.lines for part in gate.parts)
    rows = [json.loads(row) for row in Path(uri).read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(7, 20_000, 100))
    assert {row["raw"] for row in rows} == {'{"operation":"canary"}'}
    for part, findings in zip(gate.parts, gate.findings, strict=True):
        assert len(findings.first) == min(10, part.rejected)
        assert all(part.line <= one.line and one.line % 100 == 7 for one in findings.first)
        assert set(findings.reasons.values()) == ({part.rejected} if part.rejected else set())
    assert sink.connections <= (2 if workers == 2 else 1)


@ALL_WAYS
def test_overlap_sends_each_part_once_it_is_checked(sink, source, workers):
    gate = Gate()
    with _crew(source, workers) as crew:
        crew.aim(_target(sink))
        crew.run(crew.first_pass(send=True), gate)
    assert _sent(sink) == GOOD_LINES
    assert [part.index for part in gate.parts] == list(range(len(gate.parts)))
    assert gate.events.index(("begin", 0)) < gate.events.index(("begin", len(gate.parts) - 1))
    assert not gate.twins


def test_parts_in_flight_differ_in_their_line_counts(tmp_path, sink):
    path = tmp_path / "even.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(20_000)))
    gate = Gate()
    layout = Layout(max_part_bytes=1_000 * len(GOOD % 0))  # no stagger: 1,000 lines in each
    with Crew(files=find_files(str(path)), rules=RULES, layout=layout, workers=3) as crew:
        crew.aim(_target(sink))
        crew.run(crew.first_pass(send=True), gate)
    assert {part.lines for part in gate.parts} == {1_000} and len(gate.answers) == 20
    assert not gate.twins


@ALL_WAYS
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_later_try_checks_again_only_what_it_sends(sink, source, workers, suffix):
    packed = _pack(source, suffix) if suffix else source
    first, second = Gate(), Gate()
    with _crew(packed, workers) as crew:
        crew.run(crew.first_pass(), first)
    with _crew(packed, workers) as crew:
        crew.aim(_target(sink))
        assert all(crew.needs_check(part) == bool(part.rejected) for part in first.parts)
        crew.run(_jobs(first.parts[2:5], check=False, report=False), second)
    assert not second.parts
    assert sorted(taken.lines for taken in sink.taken) == sorted(part.lines for part in first.parts[2:5])
    start = first.parts[2].line
    wanted = [_line(number) for number in range(start, first.parts[5].line)]
    assert _sent(sink) == [line for line in wanted if line in GOOD_SET]


@ALL_WAYS
def test_a_later_try_goes_on_with_the_first_pass(tmp_path, sink, source, workers):
    first, second = Gate(), Gate()
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), first)
    rejects = RejectFile(tmp_path, "r.ndjson")
    with _crew(source, workers, rejects=rejects) as crew:
        crew.aim(_target(sink))
        crew.run(_jobs(first.parts[:4], send=False), second)
        crew.run(crew.first_pass(send=True, after=first.parts[3]), second)
        uri = rejects.finish()
    assert second.parts == first.parts[4:]
    rows = [json.loads(row)["line"] for row in Path(uri).read_text().splitlines()]
    assert sorted(rows) == list(range(7, 20_000, 100))


@ALL_WAYS
def test_the_gate_refuses_the_last_block(sink, source, workers):
    gate = Gate()

    def refuse(part):
        raise PermissionError("superseded")

    gate.on_finish = refuse
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        with pytest.raises(PermissionError, match="superseded"):
            crew.run(_jobs(gate.parts, check=False), gate)
    assert sink.wait_for(lambda: len(sink.cut) >= 1)
    assert not sink.taken and sink.resets >= 1


@ALL_WAYS
def test_the_gate_refuses_to_begin(sink, source, workers):
    gate = Gate()

    def refuse(part):
        raise PermissionError("superseded")

    gate.on_begin = refuse
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        with pytest.raises(PermissionError, match="superseded"):
            crew.run(_jobs(gate.parts, check=False), gate)
    assert not sink.connections


@ALL_WAYS
def test_a_commit_that_takes_too_long_cuts_the_body(sink, source, workers):
    gate = Gate()
    gate.on_finish = lambda part: time.sleep(0.3) if part.index == 0 else None
    with _crew(source, workers, commit_window=0.2) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts[:1], check=False), gate)
    assert [type(error) for error in gate.errors] == [SendingCut]
    assert not sink.taken and sink.wait_for(lambda: len(sink.cut) == 1)


@ALL_WAYS
def test_no_answer_leaves_the_fate_unknown_and_the_run_goes_on(sink, source, workers):
    gate = Gate()
    sink.answer = lambda number: None if number == 0 else answer(200, b"{}")
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts, check=False), gate)
    assert [type(error) for error in gate.errors] == [FateUnknown]
    assert _sent(sink) == GOOD_LINES


def test_a_silent_server_times_out(sink, source):
    gate = Gate()
    sink.answer = lambda number: time.sleep(3)
    with _crew(source) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink, read_timeout=0.3))
        crew.run(_jobs(gate.parts[:1], check=False), gate)
    assert "timed out" in str(gate.errors[0]) and isinstance(gate.errors[0], FateUnknown)


@ALL_WAYS
def test_a_server_that_is_not_there_is_a_cut(sink, source, workers):
    gate = Gate()
    sink.close()
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts[:2], check=False), gate)
    assert [type(error) for error in gate.errors] == [SendingCut, SendingCut]
    assert "refused" in str(gate.errors[0])


def test_a_lost_part_can_be_given_again(sink, source):
    gate, again = Gate(), []
    gate.on_lost = lambda part, error: again.append(part)
    sink.answer = lambda number: None if number % 2 else answer(200, b"{}")
    with _crew(source, 2) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        todo = list(gate.parts)

        def next_job(in_flight):
            part = (again or todo or [None]).pop(0)
            return Job(part=part, check=False) if part else None

        crew.run(next_job, gate)
    assert len(gate.answers) == len(gate.parts)
    assert set(_sent(sink)) == GOOD_SET


@pytest.mark.parametrize("limit", [100_000, 4_000_000])
def test_an_answer_before_the_end_is_an_answer(sink, tmp_path, limit):
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(200_000)))
    gate = Gate()
    sink.early = answer(413, b'{"status":"error"}')
    with _crew(path, limit=limit) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts[:2], check=False), gate)
    told = {one.status for one in gate.answers}
    # A server that closes while bytes are on their way may lose its own answer: then it is a cut.
    assert told <= {413} and all(isinstance(error, SendingCut) for error in gate.errors)
    assert len(gate.answers) + len(gate.errors) == 2


def test_a_connection_that_the_server_closed_is_replaced(sink, source):
    gate = Gate()
    sink.close_after = 1
    gate.on_begin = lambda part: time.sleep(0.05)
    with _crew(source) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts, check=False), gate)
    assert not gate.errors and sink.connections == len(gate.parts)
    assert _sent(sink) == GOOD_LINES


@ALL_WAYS
def test_a_file_that_changed_behind_its_dates_is_cut(sink, source, workers):
    gate = Gate()
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        state = source.stat()
        with source.open("r+b") as file:
            file.seek(250_000)
            file.write(b"X")
        os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
        crew.aim(_target(sink))
        with pytest.raises(SourceChanged, match=r"source\.ndjson"):
            crew.run(_jobs(gate.parts, check=False), gate)
    assert set(_sent(sink)) < GOOD_SET


@ALL_WAYS
def test_facts_that_differ_from_the_record_stop_the_run(sink, source, workers):
    first, second = Gate(), Gate()
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), first)
    source.write_bytes(source.read_bytes().replace(b"0000123", b"0000124"))
    with _crew(source, workers) as crew:
        crew.aim(_target(sink))
        with pytest.raises(SourceChanged, match=r"source\.ndjson \(part 0\)"):
            crew.run(_jobs(first.parts), second)
    assert GOOD % 1 not in _sent(sink) and not second.parts


@ALL_WAYS
def test_a_truncated_file_ends_the_first_pass(source, workers):
    packed = _pack(source, ".gz")
    packed.write_bytes(packed.read_bytes()[:-100])
    with _crew(packed, workers) as crew, pytest.raises(SourceError, match="truncated"):
        crew.run(crew.first_pass(), Gate())


@ALL_WAYS
def test_cut_from_a_signal_handler(tmp_path, sink, workers):
    gate = Gate()
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(400_000)))
    sink.on_bytes = lambda count: time.sleep(0.2)
    with _crew(path, workers, limit=11_000_000) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        before = signal.signal(signal.SIGALRM, lambda number, frame: crew.cut())
        # As soon as a body is on its way, and not before.
        gate.on_begin = lambda part: signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(SendingCut):
                crew.run(_jobs(gate.parts, check=False), gate)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        with pytest.raises(SendingCut):
            crew.run(_jobs(gate.parts, check=False), gate)
    assert sink.wait_for(lambda: len(sink.cut) >= 1)
    assert not sink.taken and not gate.errors


def test_cut_while_checking(source):
    gate = Gate()
    with _crew(source, limit=10_000) as crew:
        gate.checked = lambda part, findings: crew.cut()
        with pytest.raises(SendingCut):
            crew.run(crew.first_pass(), gate)


def test_a_killed_parent_takes_its_children_along(sink, tmp_path):
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(400_000)))
    sink.on_bytes = lambda count: time.sleep(0.2)
    script = Path(__file__).with_name("crew_script.py")
    parent = subprocess.Popen(
        [sys.executable, str(script), str(path), sink.url], stdout=subprocess.PIPE, text=True
    )
    with parent:
        children = [int(pid) for pid in re.findall(r"\d+", parent.stdout.readline())]
        assert len(children) == 2
        for child in children:
            assert "canary" not in Path(f"/proc/{child}/cmdline").read_text()
            assert "canary" not in Path(f"/proc/{child}/environ").read_text()
        assert sink.wait_for(lambda: sink.begun == 2)
        parent.kill()
    assert sink.wait_for(lambda: not any(_alive(child) for child in children))
    assert sink.wait_for(lambda: len(sink.cut) == 2)
    assert not sink.taken


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_killed_child_ends_the_run_and_its_part_is_told(sink, source):
    gate = Gate()

    def kill_children(part):
        for child in crew._engine.children:
            os.kill(child._process.pid, signal.SIGKILL)

    gate.on_begin = kill_children
    with _crew(source, 2) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        with pytest.raises(ChildLost, match="-9"):
            crew.run(_jobs(gate.parts, check=False), gate)
    assert gate.errors and all(isinstance(error, SendingCut) for error in gate.errors)
    assert not sink.taken


def test_an_exception_in_the_gate_leaves_no_process(sink, source):
    gate = Gate()
    with pytest.raises(ZeroDivisionError), _crew(source, 2) as crew:
        children = [child._process for child in crew._engine.children]
        gate.checked = lambda part, findings: 1 / 0
        crew.run(crew.first_pass(), gate)
    assert all(child.returncode is not None for child in children)


def test_the_token_is_not_in_a_repr(sink):
    assert "canary" not in repr(_target(sink))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """A self-signed certificate of localhost, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_sink(certificate):
    sink = Sink(certificate)
    yield sink
    sink.close()


@ALL_WAYS
@pytest.mark.parametrize("trust", ["file", "nobody", "anybody"])
def test_tls(tls_sink, certificate, source, workers, trust):
    gate = Gate()
    verify = {"file": str(certificate[0]), "nobody": True, "anybody": False}[trust]
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(tls_sink, verify=verify))
        crew.run(_jobs(gate.parts, check=False), gate)
    if trust == "nobody":
        assert not tls_sink.taken and "CERTIFICATE_VERIFY_FAILED" in str(gate.errors[0])
    else:
        assert _sent(tls_sink) == GOOD_LINES and tls_sink.connections <= (2 if workers == 2 else 1)


@ALL_WAYS
def test_the_gate_refuses_the_last_block_over_tls(tls_sink, source, workers):
    gate = Gate()
    gate.on_finish = lambda part: 1 / 0
    with _crew(source, workers) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(tls_sink, verify=False))
        with pytest.raises(ZeroDivisionError):
            crew.run(_jobs(gate.parts, check=False), gate)
    assert tls_sink.wait_for(lambda: len(tls_sink.cut) + tls_sink.resets >= 1)
    assert not tls_sink.taken


def test_a_proxy_gets_the_whole_url_and_its_login(sink, source):
    gate = Gate()
    with _crew(source) as crew:
        crew.run(crew.first_pass(), gate)
        target = _target(sink, proxies={"http": f"http://me:pass@127.0.0.1:{sink.port}"})
        crew.aim(Target(url="http://platform.invalid/v1/x?a=b", headers={}, proxies=target.proxies))
        crew.run(_jobs(gate.parts[:1], check=False), gate)
    assert sink.taken[0].head.startswith(
        b"POST http://platform.invalid/v1/x?a=b HTTP/1.1\r\nHost: platform.invalid\r\n"
    )
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in sink.taken[0].head


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
    with _crew(files, workers, spool_dir=str(tmp_path) if spooled else None) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts, check=False), gate)
    assert _sent(sink) == GOOD_LINES
    read = sum(count for _, count in store.fetched)
    stored = sum(one.record.size for one in files)
    assert read == stored if spooled else read <= 2 * stored
    if not spooled and not suffix:
        assert len(store.fetched) <= 2 * len(gate.parts) + 4
    assert {path.name for path in tmp_path.iterdir()} == {"source.ndjson"}


def test_an_object_that_changed_between_the_passes_stops_the_run(sink, store):
    files = find_files("memory://bucket/*.ndjson", lambda uri: StoredPath(store, uri))
    gate = Gate()
    with _crew(files) as crew:
        crew.run(crew.first_pass(), gate)
    store.inner.pipe_file("/bucket/2.ndjson", b"\n")
    with _crew(files) as crew:
        crew.aim(_target(sink))
        with pytest.raises(SourceChanged, match=r"2\.ndjson"):
            crew.run(_jobs(gate.parts), gate)


def test_answers_are_capped_and_lower_case(sink, source):
    gate = Gate()
    sink.answer = lambda number: answer(500, b"x" * 1_500_000)
    with _crew(source) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts[:2], check=False), gate)
    assert [(one.status, len(one.body)) for one in gate.answers] == [(500, 1_000_000)] * 2
    assert isinstance(gate.answers[0], Answer) and gate.answers[0].headers["content-type"]


def test_an_empty_source_has_no_parts(tmp_path):
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "blank.ndjson").write_bytes(b"\n \r\n")
    gate = Gate()
    with _crew(find_files(str(tmp_path / "empty.ndjson"))) as crew:
        crew.run(crew.first_pass(), gate)
    assert not gate.parts
    with _crew(find_files(str(tmp_path / "*.ndjson"))) as crew:
        crew.run(crew.first_pass(), gate)
    assert [(part.lines, part.blank, part.body) for part in gate.parts] == [(0, 2, 0)]


def test_a_part_without_good_lines_is_never_sent(tmp_path, sink):
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b"{}\n" * 10)
    gate = Gate()
    with _crew(path) as crew:
        crew.aim(_target(sink))
        crew.run(crew.first_pass(send=True), gate)
    assert gate.parts[0].rejected == 10 and not gate.events


@ALL_WAYS
def test_many_rows_of_later_parts_wait_for_earlier_ones(tmp_path, workers):
    """Every line is rejected; the second child's rows have to wait for the first one's count."""
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b'{"operation":"x"}\n' * 20_000)
    rejects, gate = RejectFile(tmp_path / "rejects", "r.ndjson"), Gate()
    with _crew(path, workers, limit=60_000, rejects=rejects) as crew:
        crew.run(crew.first_pass(), gate)
        uri = rejects.finish()
    with Path(uri).open() as rows:
        assert [json.loads(row)["line"] for row in rows] == list(range(1, 20_001))
    assert sum(part.rejected for part in gate.parts) == 20_000


def _tunnel(port_of_target: int) -> tuple[int, list[bytes]]:
    """A proxy that takes one CONNECT and passes bytes on; returns its port and what it was asked."""
    listener, asked = socket.create_server(("127.0.0.1", 0)), []

    def pump(source: socket.socket, drain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                drain.sendall(data)
            drain.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with listener:
            near, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(1)
        asked.append(head)
        far = socket.create_connection(("127.0.0.1", port_of_target))
        near.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        threading.Thread(target=pump, args=(far, near), daemon=True).start()
        pump(near, far)

    port = listener.getsockname()[1]
    threading.Thread(target=serve, daemon=True).start()
    return port, asked


def test_tls_goes_through_a_tunnel_that_sees_no_token(tls_sink, certificate, source):
    gate = Gate()
    port, asked = _tunnel(tls_sink.port)
    with _crew(source) as crew:
        crew.run(crew.first_pass(), gate)
        proxies = {"https": f"http://me:pass@127.0.0.1:{port}"}
        crew.aim(_target(tls_sink, verify=str(certificate[0]), proxies=proxies))
        crew.run(_jobs(gate.parts, check=False), gate)
    assert _sent(tls_sink) == GOOD_LINES
    assert asked[0].startswith(f"CONNECT localhost:{tls_sink.port} ".encode())
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in asked[0] and b"canary" not in asked[0]
    assert b"Proxy-Authorization" not in tls_sink.taken[0].head


def test_a_refusal_while_the_body_waits_for_its_commit_saves_the_commit(sink, source):
    """The server answers as soon as it has the head, and never reads on."""
    gate = Gate()
    sink.early = answer(401, b"{}")
    with _crew(source, limit=2_000_000) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(_target(sink))
        crew.run(_jobs(gate.parts[:1], check=False), gate)
    assert [event for event, _ in gate.events].count("finish") == 0


@ALL_WAYS
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_overlap_over_a_compressed_file(sink, source, workers, suffix):
    gate = Gate()
    with _crew(_pack(source, suffix), workers) as crew:
        crew.aim(_target(sink))
        crew.run(crew.first_pass(send=True), gate)
    assert _sent(sink) == GOOD_LINES


@ALL_WAYS
def test_a_part_may_be_left_for_later(sink, source, workers):
    gate = Gate()
    lost = []

    def only_when_settled(part):
        if lost:
            raise NotNow

    gate.on_begin = only_when_settled
    gate.on_lost = lambda part, error: lost.append(part)
    sink.answer = lambda number: None if number == 0 else answer(200, b"{}")
    with _crew(source, workers) as crew:
        crew.aim(_target(sink))
        jobs = crew.first_pass(send=True)
        crew.run(jobs, gate)
        told = len(gate.answers) + len(lost)
        assert told < len(gate.parts) and [part.index for part in gate.parts] == list(range(len(gate.parts)))
        done = {index for event, index in gate.events if event in ("answered", "lost")}
        lost.clear()
        crew.run(_jobs([part for part in gate.parts if part.index not in done], check=False), gate)
    assert _sent(sink) == GOOD_LINES


def test_a_token_that_no_header_may_hold_is_not_quoted(sink, source):
    gate = Gate()
    with _crew(source) as crew:
        crew.run(crew.first_pass(), gate)
        crew.aim(Target(url=sink.url, headers={"Authorization": "canary\ntoken"}))
        with pytest.raises(ValueError, match="'Authorization'") as refusal:
            crew.run(_jobs(gate.parts, check=False), gate)
    assert "canary" not in "".join(traceback.format_exception(refusal.value))
