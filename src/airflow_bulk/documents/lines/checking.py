"""Blocks of lines in, the lines that must not go out back: fast where all is well, complete where not.

A clean block costs one C-level pass. Only the lines that the fast reading refuses are read again, one by one,
and the pass goes on behind them. Whatever path a line takes, its verdict is that of ``check_line``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from airflow_bulk.documents.lines import faults
from airflow_bulk.documents.lines.faults import REFUSALS
from airflow_bulk.documents.lines.formats import (
    CSV,
    CSV_ONLY,
    FORMATS,
    NDJSON,
    general,
    mime_types,
    variants,
    warned,
)
from airflow_bulk.documents.lines.hints import hints

_BLANKS = b" \t\r"


class Finding(NamedTuple):
    """One line that does not go out.

    :param line: 0-based number of the line within the block.
    :param start: offset in the block of its first byte.
    :param stop: offset behind its last byte, line end included.
    :param reasons: why it was rejected, sentences without content of the line; empty for a blank line, which is
        left out and counted apart.
    """

    line: int
    start: int
    stop: int
    reasons: tuple[str, ...]


class Report(NamedTuple):
    """What a block holds.

    :param lines: physical lines, blank and bad ones included.
    :param findings: the lines that do not go out, in order.
    """

    lines: int
    findings: list[Finding]


class Reading(Protocol):
    """The rules of one document type in one mime type."""

    def suspects(self, lines: list[bytes]) -> Iterable[int]:
        """Return the indexes, ascending, of all lines that may be bad; it may name good ones."""

    def reasons(self, line: bytes) -> list[str]:
        """Read one line completely; it is not blank and has no newline."""

    def hints(self, line: bytes) -> Iterable[str]:
        """Return the kinds of hints on a good line; asked on a sample."""

    def warnings(self, lines: Iterable[bytes]) -> Iterable[str]:
        """Return the kinds of hints that are counted on every good line of the last block; often there are none."""


class LineChecker:
    """Checks blocks of whole lines. Its state is only what makes it fast, and the hints.

    :param document_type: one of the documented types (mediarithmics.md section 2.1).
    :param mime_type: ``APPLICATION_X_NDJSON`` or, for USER_SEGMENT alone, ``TEXT_CSV``.
    :param header: the header line, for CSV.
    :param delimiter: what separates the cells of CSV.
    :param max_line_bytes: a longer line, its line end included, is rejected; ``None`` for no limit.
    :param check: ``False`` only counts lines: bytes go out untouched, there are no findings and no hints.
    :param line_check: ``package.module:function`` for lines of another platform; the document type is not asked then.
    :raises ValueError: unknown type, a type that does not exist in this mime type, or a bad header.
    """

    def __init__(
        self,
        document_type: str,
        mime_type: str = NDJSON,
        *,
        header: bytes | None = None,
        delimiter: str = ",",
        max_line_bytes: int | None = None,
        check: bool = True,
        line_check: str = "",
    ) -> None:
        self._reading: Reading | None = None
        if check and line_check:
            from airflow_bulk.documents.lines.own_check import OwnReading

            self._reading = OwnReading(line_check)
        elif check:
            self._reading = _reading(document_type, mime_type, header, delimiter)
        self._max_line_bytes = max_line_bytes
        # Kind -> how often seen in a sample of the good lines (see _sample): the fast reading sees no hints.
        self.hints: Counter[str] = Counter()
        self._blocks = 0

    def check(self, block: bytes) -> Report:
        """Check a block.

        :param block: whole lines; only the last may lack its line end. A BOM has been taken off before.
        """
        if self._reading is None:
            return Report(block.count(b"\n") + (block[-1:] not in (b"", b"\n")), [])
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        suspects = set(self._reading.suspects(lines))
        suspects.update(_not_utf8(block))
        suspects.update(self._too_long(block, lines))
        findings = self._findings(block, lines, sorted(suspects))
        self._sample(self._reading, lines, {finding.line for finding in findings})
        return Report(len(lines), findings)

    def _sample(self, reading: Reading, lines: list[bytes], bad: set[int]) -> None:
        """Look for hints on a few good lines: 16 over each of the first blocks, then the first of each block."""
        self._blocks += 1
        step = len(lines) // 16 + 1 if self._blocks <= 4 else len(lines) + 1
        for number in range(0, len(lines), step):
            if number not in bad:
                self.hints.update(reading.hints(lines[number]))
        good = (line for number, line in enumerate(lines) if number not in bad) if bad else lines
        self.hints.update(reading.warnings(good))

    def _too_long(self, block: bytes, lines: list[bytes]) -> list[int]:
        limit = self._max_line_bytes
        if limit is None or len(block) <= limit:
            return []
        return [number for number, line in enumerate(lines) if len(line) + 1 > limit]

    def _findings(self, block: bytes, lines: list[bytes], suspects: list[int]) -> list[Finding]:
        findings = []
        start = before = 0
        for number in suspects:
            start += sum(map(len, lines[before:number])) + number - before
            before = number
            line = lines[number]
            stop = min(start + len(line) + 1, len(block))
            reasons = self._reasons(line, stop - start)
            if reasons is not None:
                findings.append(Finding(number, start, stop, reasons))
        return findings

    def _reasons(self, line: bytes, length: int) -> tuple[str, ...] | None:
        """Return the reasons against a line; none for a blank one, ``None`` for a good one."""
        if not line.strip(_BLANKS):
            return ()
        too_long = self._max_line_bytes is not None and length > self._max_line_bytes
        if too_long:
            return (
                f"the line has {length} bytes, more than the {self._max_line_bytes} that a part may have",
            )
        assert self._reading is not None  # noqa: S101
        return tuple(self._reading.reasons(line)) or None


def _not_utf8(block: bytes) -> list[int]:
    """Return the numbers of lines that are no UTF-8: skipped content is not looked at by the decoders."""
    found: list[int] = []
    if block.isascii():
        return found
    start = number = 0
    while start < len(block):
        try:
            str(memoryview(block)[start:], "utf-8")
            break
        except UnicodeDecodeError as error:
            place = start + error.start
        number += block.count(b"\n", start, place)
        found.append(number)
        start = block.find(b"\n", place) + 1
        number += 1
        if not start:
            break
    return found


class NdjsonReading:
    """One JSON object a line.

    Lines of one kind (one way to keep the rules) are decoded by the decoder of that kind alone. When the kind
    changes often, the rest of the block, and then some blocks, go through the general decoder and a look at
    each command.
    """

    # Kinds may change so often in a block before it counts as mixed: each change costs a few microseconds.
    CHANGES = 4
    # So many blocks are then taken as mixed before the kinds are tried again.
    MIXED_BLOCKS = 16

    def __init__(self, document_type: str) -> None:
        form = FORMATS[document_type]
        self._document_type = document_type
        self._kinds = [decoder.decode for decoder in variants(document_type)]
        self._general = general(document_type).decode
        self._kept, self._plain = form.kept, form.open.plain if form.open else form.kept
        self._warnings, self._warned = form.warnings, warned(document_type).decode
        self._warn_always = form.open is None
        self._warn = False
        self._mixed = 0

    def suspects(self, lines: list[bytes]) -> list[int]:
        """Return the indexes of all lines that may be bad."""
        found: list[int] = []
        rest = iter(lines)
        changes = self.CHANGES if self._mixed else 0
        self._mixed = max(0, self._mixed - 1)
        self._warn = self._warn_always
        while True:
            try:
                if self._plain is None or changes < self.CHANGES:
                    deque(map(self._kinds[0], rest), maxlen=0)
                else:
                    for command in itertools.filterfalse(self._plain, map(self._general, rest)):
                        if not self._keeps_rules(command):
                            found.append(len(lines) - operator.length_hint(rest) - 1)
                return found
            except REFUSALS:
                # The iterator stands behind the refused line, so the pass goes on there.
                number = len(lines) - operator.length_hint(rest) - 1
            if changes < self.CHANGES and self._is_good(lines[number]):
                changes += 1
                if changes == self.CHANGES:
                    self._mixed = self.MIXED_BLOCKS
            else:
                found.append(number)

    def _keeps_rules(self, command: object) -> bool:
        """Whether a command that is not plain keeps the rules over several properties all the same."""
        if self._kept is None or not self._kept(command):
            return False
        self._warn = True
        return True

    def _is_good(self, line: bytes) -> bool:
        """Whether a refused line is good all the same; if it is of another kind, that kind goes on."""
        try:
            if not self._keeps_rules(self._general(line)):
                return False
        except REFUSALS:
            return False
        for place, decode in enumerate(self._kinds):
            try:
                decode(line)
            except REFUSALS:
                continue
            self._kinds.insert(0, self._kinds.pop(place))
            break
        return True

    def reasons(self, line: bytes) -> list[str]:
        """Read one line completely."""
        return faults.reasons(self._document_type, line)

    def hints(self, line: bytes) -> Iterable[str]:
        """Return the kinds of hints on a good line."""
        return hints(self._document_type, line)

    def warnings(self, lines: Iterable[bytes]) -> Iterable[str]:
        """Return what is counted on every good line of the block that :meth:`suspects` read last."""
        return self._warnings(self._decoded(lines)) if self._warnings and self._warn else ()

    def _decoded(self, lines: Iterable[bytes]) -> Iterator[object]:
        """Decode good lines. One that names a property twice, wrong at first, is good but cannot be decoded."""
        for line in lines:
            with contextlib.suppress(*REFUSALS):
                yield self._warned(line)


def _reading(document_type: str, mime_type: str, header: bytes | None, delimiter: str) -> Reading:
    known = mime_types(document_type)
    if mime_type not in known:
        raise ValueError(f"{document_type} comes as {' or '.join(known)}, not as {mime_type!r}")
    if mime_type == CSV:
        if header is None:
            raise ValueError("CSV lines cannot be read without their header")
        if document_type in CSV_ONLY:
            from airflow_bulk.documents.lines.centrapay_onboard import OnboardReading

            return OnboardReading(header, delimiter)
        from airflow_bulk.documents.lines.csv_lines import CsvReading

        return CsvReading(header, delimiter)
    return NdjsonReading(document_type)


@functools.lru_cache(maxsize=32)
def _kept_reading(document_type: str, mime_type: str, header: bytes | None) -> Reading:
    return _reading(document_type, mime_type, header, ",")


def check_line(
    document_type: str, line: bytes | str, mime_type: str = NDJSON, *, header: bytes | str | None = None
) -> list[str]:
    """Return the reasons for which a line would be rejected.

    :param document_type: one of the documented types (mediarithmics.md section 2.1).
    :param line: one line, with or without its line end.
    :param mime_type: ``APPLICATION_X_NDJSON`` or, for USER_SEGMENT alone, ``TEXT_CSV``.
    :param header: the header line; CSV needs it.
    :return: sentences that hold no content of the line; empty for a good line, and for a blank one, which is
        left out of a file without being an error.
    :raises ValueError: unknown type, a type that does not exist in this mime type, or a bad header.
    """
    raw = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    title = header.encode() if isinstance(header, str) else header
    reading = _kept_reading(document_type, mime_type, title)
    raw = raw.removesuffix(b"\n")
    return reading.reasons(raw) if raw.strip(_BLANKS) else []


def looks_like(number: int, line: bytes, behind: bytes = b"") -> str | None:
    """Tell that a source is JSON, but not one command a line (mediarithmics.md section 3).

    :param number: number of the first line that is not blank.
    :param line: that line of an NDJSON source with its newline, or as much of it as was read; a BOM does not matter.
    :param behind: what was read behind it.
    :return: why the whole source is refused, with the way out; ``None`` if nothing speaks against it.
    """
    text = line.removeprefix(b"\xef\xbb\xbf").strip()
    if text.startswith(b"["):
        return (
            f"line {number} begins a JSON array, but each line has to be one command; "
            "`jq -c '.[]' FILE` writes an array as such lines"
        )
    # Without its newline it may be the beginning of a long line, which can stop anywhere.
    if not (line.endswith(b"\n") and text.startswith(b"{")):
        return None
    if text.endswith(b",") and not _json_fault(text[:-1]):
        return (
            f"a comma stands behind the command in line {number}, but each line has to be one command and nothing more; "
            "`sed 's/,[[:space:]]*$//' FILE` takes the commas away"
        )
    if text.endswith((b"{", b"[", b",", b":")) or _goes_on(text, behind):
        return (
            f"line {number} begins a JSON document that goes on over several lines, but each line has to be one command; "
            "`jq -c . FILE` writes each document on one line"
        )
    return None


def _json_fault(text: bytes) -> str:
    try:
        faults.ANY_JSON.decode(text)
    except REFUSALS as error:
        return str(error) or type(error).__name__
    return ""


def _goes_on(text: bytes, behind: bytes) -> bool:
    """Whether a document that a line begins goes on behind it, as where commas stand at the beginning of lines.

    A line that was cut short does not: another command follows it. Nor does one with a line break within a string.
    """
    if not behind.lstrip().startswith((b",", b"}", b"]", b":")):
        return False
    within_string = re.sub(rb"\\.", b"", text).count(b'"') % 2
    return not within_string and "truncated" in _json_fault(text)
