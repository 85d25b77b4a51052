"""An import of 2,000 parts: its record grows with the parts and no faster, and a retry at 95 % reads what is left.

``make borders`` measures the same on a real Airflow, with 50 GB.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from one_task import AssetState, Killed, MemoryStore, importing, once, profile

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions

PARTS = 2_000
LINES_OF_A_PART = 5
#: Airflow warns of longer values (airflow.md section 1.5).
WARNED_OF = 65_535


class Counted:
    """A store whose writes of parts are counted."""

    writes = written = 0
    values: dict[str, str]

    def count(self, key: str) -> None:
        assert len(self.values[key]) < WARNED_OF
        if ".parts." in key:
            self.writes += 1
            self.written += len(self.values[key])


class CountedState(Counted, MemoryStore):
    """The task's state; ends the try once a part of a page is sent."""

    dies_at = ""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value)
        self.count(key)
        if self.dies_at and key.endswith(self.dies_at) and any("sent" in row for row in value):
            self.dies_at = ""
            raise Killed


class CountedCopies(Counted, AssetState):
    """The copies of the record."""

    def set(self, key: str, value: Any) -> None:
        super().set(key, value)
        self.count(key)


def an_import(task: Any, source: Path, parts: int) -> tuple[Any, list[str]]:
    """A task whose source is at least so many parts, and the source's lines."""
    numbers = range(LINES_OF_A_PART * parts)
    lines = [profile(number, user_profile={"note": "x" * 8_000}) for number in numbers]
    source.write_text("\n".join(lines) + "\n")
    part_bytes = source.stat().st_size // parts
    one = task(importing(source, sending=SendingOptions(max_part_bytes=part_bytes, settle=0.2)))
    one.store, one.asset_state = CountedState(), CountedCopies()
    return one, lines


def bytes_read() -> int:
    """What this process has read from files."""
    return int(Path("/proc/self/io").read_text().partition("rchar: ")[2].split()[0])


def uploads(emulator: Emulator) -> list[dict[str, Any]]:
    """All uploads, oldest first."""
    calls = emulator.requests()
    return [one for one in calls if one["method"] == "POST" and one["path"].endswith("/executions")]


def cost_of_a_part(one: Any, result: dict[str, Any]) -> list[float]:
    """Writes and bytes a part, of the task's state and of the copies."""
    return [
        number / result["parts"]
        for home in (one.store, one.asset_state)
        for number in (home.writes, home.written)
    ]


@pytest.mark.slow  # `make borders` has the same with 50 GB
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process has read")
def test_2000_parts(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    small, lines = an_import(task, source, PARTS // 10)
    small_result = small.run()
    cost = cost_of_a_part(small, small_result)

    one, lines = an_import(task, source, PARTS)
    one.store.dies_at = "parts.19"
    with pytest.raises(Killed):
        one.run()
    sent_before = len(uploads(emulator))
    before = bytes_read()
    result = one.run()
    read = bytes_read() - before
    assert emulator.held(result["import_id"]) == once(lines)
    bodies = [call["body_bytes"] for call in uploads(emulator)]
    assert len(bodies) == small_result["parts"] + result["parts"]
    left = sum(bodies[sent_before:])
    assert 0.01 < left / source.stat().st_size < 0.25
    # Besides what is left: the beginning of the file.
    assert left < read < left + 100_000
    # Ten times the parts: each takes as many writes, and in full pages hardly more bytes than in three pages half full.
    for number, of_small in zip(cost_of_a_part(one, result), cost, strict=True):
        assert number == pytest.approx(of_small, rel=0.15)
    pages = [key for key in one.store.values if ".parts." in key]
    assert len(pages) == -(-result["parts"] // 100)
    ends = [key for key in one.store.values if ".executions." in key]
    assert len(ends) == len(pages)
    assert len(one.store.values) - len(pages) - len(ends) < 12
