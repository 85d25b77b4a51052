"""A small packed file that holds a lot is read in little memory, be it many lines or a single one that no part can hold."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cut_source import GOOD, NDJSON, Outcome, write_files

from airflow_bulk.documents.source.cuts import Layout

LINE = b'{"operation":"DELETE","user_account_id":"' + b"a" * 20_000 + b'"}\n'
#: Bytes of one block of lines; packed again and again, so that making the file takes as little memory as reading it.
BLOCK = LINE * 50
BLOCKS = 300
#: kB. Two copies of what is unpacked, or of a part, would be far beyond.
MOST = 64_000


def pack(path: Path, block: bytes, blocks: int, last: bytes = b"") -> None:
    packer: Any = (
        zlib.compressobj(9, wbits=31) if path.suffix == ".gz" else zstandard.ZstdCompressor(3).compressobj()
    )
    with path.open("wb") as file:
        for _ in range(blocks):
            file.write(packer.compress(block))
        file.write(packer.compress(last) + packer.flush())


def read_apart(path: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("packed_script.py")
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_many_lines_out_of_a_small_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lines.ndjson{suffix}"
    pack(path, BLOCK, BLOCKS)
    unpacked = len(BLOCK) * BLOCKS
    assert unpacked > 300_000_000 and unpacked / path.stat().st_size > 200
    found = read_apart(path)
    assert (found["lines"], found["rejected"]) == (50 * BLOCKS, 0)
    # Each part ends without a newline or with it; nothing else differs.
    assert found["sent"] == unpacked
    assert found["memory"] < MOST, found


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_one_line_without_an_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"line.ndjson{suffix}"
    pack(path, b"x" * 1_000_000, 300, b"\n" + LINE)
    assert 300_000_000 / path.stat().st_size > 900
    found = read_apart(path)
    assert (found["lines"], found["rejected"]) == (1, 1)
    assert found["memory"] < MOST, found


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("size", [4_300_000, 4_999_000, 5_000_001, 7_000_000, 9_000_000])
def test_a_long_line_takes_no_other_with_it(tmp_path: Path, suffix: str, size: int) -> None:
    """Lines of more than half a part, behind each other: each is sent or refused by its own length."""
    long = GOOD % (b"x" * (size - len(GOOD)))
    lines = [GOOD % b"a", long, GOOD % b"b", long, GOOD % b"c"]
    names = write_files(tmp_path, [b"\n".join(lines)], suffix)
    outcome = Outcome(tmp_path, names, NDJSON, Layout(max_part_bytes=5_000_000), planned=not suffix)
    kept = [line for line in lines if len(line) < 5_000_000]
    assert [line for body in outcome.bodies for line in body.splitlines()] == kept
    assert sum(part.rejected for part in outcome.parts) == len(lines) - len(kept)
    assert sum(part.length for part in outcome.parts) == sum(map(len, lines)) + 4
