"""Cutting: whatever the content, nothing is lost, nothing is doubled, no body exceeds the limit."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator

import pytest
import zstandard
from cut_source import CSV, GOOD, NDJSON, UNCHECKED, Outcome, write_files
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bulk.documents.inspection import Row
from airflow_bulk.documents.source.cuts import Cutter, Layout, line_behind, plan_parts
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import Part, SourceError
from airflow_bulk.documents.source.reader import SourceReader

HEADER = b"operation,user_account_id,segment_id,expiration_duration\n"

accounts = st.integers(1, 60).map(lambda size: b"a" * size)
lines = st.one_of(
    accounts.map(lambda account: GOOD % account),
    st.just(b""),
    st.just(b"  \t"),
    st.just(b"{}"),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"").replace(b"\0", b"x")),
    st.integers(900, 1100).map(lambda size: GOOD % (b"n" * (size - 45))),
    st.integers(2000, 4000).map(lambda size: GOOD % (b"l" * size)),
)
ends = st.sampled_from([b"\n", b"\r\n"])
files = st.tuples(
    st.booleans(), st.lists(st.tuples(lines, ends).map(b"".join), max_size=40), st.one_of(st.just(b""), lines)
).map(lambda parts: (b"\xef\xbb\xbf" if parts[0] else b"") + b"".join(parts[1]) + parts[2])


def _plain_lines(contents: list[bytes]) -> list[tuple[int, int, bytes]]:
    """All physical lines, each with its file and number."""
    found = []
    for file, content in enumerate(contents):
        pieces = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        whole = [piece + b"\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
        found += [(file, number, line) for number, line in enumerate(whole, 1)]
    return found


def _usable(content: bytes) -> bool:
    """Not what is refused whole, and not what its first bytes would pass off as compressed."""
    first = content.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")[0].strip()
    opens = first.startswith(b"{") and first.endswith((b"{", b"[", b",", b":"))
    return (
        not first.startswith(b"[")
        and not opens
        and not content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))
    )


sources = st.lists(files.filter(_usable), min_size=1, max_size=4)
layouts = st.builds(
    Layout,
    max_part_bytes=st.sampled_from([1_000, 1_001, 1_500, 2_600]),
    one_part_per_file=st.booleans(),
    workers=st.sampled_from([1, 2, 3]),
)


@given(contents=sources, layout=layouts)
@settings(max_examples=150, deadline=None)
def test_every_line_is_in_one_body_or_left_out(tmp_path_factory, contents, layout):
    folder = tmp_path_factory.mktemp("source")
    outcome = Outcome(folder, write_files(folder, contents), NDJSON, layout, planned=True)
    source = _plain_lines(contents)
    left_out = {(row.file, number) for row, number in _numbered(outcome)}
    blank = {(file, number) for file, number, line in source if not line.strip(b" \t\r\n")}
    assert not left_out & blank
    kept = [line for file, number, line in source if (file, number) not in left_out | blank]
    sent = [line for body in outcome.bodies for line in body.split(b"\n") if line]
    assert [line.removesuffix(b"\n") for line in kept] == sent
    assert all(len(body) <= layout.max_part_bytes for body in outcome.bodies)
    assert sum(part.lines for part in outcome.parts) == len(kept)
    assert sum(part.rejected for part in outcome.parts) == len(left_out)
    assert sum(part.blank for part in outcome.parts) == len(blank)
    for part, body in zip(outcome.parts, outcome.bodies, strict=True):
        assert part.body == len(body) and part.lines == len(body.splitlines())
    for row, number in _numbered(outcome):
        line = next(text for file, line_number, text in source if (file, line_number) == (row.file, number))
        assert row.length == len(line) and (row.content is None or row.content == line)
        assert contents[row.file][row.offset : row.offset + row.length] == line


def _numbered(outcome: Outcome) -> Iterator[tuple[Row, int]]:
    """Reject rows with their line numbers, as PartOrder counts them."""
    before, behind = {}, 1
    for one in outcome.inspected:
        before[one.part.index] = behind
        behind = one.last_line + one.relative * behind
    for index, row in outcome.rows:
        yield row, row.line + row.relative * before[index]


@given(contents=sources, layout=layouts, suffix=st.sampled_from(["", ".gz", ".zst"]))
@settings(max_examples=100, deadline=None)
def test_reading_front_to_back_finds_the_same_parts(tmp_path_factory, contents, layout, suffix):
    folder = tmp_path_factory.mktemp("source")
    plain = Outcome(folder, write_files(folder, contents), NDJSON, layout, planned=True)
    other = Outcome(folder, write_files(folder, contents, suffix), NDJSON, layout, planned=False)
    assert plain.parts == other.parts
    assert plain.bodies == other.bodies
    assert plain.rows == other.rows


@given(contents=sources, layout=layouts, stop=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_a_later_try_goes_on_behind_any_part(tmp_path_factory, contents, layout, stop):
    folder = tmp_path_factory.mktemp("source")
    names = write_files(folder, contents)
    whole = Outcome(folder, names, NDJSON, layout, planned=True)
    if not whole.parts:
        return
    stop %= len(whole.parts)
    behind = 1
    for one in whole.inspected[:stop]:
        behind = one.last_line + one.relative * behind
    found = find_files([str(folder / name) for name in names])
    with SourceReader(found, NDJSON, layout.max_part_bytes) as reader:
        stretches = list(plan_parts(reader, layout))
        after = stretches[stop]
        assert list(plan_parts(reader, layout, after)) == stretches[stop + 1 :]
        cutter = Cutter(reader, layout, after)
        rest = []
        while part := cutter.pass_part():
            rest.append(part)
        assert rest == stretches[stop + 1 :]
        one = whole.inspected[stop]
        line = one.first_line or behind
        told = line_behind(reader, Part(**(_stretch(after) | {"line": line})))
        assert told == (one.last_file, one.last_line + one.relative * line)


def _stretch(part: Part) -> dict[str, int]:
    return {"index": part.index, "file": part.file, "start": part.start, "length": part.length}


@given(contents=sources, layout=layouts)
@settings(max_examples=60, deadline=None)
def test_unchecked_bytes_go_untouched(tmp_path_factory, contents, layout):
    folder = tmp_path_factory.mktemp("source")
    outcome = Outcome(folder, write_files(folder, contents), UNCHECKED, layout, planned=True)
    gone = {(row.file, row.offset): row.length for _, row in outcome.rows}
    assert all(length > layout.max_part_bytes for length in gone.values())
    expected = b""
    for file, content in enumerate(contents):
        for (gone_file, offset), length in sorted(gone.items(), reverse=True):
            if gone_file == file:
                content = content[:offset] + content[offset + length :]
        expected += content
    assert b"".join(outcome.bodies).replace(b"\n", b"") == expected.replace(b"\n", b"")


rows = st.integers(1, 200).map(lambda size: b"UPDATE,%s,880,0\n" % (b"u" * size))


@given(
    tables=st.lists(st.lists(rows, max_size=20), min_size=1, max_size=3),
    other=st.booleans(),
    workers=st.sampled_from([1, 2]),
    bom=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_csv_parts_repeat_their_own_header(tmp_path_factory, tables, other, workers, bom):
    folder = tmp_path_factory.mktemp("source")
    headers = [HEADER] * len(tables)
    if other:
        headers[-1] = b"operation,user_account_id,segment_technical_name,expiration_duration\n"
    names = []
    for number, (header, table) in enumerate(zip(headers, tables, strict=True)):
        (folder / f"{number}.csv").write_bytes(b"\xef\xbb\xbf" * bom + header + b"".join(table))
        names.append(f"{number}.csv")
    layout = Layout(max_part_bytes=1_000, workers=workers)
    for planned in (True, False):
        outcome = Outcome(folder, names, CSV, layout, planned)
        sent = []
        for body in outcome.bodies:
            header, *table = body.splitlines(keepends=True)
            sent += [(header, row) for row in table]
            assert len(body) <= 1_000
        assert sent == [(header, row) for header, table in zip(headers, tables, strict=True) for row in table]
        assert all(one.first_line in (0, 2) for one in outcome.inspected)


def test_one_part_per_file(tmp_path):
    names = write_files(tmp_path, [GOOD % b"a" + b"\n", GOOD % b"b", b"", GOOD % b"c" + b"\n"])
    together = Outcome(tmp_path, names, NDJSON, Layout(), planned=True)
    apart = Outcome(tmp_path, names, NDJSON, Layout(one_part_per_file=True), planned=True)
    assert together.bodies == [GOOD % b"a" + b"\n" + GOOD % b"b" + b"\n" + GOOD % b"c" + b"\n"]
    assert apart.bodies == [GOOD % b"a" + b"\n", GOOD % b"b", GOOD % b"c" + b"\n"]


def test_equally_long_lines_make_different_counts_for_several_workers(tmp_path):
    names = write_files(tmp_path, [(GOOD % b"aaaa" + b"\n") * 20_000])
    outcome = Outcome(tmp_path, names, NDJSON, Layout(max_part_bytes=60_000, workers=2), planned=True)
    counts = [part.lines for part in outcome.parts[:-1]]
    assert all(len({*counts[start : start + 4]}) == 4 for start in range(len(counts) - 3))


def test_a_limit_under_1_kb_is_refused():
    with pytest.raises(SourceError, match="999"):
        Layout(max_part_bytes=999)


@pytest.mark.parametrize("size", [700_000, 9_000_000])
def test_a_line_of_many_blocks_is_read_whole_and_one_too_long_is_passed_over(tmp_path, size):
    long = GOOD % (b"x" * size)
    names = write_files(tmp_path, [GOOD % b"a" + b"\n" + long + b"\n" + GOOD % b"b"])
    whole = Outcome(tmp_path, names, NDJSON, Layout(max_part_bytes=size + 1_000), planned=False)
    assert whole.bodies == [GOOD % b"a" + b"\n" + long + b"\n" + GOOD % b"b"]
    for planned in (True, False):
        cut = Outcome(tmp_path, names, NDJSON, Layout(max_part_bytes=size - 100_000), planned)
        assert cut.bodies == [GOOD % b"a" + b"\n", GOOD % b"b"]
        assert [row.line for _, row in cut.rows] == [0]
        assert cut.parts[1].rejected == 1


def test_a_compressed_file_may_have_several_members(tmp_path):
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(GOOD % b"a" + b"\n") + gzip.compress(GOOD % b"b"))
    (tmp_path / "b.ndjson.zst").write_bytes(
        zstandard.compress(GOOD % b"c" + b"\n") + zstandard.compress(GOOD % b"d")
    )
    outcome = Outcome(tmp_path, ["a.ndjson.gz", "b.ndjson.zst"], NDJSON, Layout(), planned=False)
    assert outcome.bodies == [b"\n".join(GOOD % name for name in (b"a", b"b", b"c", b"d"))]


def test_a_huge_rejected_line_is_told_by_its_position(tmp_path):
    names = write_files(tmp_path, [b"x" * 1_200_000 + b"\n" + b"y" * 9])
    outcome = Outcome(tmp_path, names, NDJSON, Layout(), planned=True)
    assert [(row.length, row.content) for _, row in outcome.rows] == [(1_200_001, None), (9, b"y" * 9)]


def test_a_line_too_long_to_be_sent_is_never_held(tmp_path):
    with (tmp_path / "long.ndjson").open("wb") as file:
        for _ in range(60):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + GOOD % b"a" + b"\n")
    tracemalloc.start()
    outcome = Outcome(tmp_path, ["long.ndjson"], NDJSON, Layout(max_part_bytes=50_000_000), planned=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcome.bodies == [GOOD % b"a" + b"\n"] and outcome.parts[0].rejected == 1
    assert peak < 20_000_000
