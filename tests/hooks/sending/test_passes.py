"""Which lines arrive, in one try and in the tries after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.hooks.sending.pooling import (
    ALL_WAYS,
    GOOD,
    GOOD_LINES,
    GOOD_SET,
    RULES,
    Gate,
    jobs_of,
    line_of,
    make_pool,
    pack,
    sent_lines,
    target_of,
)

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source_check import RejectFile
from airflow_bulk.hooks.sending.pool import SenderPool


@ALL_WAYS
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_two_passes_send_every_good_line_once(tmp_path, sink, source, workers, suffix):
    rejects, gate = RejectFile(tmp_path / "rejects", "r.ndjson"), Gate()
    with make_pool(pack(source, suffix) if suffix else source, workers, rejects=rejects) as pool:
        pool.run(pool.first_pass(), gate)
        assert not sink.connections
        uri = rejects.finish()
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts, check=False), gate)
    assert sent_lines(sink) == GOOD_LINES
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
    gate, arrived = Gate(), []
    take = gate.checked

    def checked(part, findings):
        take(part, findings)
        arrived.append(len(sink.taken))

    gate.checked = checked
    with make_pool(source, workers) as pool:
        pool.aim(target_of(sink))
        pool.run(pool.first_pass(send=True), gate)
    assert sent_lines(sink) == GOOD_LINES
    assert [part.index for part in gate.parts] == list(range(len(gate.parts)))
    assert gate.events.index(("begin", 0)) < gate.events.index(("begin", len(gate.parts) - 1))
    assert not gate.twins
    # One worker sends each part before it checks the next one; of two, one may check while the other sends.
    if workers == 1:
        assert arrived == list(range(len(gate.parts)))
    else:
        assert 0 < arrived[-1] < len(gate.parts)


def test_parts_in_flight_differ_in_their_line_counts(tmp_path, sink):
    path = tmp_path / "even.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(20_000)))
    gate = Gate()
    layout = Layout(max_part_bytes=1_000 * len(GOOD % 0))  # no stagger: 1,000 lines in each
    with SenderPool(files=find_files(str(path)), rules=RULES, layout=layout, workers=3) as pool:
        pool.aim(target_of(sink))
        pool.run(pool.first_pass(send=True), gate)
    assert {part.lines for part in gate.parts} == {1_000} and len(gate.answers) == 20
    assert not gate.twins


@ALL_WAYS
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_later_try_checks_again_only_what_it_sends(sink, source, workers, suffix):
    packed = pack(source, suffix) if suffix else source
    first, second = Gate(), Gate()
    with make_pool(packed, workers) as pool:
        pool.run(pool.first_pass(), first)
    with make_pool(packed, workers) as pool:
        pool.aim(target_of(sink))
        assert all(pool.needs_check(part) == bool(part.rejected) for part in first.parts)
        pool.run(jobs_of(first.parts[2:5], check=False, report=False), second)
    assert not second.parts
    assert sorted(taken.lines for taken in sink.taken) == sorted(part.lines for part in first.parts[2:5])
    start = first.parts[2].line
    wanted = [line_of(number) for number in range(start, first.parts[5].line)]
    assert sent_lines(sink) == [line for line in wanted if line in GOOD_SET]


@ALL_WAYS
def test_a_later_try_goes_on_with_the_first_pass(tmp_path, sink, source, workers):
    first, second = Gate(), Gate()
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), first)
    rejects = RejectFile(tmp_path, "r.ndjson")
    with make_pool(source, workers, rejects=rejects) as pool:
        pool.aim(target_of(sink))
        pool.run(jobs_of(first.parts[:4], send=False), second)
        pool.run(pool.first_pass(send=True, after=first.parts[3]), second)
        uri = rejects.finish()
    assert second.parts == first.parts[4:]
    rows = [json.loads(row)["line"] for row in Path(uri).read_text().splitlines()]
    assert sorted(rows) == list(range(7, 20_000, 100))


def test_an_empty_source_has_no_parts(tmp_path):
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "blank.ndjson").write_bytes(b"\n \r\n")
    gate = Gate()
    with make_pool(find_files(str(tmp_path / "empty.ndjson"))) as pool:
        pool.run(pool.first_pass(), gate)
    assert not gate.parts
    with make_pool(find_files(str(tmp_path / "*.ndjson"))) as pool:
        pool.run(pool.first_pass(), gate)
    assert [(part.lines, part.blank, part.body) for part in gate.parts] == [(0, 2, 0)]


def test_a_part_without_good_lines_is_never_sent(tmp_path, sink):
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b"{}\n" * 10)
    gate = Gate()
    with make_pool(path) as pool:
        pool.aim(target_of(sink))
        pool.run(pool.first_pass(send=True), gate)
    assert gate.parts[0].rejected == 10 and not gate.events


@ALL_WAYS
def test_many_rows_of_later_parts_wait_for_earlier_ones(tmp_path, workers):
    """Every line is rejected; the second child's rows have to wait for the first one's count."""
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b'{"operation":"x"}\n' * 20_000)
    rejects, gate = RejectFile(tmp_path / "rejects", "r.ndjson"), Gate()
    with make_pool(path, workers, limit=60_000, rejects=rejects) as pool:
        pool.run(pool.first_pass(), gate)
        uri = rejects.finish()
    with Path(uri).open() as rows:
        assert [json.loads(row)["line"] for row in rows] == list(range(1, 20_001))
    assert sum(part.rejected for part in gate.parts) == 20_000


@ALL_WAYS
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_overlap_over_a_compressed_file(sink, source, workers, suffix):
    gate = Gate()
    with make_pool(pack(source, suffix), workers) as pool:
        pool.aim(target_of(sink))
        pool.run(pool.first_pass(send=True), gate)
    assert sent_lines(sink) == GOOD_LINES
