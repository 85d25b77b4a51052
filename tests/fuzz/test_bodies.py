"""What is sent is the source without its refused and blank lines, byte for byte, wherever the parts are cut.

``tests/documents/test_parts.py`` takes the refused lines from the package itself. Here a model that knows nothing of it says
which lines stay; files of one source are plain, gzip and zstd; and part sizes lie on, before and behind line borders.
"""

from __future__ import annotations

import gzip
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from cut_source import CSV, GOOD, NDJSON, Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from line_reference import is_good

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.reader import LineRules

SMALLEST_PART = 1_000
HEADER = b"operation,user_account_id,segment_id,expiration_duration"
GOOD_ROWS = [b"UPDATE,a,8,1", b'DELETE,"a ""b""",8,0', b"UPDATE,%s,8,1" % (b"u" * 300)]
BAD_ROWS = [b"UPDATE,a,8", b"UPSERT,a,8,1", b'UPDATE,"a,8,1', b"\xff,a,8,1", b"UPDATE,a\0,8,1", b"x" * 1500]
BLANKS = [b"", b" ", b"\t \r"]
SUFFIXES = ["", ".gz", ".zst"]


class File(NamedTuple):
    """A file of lines, as it stands on the disk."""

    lines: list[bytes]
    ending: bytes
    final: bool
    mark: bool
    suffix: str
    header: bytes = b""

    def physical(self) -> list[bytes]:
        """The lines with their ends, the header left out."""
        lines = [line + self.ending for line in self.lines]
        if lines and not self.final:
            lines[-1] = self.lines[-1]
        return [line for line in lines if line]

    def write(self, folder: Path, number: int) -> str:
        """Write it and return its name; compressed files have members or frames as other programs write them."""
        header = self.header + (self.ending if self.header else b"")
        content = (b"\xef\xbb\xbf" if self.mark else b"") + header + b"".join(self.physical())
        half = len(content) // 2
        if self.suffix == ".gz":
            content = gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)
        elif self.suffix == ".zst":
            content = zstandard.compress(content[:half]) + zstandard.compress(content[half:])
        name = f"{number}.{'csv' if self.header else 'ndjson'}{self.suffix}"
        (folder / name).write_bytes(content)
        return name


def files(lines: st.SearchStrategy[bytes], first: bytes, header: bytes = b"") -> st.SearchStrategy[File]:
    return st.builds(
        File,
        # What the first line is decides on the whole file; here it is always a good one.
        lines=st.lists(lines, max_size=25).map(lambda found: [first, *found]),
        ending=st.sampled_from([b"\n", b"\r\n"]),
        final=st.booleans(),
        mark=st.booleans(),
        suffix=st.sampled_from(SUFFIXES),
        header=st.just(header),
    )


good_lines = st.integers(1, 400).map(lambda size: GOOD % (b"a" * size))
bad_lines = st.sampled_from([b"{}", b'{"a":', b"\xff\xfe", b"x" * 2500, b'{"operation":"DELETE"}', b"{}\0"])
document_lines = st.one_of(good_lines, good_lines, good_lines, bad_lines, st.sampled_from(BLANKS))
rows = st.sampled_from([*GOOD_ROWS, *GOOD_ROWS, *BAD_ROWS, *BLANKS])


@st.composite
def layouts(draw: Any, source: list[File]) -> Layout:
    """A part size on a line border of the source, one byte before or behind it, or the smallest."""
    sizes = [len(line) for file in source for line in file.physical()]
    header = max(len(file.header) + 2 for file in source)
    borders = [SMALLEST_PART, *(size for size in accumulate(sizes) if size > SMALLEST_PART)]
    near = draw(st.sampled_from([borders[-1], *borders])) + draw(st.sampled_from([-1, 0, 1, header]))
    workers, alone = draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([False, False, True]))
    return Layout(max_part_bytes=max(SMALLEST_PART, near), one_part_per_file=alone, workers=workers)


@st.composite
def cases(draw: Any, kind: st.SearchStrategy[File]) -> tuple[list[File], Layout]:
    source = draw(st.lists(kind, min_size=1, max_size=3))
    return source, draw(layouts(source))


def bodies_of(source: list[File], rules: LineRules, layout: Layout) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        names = [file.write(Path(folder), number) for number, file in enumerate(source)]
        planned = not any(file.suffix for file in source)
        return Outcome(Path(folder), names, rules, layout, planned=planned)


def stripped(line: bytes) -> bytes:
    return line.removesuffix(b"\n")


def is_blank(line: bytes) -> bool:
    return not line.strip(b" \t\r\n")


def assert_counts(outcome: Outcome, lines: list[bytes], kept: list[bytes]) -> None:
    """Nothing is lost between sent, rejected and blank, in any part and in all together."""
    blank = sum(map(is_blank, lines))
    counted = [(part.lines, part.rejected, part.blank) for part in outcome.parts]
    assert tuple(map(sum, zip(*counted, strict=True))) == (len(kept), len(lines) - len(kept) - blank, blank)
    rejected = [line for line in lines if not is_blank(line) and line not in kept]
    # A line that no part can hold is told by its position alone.
    told = [(row.length, row.content) for _, row in outcome.rows]
    assert [length for length, _ in told] == [len(line) for line in rejected]
    assert all(content in (None, line) for (_, content), line in zip(told, rejected, strict=True))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(case=cases(files(document_lines, GOOD % b"first")))
def test_bodies_are_the_source_without_refused_lines(case: tuple[list[File], Layout]) -> None:
    source, layout = case
    outcome = bodies_of(source, NDJSON, layout)
    lines = [line for file in source for line in file.physical()]
    kept = [
        line
        for line in lines
        if not is_blank(line)
        and is_good("USER_PROFILE", stripped(line))
        and len(line) <= layout.max_part_bytes
    ]
    # A last line without a newline gets one where another file follows in the same part; nothing else changes.
    sent = [line for body in outcome.bodies for line in body.splitlines(keepends=True)]
    assert [line.removesuffix(b"\n") for line in sent] == [stripped(line) for line in kept]
    assert all(len(body) <= layout.max_part_bytes for body in outcome.bodies)
    assert b"".join(outcome.bodies).replace(b"\n", b"") == b"".join(kept).replace(b"\n", b"")
    if layout.one_part_per_file:
        assert len(outcome.parts) >= len(source)
    assert_counts(outcome, lines, kept)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(case=cases(files(rows, GOOD_ROWS[0], HEADER)))
def test_bodies_of_csv_are_rows_under_their_header(case: tuple[list[File], Layout]) -> None:
    source, layout = case
    outcome = bodies_of(source, CSV, layout)
    lines = [line for file in source for line in file.physical()]
    kept = [line for line in lines if stripped(line).removesuffix(b"\r") in GOOD_ROWS]
    sent = []
    for body in filter(None, outcome.bodies):
        header, *table = body.splitlines(keepends=True)
        assert header.rstrip(b"\r\n") == HEADER
        sent += table
        assert len(body) <= layout.max_part_bytes
    assert [stripped(line) for line in sent] == [stripped(line) for line in kept]
    assert_counts(outcome, lines, kept)


@pytest.mark.parametrize("suffixes", [("",), ("", ""), ("", ".gz"), (".zst", "")], ids="+".join)
@pytest.mark.parametrize("final", [True, False])
def test_every_part_size_around_a_border(suffixes: tuple[str, ...], final: bool) -> None:
    """Equal lines; part sizes about one line, one file and the whole source: no size loses a line, doubles it or is exceeded."""
    line = GOOD % (b"a" * 60)
    source = [File([line] * 12, b"\n", final, False, suffix) for suffix in suffixes]
    whole = 12 * (len(line) + 1)
    sizes = {*range(SMALLEST_PART, SMALLEST_PART + len(line) + 2)}
    for border in (whole, len(source) * whole):
        sizes.update(range(border - 3, border + 4))
    for size in sizes:
        outcome = bodies_of(source, NDJSON, Layout(max_part_bytes=size))
        assert b"".join(body.removesuffix(b"\n") + b"\n" for body in outcome.bodies) == (
            line + b"\n"
        ) * 12 * len(source)
        assert max(map(len, outcome.bodies)) <= size
