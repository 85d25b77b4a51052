"""Spreading: whatever the content, the groups together are the source, each line once, each with its own number."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import msgspec
import pytest
from cut_source import CSV, GOOD, NDJSON, UNCHECKED, Outcome, write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parts import HEADER, layouts, lines, rows, sources

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceChanged, SourceUnusable
from airflow_bulk.documents.source.reader import LineRules
from airflow_bulk.documents.source.spreading import (
    FileStretch,
    Group,
    gap_between,
    spread_files,
    take_stretches,
)
from airflow_bulk.runs.upload.spread import SpreadGroup, _number_lines

counts = st.integers(1, 7)


def spread(folder: Path, names: list[str], rules: LineRules, count: int) -> list[Group]:
    return spread_files(
        find_files([str(folder / name) for name in names], mime_type=rules.mime_type), rules, count
    )


def bytes_of(folder: Path, group: Group) -> list[bytes]:
    return [Path(one.uri).read_bytes()[one.begin : one.end] for one in group]


def sent_of(outcomes: list[Outcome], header: bytes = b"") -> list[bytes]:
    bodies = [body.removeprefix(header) for one in outcomes for body in one.bodies]
    return [line for body in bodies for line in body.split(b"\n") if line]


def numbered(outcome: Outcome, group: Group) -> list[tuple[str, int, int]]:
    """File, number and offset of each rejected line, as the reject file has them; and the line behind the last one."""
    found, behind = [], 1
    before = {}
    for one in outcome.inspected:
        before[one.part.index] = behind
        behind = one.last_line + one.relative * behind
    for index, row in outcome.rows:
        found.append((group[row.file].uri, row.line + row.relative * before[index], row.offset))
    return [*found, ("behind", behind, 0)]


@given(contents=sources, layout=layouts, count=counts, planned=st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_groups_are_the_source(tmp_path_factory, contents, layout, count, planned):
    folder = tmp_path_factory.mktemp("source")
    names = write_files(folder, contents)
    groups = spread(folder, names, NDJSON, count)
    assert len(groups) <= count
    assert gap_between(groups) == ""
    pieces = [piece for group in groups for piece in bytes_of(folder, group)]
    assert b"".join(pieces) == b"".join(contents)
    assert all(pieces)
    # Nothing is cut within a line.
    for stretch in (one for group in groups for one in group if one.begin):
        assert Path(stretch.uri).read_bytes()[stretch.begin - 1 : stretch.begin] == b"\n"
    whole = Outcome(folder, names, NDJSON, layout, planned)
    apart = [Outcome(folder, names, NDJSON, layout, planned, stretches=group) for group in groups]
    assert sent_of(apart) == sent_of([whole])
    for facts in ("lines", "rejected", "blank"):
        assert sum(getattr(part, facts) for one in apart for part in one.parts) == sum(
            getattr(part, facts) for part in whole.parts
        )


@given(contents=sources, layout=layouts, count=counts)
@settings(max_examples=150, deadline=None)
def test_lines_have_the_numbers_that_they_have_in_their_file(tmp_path_factory, contents, layout, count):
    folder = tmp_path_factory.mktemp("source")
    names = write_files(folder, contents)
    groups = [
        SpreadGroup(number=number, of=count, stretches=group)
        for number, group in enumerate(spread(folder, names, NDJSON, count), 1)
    ]
    checked = [
        numbered(Outcome(folder, names, NDJSON, layout, True, stretches=one.stretches), one.stretches)
        for one in groups
    ]
    told = _number_lines(groups, [one[-1][1] for one in checked])
    again = [
        numbered(Outcome(folder, names, NDJSON, layout, True, stretches=one.stretches), one.stretches)[:-1]
        for one in told
    ]
    files = [str(folder / name) for name in names]
    whole = numbered(
        Outcome(folder, names, NDJSON, layout, True), [FileStretch(uri=uri, mark="") for uri in files]
    )[:-1]
    assert [row for one in again for row in one] == whole


@given(
    tables=st.lists(st.lists(rows, max_size=20), min_size=1, max_size=3),
    count=counts,
    bom=st.booleans(),
    planned=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_every_group_knows_the_header(tmp_path_factory, tables, count, bom, planned):
    folder = tmp_path_factory.mktemp("source")
    names = []
    for number, table in enumerate(tables):
        (folder / f"{number}.csv").write_bytes(b"\xef\xbb\xbf" * bom + HEADER + b"".join(table))
        names.append(f"{number}.csv")
    groups = spread(folder, names, CSV, count)
    assert gap_between(groups) == ""
    layout = Layout(max_part_bytes=1_000)
    apart = [Outcome(folder, names, CSV, layout, planned, stretches=group) for group in groups]
    assert all(body.startswith(HEADER) for one in apart for body in one.bodies if body)
    assert sent_of(apart, HEADER) == [row.rstrip(b"\n") for table in tables for row in table]
    assert sum(part.rejected for one in apart for part in one.parts) == 0


@given(st.lists(lines.map(len).map(lambda size: b"x" * size + b"\n"), min_size=1), counts)
@settings(max_examples=100, deadline=None)
def test_groups_are_about_equal(tmp_path_factory, content, count):
    folder = tmp_path_factory.mktemp("source")
    names = write_files(folder, [b"".join(content)])
    share, longest = sum(map(len, content)) / count, max(map(len, content))
    for group in spread(folder, names, UNCHECKED, count):
        assert sum(map(len, bytes_of(folder, group))) <= share + longest + 1


@given(contents=sources, count=st.integers(2, 5), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_stretch_that_is_missing_or_there_twice_is_told(tmp_path_factory, contents, count, data):
    folder = tmp_path_factory.mktemp("source")
    groups = spread(folder, write_files(folder, contents), NDJSON, count)
    if len(groups) < 2:
        return
    chosen = data.draw(st.integers(0, len(groups) - 1))
    twice = [*groups[: chosen + 1], *groups[chosen:]]
    assert gap_between(twice)
    # One that ends with a file cannot be missed from the others alone: that each group has its number tells.
    if groups[chosen][0].begin or groups[chosen][-1].end is not None:
        assert gap_between([*groups[:chosen], *groups[chosen + 1 :]])


def test_compressed_files_stay_whole(tmp_path):
    contents = [b"".join(GOOD % f"{number}-{n}".encode() + b"\n" for n in range(50)) for number in range(4)]
    names = write_files(tmp_path, contents, ".gz")
    groups = spread(tmp_path, names, NDJSON, 4)
    assert [[Path(one.uri).name for one in group] for group in groups] == [[name] for name in names]
    assert {(one.begin, one.end) for group in groups for one in group} == {(0, None)}
    assert len(spread(tmp_path, names[:2], NDJSON, 4)) == 2
    assert len(spread(tmp_path, names[:1], NDJSON, 1)) == 1
    with pytest.raises(SourceUnusable, match=r"000\.ndjson\.gz: one compressed file cannot be spread"):
        spread(tmp_path, names[:1], NDJSON, 4)


def test_compressed_and_plain_files_together(tmp_path):
    plain = b"".join(GOOD % f"plain-{n}".encode() + b"\n" for n in range(500))
    (tmp_path / "a.ndjson").write_bytes(plain)
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(GOOD % b"packed" + b"\n"))
    names = ["a.ndjson", "b.ndjson.gz"]
    groups = spread(tmp_path, names, NDJSON, 3)
    assert len(groups) == 3
    assert gap_between(groups) == ""
    apart = [Outcome(tmp_path, names, NDJSON, Layout(), False, stretches=group) for group in groups]
    assert sent_of(apart) == [*plain.splitlines(), GOOD % b"packed"]


def test_an_empty_source_has_no_groups(tmp_path):
    assert spread(tmp_path, write_files(tmp_path, [b"", b""]), NDJSON, 3) == []


def test_little_is_read_of_a_large_file(tmp_path):
    path = tmp_path / "large.ndjson"
    with path.open("wb") as file:  # a gap takes no disk, and reading all of it would take minutes
        file.write(GOOD % b"first" + b"\n")
        file.truncate(50 << 30)
        for place in range(1, 50):
            file.seek(place << 30)
            file.write(b"\n")
    groups = spread(tmp_path, [path.name], NDJSON, 50)
    assert gap_between(groups) == ""
    assert len(groups) == 50


@pytest.mark.parametrize("change", ["content", "gone"])
def test_a_file_that_changed_is_named(tmp_path, change):
    names = write_files(tmp_path, [(GOOD % b"a" + b"\n") * 100, GOOD % b"b"])
    groups = spread(tmp_path, names, NDJSON, 2)
    found = find_files([str(tmp_path / name) for name in names])
    if change == "content":
        path = tmp_path / names[0]
        os.utime(path, ns=(1, 1))
        found = find_files([str(tmp_path / name) for name in names])
    else:
        found = found[1:]
    with pytest.raises(SourceChanged, match=rf"{names[0]}: .* since the source was spread"):
        take_stretches(found, groups[0])


def test_what_is_handed_on_is_small_and_holds_no_line(tmp_path):
    names = write_files(tmp_path, [(GOOD % b"somebody" + b"\n") * 1_000])
    handed = msgspec.json.encode(spread(tmp_path, names, NDJSON, 4))
    assert b"somebody" not in handed
    assert len(handed) < 4 * 300
