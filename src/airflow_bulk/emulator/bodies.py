"""Reading an uploaded body: counting, judging and giving back its lines. Runs in a thread.

Bodies stay in the state folder as they came, beside the error file that names the lines that failed; what
the emulator "holds" is read from the two, so nothing is copied and a restart forgets nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import random
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_bulk.emulator.line_rules import LineRules

ERROR_HEADER = "line_number,error_id,message\n"
SEGMENT_COLUMNS = (
    "operation",
    "user_account_id",
    "compartment_id",
    "email_hash",
    "user_agent_id",
    "segment_id",
    "segment_technical_name",
    "expiration_duration",
    "expiration_ts",
    "data_bag",
)
NUMBERS = ("expiration_duration", "expiration_ts")
# No source describes the CSV (mediarithmics.md section 6.2). When strict, a number is written as in JSON, and a quote
# stands only around a cell and doubled inside, as in RFC 4180; else 007 and a"b pass [assumed].
JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
ANY_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How a body is to be read."""

    document_type: str
    is_csv: bool
    delimiter: str
    strict: bool
    count_header: bool = False
    count_blank: bool = False
    saved_errors: int = 100
    fail_every: int = 0
    quote_lines: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a body held.

    :param lines: lines that were judged.
    :param number_of_lines: lines as the platform counts them (mediarithmics.md section 4.3).
    :param failures: lines that failed.
    :param message: the ``error.message`` of section 4.6.
    """

    lines: int
    number_of_lines: int
    failures: int
    message: str


def judge(body: Path, errors: Path, reading: Reading) -> Outcome:
    """Judge every line of a body and write its error file (section 4.5)."""
    judgement = _Judgement(reading)
    lines = blank = failures = 0
    dice = random.Random(f"{reading.seed}-{body.name}")  # noqa: S311 - repeatable error ids, no secrets
    saved: list[str] = []
    part = errors.with_suffix(".part")
    with body.open("rb") as source, part.open("w", encoding="utf-8", newline="") as report:
        report.write(ERROR_HEADER)
        rows = csv.writer(report, lineterminator="\n")
        header: bytes | None = None
        for number, raw in enumerate(source, start=1):
            line = raw.removesuffix(b"\n").removesuffix(b"\r")
            if line.strip():
                if reading.is_csv and header is None:
                    header = line
                    judgement.use_header(header)
                    continue
                lines += 1
                reason = judgement.reason(line)
                if reason is None and reading.fail_every and lines % reading.fail_every == 0:
                    reason = judgement.worded("Refused by a fault", line)
            else:
                blank += 1
                reason = "Blank line" if reading.count_blank else None
            if reason is None:
                continue
            failures += 1
            error_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
            rows.writerow((number, error_id, reason))
            if len(saved) < reading.saved_errors:
                saved.append(f"{reason} Error id = {error_id}.\n")
    part.replace(errors)
    if reading.count_blank:
        lines += blank
    counted = lines + (1 if reading.count_header and header is not None else 0)
    message = f"{lines - failures} success, {failures} failures\nSaved errors:\n{''.join(saved)}"
    return Outcome(lines, counted, failures, message)


def good_lines(body: Path, errors: Path, *, is_csv: bool, taken: float = 1.0) -> Iterator[bytes]:
    """Yield the lines of a body that did not fail, without their line ends.

    :param taken: yield only this share of them, from the first on.
    """
    with errors.open(encoding="utf-8", newline="") as report:
        bad = {int(row[0]) for row in list(csv.reader(report))[1:]}
    left: float = float("inf")
    if taken < 1:
        left = round(taken * sum(1 for _ in good_lines(body, errors, is_csv=is_csv)))
    header_seen = not is_csv
    with body.open("rb") as source:
        for number, raw in enumerate(source, start=1):
            line = raw.rstrip(b"\r\n")
            if number in bad or not line.strip():
                continue
            if not header_seen:
                header_seen = True
                continue
            if left < 1:
                return
            left -= 1
            yield line


class _Judgement:
    """The rules for one body; for CSV they need its header."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._rules = LineRules(reading.document_type, strict=reading.strict)
        mark = re.escape(reading.delimiter)
        cell = rf'(?:"(?:[^"]|"")*"|[^"{mark}]*)'
        self._row = re.compile(rf"{cell}(?:{mark}{cell})*")
        self._columns: list[str] = []
        self._header_fault: str | None = None

    def use_header(self, line: bytes) -> None:
        try:
            self._columns = self._cells(line)
        except (ValueError, csv.Error):
            self._header_fault = "The header is not readable"
            return
        if len(set(self._columns)) < len(self._columns):
            self._header_fault = "A column occurs twice in the header"
        elif not set(self._columns) <= set(SEGMENT_COLUMNS):
            self._header_fault = "The header has an unknown column"

    def reason(self, line: bytes) -> str | None:
        reason = self._csv_reason(line) if self._reading.is_csv else self._rules.reason(line)
        return None if reason is None else self.worded(reason, line)

    def worded(self, reason: str, line: bytes) -> str:
        """A reason as the platform words it."""
        if self._reading.quote_lines:
            return f"{reason}: {line.decode('utf-8', 'replace')[:200]}"
        return reason

    def _csv_reason(self, line: bytes) -> str | None:
        if self._header_fault:
            return self._header_fault
        try:
            cells = self._cells(line)
        except UnicodeDecodeError:
            return "Not UTF-8"
        except (ValueError, csv.Error):
            return "Not a CSV row"
        if len(cells) != len(self._columns):
            return "A row has as many cells as the header"
        document: dict[str, Any] = {}
        for column, cell in zip(self._columns, cells, strict=True):
            if cell and column in NUMBERS:
                written = JSON_NUMBER if self._reading.strict else ANY_NUMBER
                if not written.fullmatch(cell):
                    return f"A wrong value at {column} (type)"
                document[column] = _number(cell)
            elif cell:
                document[column] = cell
        return self._rules.broken_rule(document)

    def _cells(self, line: bytes) -> list[str]:
        text = line.decode()
        if self._reading.strict and not self._row.fullmatch(text):
            raise ValueError("a quote inside a cell without quotes")
        if self._reading.strict and "\r" in text:
            raise ValueError("a line break inside a cell")
        rows = list(csv.reader([text], delimiter=self._reading.delimiter, strict=True))
        if len(rows) != 1:
            raise ValueError("not one row")
        return rows[0]


def _number(cell: str) -> int | float:
    """Read a number; a schema cannot tell whole ones of more than 40 digits apart, and Python refuses 4,300."""
    return int(cell[:40]) if cell.lstrip("+-").isdigit() else float(cell)
