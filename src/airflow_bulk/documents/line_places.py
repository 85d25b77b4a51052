"""Lines that a results file tells by their place alone: they are read in the source, which must still be what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from airflow_bulk.documents.rejected_places import RejectedPlaces
from airflow_bulk.documents.result_rows import ResultRow
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceChanged, SourceMissing
from airflow_bulk.documents.source.reader import LineRules, SourceReader, read_beginning

#: No part of a source that is read again may be longer: whether a line was too long for a part, its row says.
LONGEST_PART = 1 << 40


class LinePlaces:
    """Reads lines at their places in the source; each file is open while the rows speak of it.

    :param rules: what a line may be; of no use but for the header of a file.
    :param open_path: opens an object of a store.
    """

    def __init__(self, rules: LineRules, open_path: Callable[[str], Any] | None) -> None:
        self._rules, self._open_path = rules, open_path
        self._reader: SourceReader | None = None
        self._uri = ""
        self._header: bytes | None = None

    def close(self) -> None:
        """Close what is open."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._uri, self._header = None, "", None

    def _open(self, uri: str, version: str, gone: str, changed: str) -> SourceReader:
        """Open a file.

        :param gone: what to say of a file that is gone, and what a person does then.
        :param changed: likewise of one that has changed.
        """
        if self._reader is None or self._uri != uri:
            self.close()
            try:
                found = find_files(uri, self._open_path, check_extension=False)
            except SourceMissing:
                raise SourceChanged(f"{uri}: {gone}") from None
            if version != found[0].record.mark:
                raise SourceChanged(f"{uri}: {changed}")
            unchecked = msgspec.structs.replace(self._rules, check=False)
            self._reader, self._uri = SourceReader(found, unchecked, LONGEST_PART), uri
        return self._reader

    def header(self, row: ResultRow) -> bytes:
        """The header of a row's file, without its line end; empty for NDJSON."""
        if self._rules.mime_type != "TEXT_CSV":
            return b""
        reader = self._open(
            *_file_of(row),
            gone="is gone, and the header of its lines has to be read there, since this results file does not hold it. "
            "Nothing of this round was sent. Put the file back, and clear this task.",
            changed="has changed since its lines were sent, and the header of its lines has to be read there, since this results "
            "file does not hold it. Nothing of this round was sent. Put the file back as it was, and clear this task.",
        )
        if self._header is None:
            self._header = read_beginning(reader.files[0].record, reader.contents(0), self._rules).header
        return self._header.rstrip(b"\r\n")

    def line(self, row: ResultRow) -> bytes:
        """The line that a row points at, without its line end."""
        reader = self._open(
            *_file_of(row),
            gone="is gone, and its lines have to be read there again. Nothing of this round was sent. Put it back, and clear "
            "this task.",
            changed="has changed since its lines were sent, so they cannot be read there again. Nothing of this round was sent. "
            "With rejects_content='line' an import keeps its bad lines of up to 1 MiB in its results file.",
        )
        data = bytearray(row.bytes or 0)
        if reader.contents(0).readinto(memoryview(data), row.offset or 0) != len(data) or not data:
            raise SourceChanged(
                f"{row.source}: ends before line {row.line}, so it has changed since its lines were sent. Nothing of this round "
                "was sent."
            )
        return bytes(data).rstrip(b"\r\n")

    def part(self, row: ResultRow, rejected: RejectedPlaces) -> Iterator[tuple[str, int, bytes]]:
        """The lines of a whole part, blank ones included, each with its file and offset.

        :param rejected: lines that were not sent then; they are not read either, however long they are.
        """
        for whole in row.stretches:
            uri, version = whole[0], whole[4]
            reader = self._open(
                uri,
                version,
                gone="is gone, and a whole part has to be read there again. Nothing of this round was sent. Put it back and "
                "clear this task, or say whole_parts=False.",
                changed="has changed since its lines were sent, so a whole part cannot be read there again. Nothing of this round "
                "was sent. Put it back as it was and clear this task, or say whole_parts=False.",
            )
            for _, _, offset, length, _ in rejected.without(whole):
                for block in reader.blocks(0, offset, length):
                    for start, line in _lines_of(block.data):
                        yield uri, block.offset + start, line


def _file_of(row: ResultRow) -> tuple[str, str]:
    """The file that a row speaks of, and its version."""
    if row.stretches:
        return row.stretches[0][0], row.stretches[0][4]
    return row.source or "", row.version


def _lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        stop = data.find(b"\n", start) + 1 or len(data)
        yield start, data[start:stop].rstrip(b"\r\n")
        start = stop
