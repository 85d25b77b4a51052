"""Cut a source into parts, check the parts and read their bodies, in one step, for the tests of this folder."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import xxhash
import zstandard

from airflow_bulk.documents.inspection import Inspected, Inspector, Row
from airflow_bulk.documents.source.bodies import BodyReader, HoleKeeper, Spill, spans_of
from airflow_bulk.documents.source.cuts import Cutter, Layout, plan_parts
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import Part
from airflow_bulk.documents.source.reader import Block, LineRules, SourceReader
from airflow_bulk.documents.source.spreading import Group, take_stretches

GOOD = b'{"operation":"DELETE","user_account_id":"%s"}'
NDJSON = LineRules(document_type="USER_PROFILE")
UNCHECKED = LineRules(document_type="USER_PROFILE", check=False)
CSV = LineRules(document_type="USER_SEGMENT", mime_type="TEXT_CSV")


class Outcome:
    """A source, cut and checked, with the bodies read back.

    :param stretches: of the source; None for all of it.
    """

    def __init__(
        self,
        folder: Path,
        names: list[str],
        rules: LineRules,
        layout: Layout,
        planned: bool,
        stretches: Group | None = None,
    ) -> None:
        found = find_files([str(folder / name) for name in names], mime_type=rules.mime_type)
        if stretches is not None:
            found = take_stretches(found, stretches)
        spill = Spill()
        self.rows: list[tuple[int, Row]] = []
        self.inspected: list[Inspected] = []
        self.bodies: list[bytes] = []
        with SourceReader(found, rules, layout.max_part_bytes) as reader:
            keeper = HoleKeeper(0, spill.handle)
            inspector = Inspector(
                reader, keeper, lambda index, rows: self.rows.extend((index, row) for row in rows), True
            )
            for items, index in _items(reader, layout, planned):
                self.inspected.append(inspector.inspect(index, items))
        with SourceReader(found, rules, layout.max_part_bytes) as reader:
            for one in self.inspected:
                body = BodyReader(reader, one.part, spans_of(one.holes, {0: spill.handle}))
                self.bodies.append(read_body(body))
                if one.part.lines:
                    assert body.digest == one.part.digest == xxhash.xxh3_128(self.bodies[-1]).hexdigest()
        spill.close()

    @property
    def parts(self) -> list[Part]:
        return [one.part for one in self.inspected]


def _items(
    reader: SourceReader, layout: Layout, planned: bool
) -> Iterator[tuple[Iterator[Block | Part], int]]:
    if planned:
        for part in plan_parts(reader, layout):
            yield chain(reader.blocks(part.file, part.start, part.length), [part]), part.index
        return
    cutter = Cutter(reader, layout)
    while True:
        index, items = cutter.index, cutter.next_part()
        first = next(items, None)
        if first is None:
            return
        yield chain([first], items), index


def read_body(reader: BodyReader, size: int = 1000) -> bytes:
    buffer, body = memoryview(bytearray(size)), bytearray()
    while count := reader.readinto(buffer):
        body += buffer[:count]
    return bytes(body)


def write_files(folder: Path, contents: list[bytes], suffix: str = "") -> list[str]:
    names = []
    for number, content in enumerate(contents):
        name = f"{number:03}.ndjson{suffix}"
        if suffix == ".gz":
            content = gzip.compress(content)
        if suffix == ".zst":
            content = zstandard.compress(content)
        (folder / name).write_bytes(content)
        names.append(name)
    return names
