"""One bad line in a hundred: the file is refused whole, or they are left out, told by number, in flat memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import importing, once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator

NOTE = "x" * 300
#: Bytes of the two files, about.
SMALL, LARGE = 5_000_000, 40_000_000
#: kB by which an interpreter's memory differs from run to run; the larger file has nearly ten times as much more.
SLACK = 4_000


def write(path: Path, size: int) -> tuple[list[str], list[int]]:
    """Write a file of about that size; return its good lines and the numbers of its bad ones."""
    numbers = range(1, size // len(profile(10_000, note=NOTE)))
    lines = [profile(n, note=NOTE) if n % 100 else '{"operation":"UPSERT"}' for n in numbers]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [line for n, line in zip(numbers, lines, strict=True) if n % 100], [
        n for n in numbers if not n % 100
    ]


def test_none_allowed(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    good, bad = write(path, SMALL)
    share = rf"{len(bad)} of {len(good) + len(bad)} lines .*Nothing was sent\."
    with pytest.raises(AirflowFailException, match=share):
        task(importing(path, max_failures=0)).run()
    assert emulator.imports() == []
    assert not [call for call in emulator.requests() if call["method"] == "POST"]


def test_two_percent_allowed(emulator: Emulator, tmp_path: Path) -> None:
    small, large = tmp_path / "small.ndjson", tmp_path / "large.ndjson"
    expected = [write(small, SMALL), write(large, LARGE)]
    (tmp_path / "rejects").mkdir()
    script = Path(__file__).with_name("memory_script.py")
    # The small one first of all, too: what is loaded once is no memory of a file.
    told = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "rejects"), *map(str, (small, small, large))],
        env={**os.environ, "PYTHONPATH": str(script.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    _, *imports = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    for one, (good, bad) in zip(imports, expected, strict=True):
        result = one["result"]
        assert (result["lines_read"], result["lines_rejected"]) == (len(good) + len(bad), len(bad))
        assert (result["lines_accepted"], result["lines_failed"]) == (len(good), 0)
        assert emulator.held(result["import_id"]) == once(good)
        rows = [json.loads(row) for row in Path(one["rejects"]).read_text(encoding="utf-8").splitlines()]
        assert [row["line"] for row in rows] == bad
    assert imports[1]["memory"] - imports[0]["memory"] < SLACK


def test_one_line_is_one_line_in_all_that_is_said(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="airflow_bulk")
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 1)
    task(importing(source)).run()
    write_profiles(source, 1, bad=(1,))
    with pytest.raises(AirflowFailException) as caught:
        task(importing(source)).run()
    said = "\n".join([*caplog.messages, str(caught.value)])
    assert "Checked 1 line in 1 file: 1 to send in 1 part" in said
    assert "Sent 1 of 1 part, " in said and "1 line read = 0 rejected + 1 accepted + 0 failed" in said
    assert "1 of 1 line (100%) breaks a rule" in said
    assert re.findall(r"\b1 [a-z]+s\b", said) == []
