"""A million failed lines in one part take no more memory than some thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from airflow_bulk.emulator.handle import Emulator

SMALL = 10_000
#: kB: the caches of the temporary database, 8 MB each, are full with the larger file alone.
SLACK = 40_000


def write(path: Path, count: int) -> Path:
    with path.open("w", encoding="ascii") as file:
        file.writelines(
            f'{{"operation":"DELETE","user_account_id":"crm-{n:08}"}}\n' for n in range(1, count + 1)
        )
    return path


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        ("identifier", 50_000),
        pytest.param("identifier", 1_000_000, marks=pytest.mark.slow),
        pytest.param("line", 1_000_000, marks=pytest.mark.slow),
    ],
)
def test_all_lines_of_a_part_fail(emulator: Emulator, tmp_path: Path, layout: str, count: int) -> None:
    emulator.settings(error_file_layout=layout)
    emulator.fault("failing_lines", every=1)
    small, large = write(tmp_path / "small.ndjson", SMALL), write(tmp_path / "large.ndjson", count)
    script = Path(__file__).with_name("results_memory_script.py")
    # The small one first of all, too: what is loaded once is no memory of a file.
    told = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "bad"), *map(str, (small, small, large))],
        env={**os.environ, "PYTHONPATH": str(script.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    _, first, second = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    for one, lines in ((first, SMALL), (second, count)):
        result = one["result"]
        assert (result["lines_failed"], result["lines_unjoined"], result["parts"]) == (lines, 0, 1)
        with Path(result["results_uri"]).open(encoding="utf-8") as rows:
            numbers = Counter(json.loads(row)["line"] for row in rows)
        assert len(numbers) == lines and set(numbers.values()) == {1} and max(numbers) == lines
    assert second["memory"] - first["memory"] < SLACK, (first["memory"], second["memory"])
