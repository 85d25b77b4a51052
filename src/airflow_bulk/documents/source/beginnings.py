"""What stands at the beginning of a file: a BOM, a CSV header, or signs that it is not what it should be."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from airflow_bulk.documents.errors import SourceError
from airflow_bulk.documents.lines.checking import LineChecker, looks_like
from airflow_bulk.documents.source.contents import Contents
from airflow_bulk.documents.source.files import UNSENT
from airflow_bulk.documents.source.parts import SourceFile

BOM = b"\xef\xbb\xbf"
FIRST_LOOK = 64 << 10  # bytes: a header longer than this is none


class LineRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a line may be; see :class:`~airflow_bulk.documents.lines.checking.LineChecker`."""

    document_type: str
    mime_type: str = "APPLICATION_X_NDJSON"
    delimiter: str = ","
    check: bool = True
    line_check: str = ""

    def checker(self, header: bytes) -> LineChecker:
        """Make a checker for the lines under a header (empty: none)."""
        return LineChecker(
            self.document_type,
            self.mime_type,
            header=header or None,
            delimiter=self.delimiter,
            check=self.check,
            line_check=self.line_check,
        )


class Beginning(NamedTuple):
    """Where the lines of a file begin.

    :param start: offset of the first line's first byte, behind the BOM and the header.
    :param header: the header line with its line end, as it is repeated in every part; empty without one.
    :param line: number of the first line: 1, or 2 under a header.
    """

    start: int
    header: bytes
    line: int


def read_beginning(record: SourceFile, contents: Contents, rules: LineRules) -> Beginning:
    """Look at the first bytes of a file.

    :raises SourceError: it cannot be what it should be: a JSON array, a document over several lines, a CSV
        header that is missing or wrong.
    """
    buffer = bytearray(FIRST_LOOK)
    first = bytes(buffer[: contents.readinto(memoryview(buffer), 0)])
    # Unchecked bytes go untouched, and may be of an encoding in which these three bytes are no BOM.
    bom = len(BOM) if rules.check and first.startswith(BOM) else 0
    stop = first.find(b"\n") + 1 or len(first)
    if rules.mime_type != "TEXT_CSV":
        # Whether a line may be an array only the function of another platform knows.
        if rules.check and not rules.line_check and (why := looks_like(first[:stop])):
            raise SourceError(f"{record.uri}: {why}. {UNSENT}")
        return Beginning(bom, b"", 1)
    header = first[bom:stop]
    if header and rules.check:
        try:
            rules.checker(header)
        except ValueError as error:
            raise SourceError(f"{record.uri}: line 1: {error}. {UNSENT}") from error
    if header and not header.endswith(b"\n"):
        header += b"\n"  # a file of a header alone: it has no lines
    return Beginning(stop, header, 2)
