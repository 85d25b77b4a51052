"""The error files that the emulator shows: nobody documents their columns, so a switch says what stands in them.

What failed is kept in one form (:mod:`airflow_bulk.emulator.bodies`); a file is written from it, and from the body, when it is asked
for.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

#: ``line_number``: number, error id, message. ``identifier`` and ``line``: the identifier of the line, or the line itself, in the place
#: of the number. ``message``: error id and message alone.
LAYOUTS = ("line_number", "identifier", "line", "message")
IDENTIFIERS = ("user_account_id", "email_hash", "user_agent_id", "user_point_id", "hash", "$hash")
#: What is no error file at all, by the fault ``error_file``.
NOT_UTF8 = b"message,error_id\n\xff\xfe\x00\x80,\xc3\x28\n"


def write_error_file(
    target: Path, body: Path, errors: Path, *, layout: str, rows: int, delimiter: str | None
) -> None:
    """Write the error file of an execution in a layout.

    :param errors: what failed, as kept.
    :param rows: only so many of the first rows; 0 for all.
    :param delimiter: of a CSV body; None for ndjson.
    """
    if layout == "line_number" and not rows:
        shutil.copyfile(errors, target)
        return
    with target.open("w", encoding="utf-8", newline="", errors="surrogateescape") as report:
        writer = csv.writer(report, lineterminator="\n")
        writer.writerow([*([layout] if layout != "message" else []), "error_id", "message"])
        for done, (number, line, header, error_id, message) in enumerate(_failed(body, errors), 1):
            first = {"line_number": number, "line": line, "message": None}.get(layout)
            if layout == "identifier":
                first = _identifier(line, header if delimiter else None, delimiter or ",")
            writer.writerow([*([first] if layout != "message" else []), error_id, message])
            if done == rows:
                return


def _failed(body: Path, errors: Path) -> Iterator[tuple[str, str, str, str, str]]:
    with (
        body.open(encoding="utf-8", errors="surrogateescape", newline="\n") as source,
        errors.open(encoding="utf-8", newline="") as report,
    ):
        kept = csv.reader(report)
        next(kept)
        header, at, line = "", 0, ""
        for number, error_id, message in kept:
            while at < int(number):
                line = next(source).removesuffix("\n").removesuffix("\r")
                header = header or line
                at += 1
            yield number, line, header, error_id, message


def _identifier(line: str, header: str | None, delimiter: str) -> str:
    """The identifier of a line; empty where it has none that can be read."""
    try:
        if header is not None:
            names, cells = csv.reader([header, line], delimiter=delimiter)
            document = dict(zip(names, cells, strict=False))
        else:
            document = json.loads(line)
    except (ValueError, csv.Error):
        return ""
    if not isinstance(document, dict):
        return ""
    several = document.get("identifiers") or document.get("$user_identifiers")
    if isinstance(several, list) and several and isinstance(several[0], dict):
        document = several[0]
    for name in IDENTIFIERS:
        value = document.get(name) or document.get(f"${name}")
        if isinstance(value, dict):
            value = value.get("$hash")
        if isinstance(value, str) and value:
            return value
    return ""
