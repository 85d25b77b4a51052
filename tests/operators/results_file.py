"""An import of which the platform fails lines; its results file read back, and compared with the result that it belongs to."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from one_task import profile

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions

LAYOUTS = ("line_number", "identifier", "line", "message")
EVERY = 20
PARTS = SendingOptions(max_part_bytes=20_000, settle=0.2)
DATA_FILE = {"method": "GET", "path": "data_file"}
FIELDS = [
    "schema",
    "state",
    "where",
    "source",
    "line",
    "lines",
    "part",
    "execution",
    "reasons",
    "offset",
    "bytes",
]
MORE = {"version", "raw", "raw_base64", "columns", "stretches", "part_lines", "header"}


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a result's file; their counts are those of the result."""
    rows = read_rows(result["results_uri"])
    counts = Counter[str]()
    for row in rows:
        counts[row["state"]] += row["lines"]
    assert counts == Counter(
        {state: result[f"lines_{state}"] for state in ("rejected", "failed", "unprocessed")}
    ), counts
    unjoined = sum(row["lines"] for row in rows if row["state"] == "failed" and row["line"] is None)
    assert unjoined == result["lines_unjoined"]
    return rows


def read_rows(uri: str) -> list[dict[str, Any]]:
    path = Path(uri)
    assert path.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        assert list(row)[: len(FIELDS)] == FIELDS and set(row) - set(FIELDS) <= MORE
        assert row["schema"] == 1 and row["reasons"]
        assert row["where"] == ("check" if row["state"] == "rejected" else "platform")
        if row["line"] is None:
            assert row["offset"] is row["bytes"] is None and "raw" not in row
        else:
            assert row["lines"] == 1 and "stretches" not in row
    return rows


def joined(rows: list[dict[str, Any]], state: str = "failed") -> list[tuple[str, int]]:
    """File name and number of the lines of a state that are known one by one."""
    return [
        (Path(row["source"]).name, row["line"])
        for row in rows
        if row["state"] == state and row["line"] is not None
    ]


def stand_where_they_say(rows: list[dict[str, Any]], plain: dict[str, bytes]) -> None:
    """Each known line stands at its place in the file, under its number, and is what the row holds.

    :param plain: content of each file, unpacked, by name.
    """
    for row in rows:
        if row["line"] is None:
            continue
        content = plain[Path(row["source"]).name]
        found = content[row["offset"] : row["offset"] + row["bytes"]]
        assert content[: row["offset"]].count(b"\n") == row["line"] - 1
        if "raw" in row:
            assert found.rstrip(b"\r\n").decode() == row["raw"]


def failing(emulator: Emulator, layout: str = "line_number", **settings: Any) -> None:
    emulator.settings(error_file_layout=layout, **settings)
    emulator.fault("failing_lines", every=EVERY)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"max_failures": "60%", "rejects_path": str(folder / "bad"), **more}


def expected(emulator: Emulator, names: list[str], files: list[list[str]]) -> list[tuple[str, int]]:
    """The good lines that the emulator does not hold."""
    held = emulator.held()
    return [
        (name, number)
        for name, lines in zip(names, files, strict=True)
        for number, line in enumerate(lines, 1)
        if '"user_account_id"' in line and line not in held
    ]


def lines_of(count: int, bad: tuple[int, ...] = (), blank: tuple[int, ...] = (), first: int = 0) -> list[str]:
    return [
        "" if n in blank else '{"operation":"UPSERT"}' if n in bad else profile(first + n)
        for n in range(1, count + 1)
    ]


def write(path: Path, lines: list[str]) -> bytes:
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return content
