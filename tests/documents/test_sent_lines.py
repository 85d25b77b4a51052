"""The lines of a part, read again, are those of its body; a source that is another one is noticed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cut_source import CSV, NDJSON, UNCHECKED, write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parts import HEADER, layouts, sources

from airflow_bulk.documents.sent_lines import sent_lines, stretches_of
from airflow_bulk.documents.source.bodies import BodyReader, HoleKeeper, Spill, spans_of
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import Part, SourceChanged, SourceError
from airflow_bulk.documents.source.reader import LineRules, SourceReader
from airflow_bulk.documents.source_check import SourceCheck


def checked(
    folder: Path, names: list[str], rules: LineRules, layout: Layout
) -> tuple[list[Part], SourceReader]:
    """The parts of a source as an import records them, and the source, opened again."""
    files = find_files(
        [str(folder / name) for name in names], mime_type=rules.mime_type, check_extension=False
    )
    check = SourceCheck(files, rules, layout)
    check.run()
    return check.parts, SourceReader(files, rules, layout.max_part_bytes)


def agree(parts: list[Part], reader: SourceReader, plain: list[bytes]) -> None:
    for part in parts:
        found = list(sent_lines(reader, part)) if part.lines else []
        assert [one.number for one in found] == list(range(1, part.lines + 1))
        for one in found:
            assert plain[one.file][one.offset : one.offset + len(one.raw)] == one.raw
            assert plain[one.file][: one.offset].count(b"\n") == one.line - 1
        if found:
            header = reader.beginning(part.file).header
            body = header + b"".join(one.raw.removesuffix(b"\n") + b"\n" for one in found)
            assert body.removesuffix(b"\n") == _body(reader, part).removesuffix(b"\n")
        stretches = stretches_of(reader, part)
        assert sum(length for _, _, _, length, _ in stretches) == part.length
        if stretches:
            assert stretches[0][1] == part.line


def _body(reader: SourceReader, part: Part) -> bytes:
    """The body as a sender reads it."""
    from airflow_bulk.documents.inspection import Inspector

    spill = Spill()
    items = iter([*reader.blocks(part.file, part.start, part.length), part])
    holes = Inspector(reader, HoleKeeper(0, spill.handle)).inspect(part.index, items).holes
    body, view, whole = BodyReader(reader, part, spans_of(holes, {0: spill.handle})), bytearray(1000), b""
    while count := body.readinto(memoryview(view)):
        whole += view[:count]
    spill.close()
    return whole


@given(contents=sources, layout=layouts, suffix=st.sampled_from(["", ".gz", ".zst"]), check=st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_lines_are_those_of_the_body(tmp_path_factory, contents, layout, suffix, check):
    folder = tmp_path_factory.mktemp("source")
    rules = NDJSON if check else UNCHECKED
    if not check:
        contents = [content.removeprefix(b"\xef\xbb\xbf") for content in contents]
    try:
        parts, reader = checked(folder, write_files(folder, contents, suffix), rules, layout)
    except SourceError:
        return  # refused as a whole
    with reader:
        agree(parts, reader, contents)


@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=3), size=st.sampled_from([1_000, 2_000]))
@settings(max_examples=40, deadline=None)
def test_csv_repeats_its_header(tmp_path_factory, counts, size):
    folder = tmp_path_factory.mktemp("source")
    contents = [
        HEADER + b"".join(b"bad\n\n" if n % 7 == 3 else b"DELETE,crm-%d,880,0\n" % n for n in range(count))
        for count in counts
    ]
    parts, reader = checked(folder, write_files(folder, contents), CSV, Layout(max_part_bytes=size))
    with reader:
        agree(parts, reader, contents)


@pytest.mark.parametrize("change", ["one byte", "shorter", "longer"])
def test_a_changed_part_is_noticed_at_its_end(tmp_path: Path, change: str) -> None:
    lines = [b'{"operation":"DELETE","user_account_id":"%03d"}\n' % n for n in range(50)]
    lines[7] = b"bad\n"
    (tmp_path / "a.ndjson").write_bytes(b"".join(lines))
    (part,), reader = checked(tmp_path, ["a.ndjson"], NDJSON, Layout())
    reader.close()
    changed = {
        "one byte": [*lines[:30], lines[30].replace(b"030", b"031"), *lines[31:]],
        "shorter": lines[:-1],
        "longer": lines,
    }[change]
    (tmp_path / "a.ndjson").write_bytes(b"".join(changed))
    files = find_files([str(tmp_path / "a.ndjson")])
    if change == "longer":
        part = msgspec.structs.replace(part, lines=part.lines - 1)
    with SourceReader(files, NDJSON, 100_000) as again, pytest.raises(SourceChanged, match=r"part 1"):
        list(sent_lines(again, part))
    if change == "shorter":
        with SourceReader(files, NDJSON, 100_000) as again, pytest.raises(SourceChanged, match="shorter"):
            stretches_of(again, part)
