"""What a person reads in the log while parts leave: how many, how much, how fast, how long still."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from one_task import importing, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions

SENT = re.compile(
    r"Part \d+ \(\d+ lines, [\d.]+ kB\) is execution \d+\. "
    r"Sent (?P<parts>\d+)(?: of (?P<all_parts>\d+))? parts?, "
    r"(?P<bytes>[\d.]+) kB(?: of (?P<all_bytes>[\d.]+) kB)?, [\d.]+ MB/s(?:, about (?P<left>\d+) s left)?\."
)


@pytest.fixture
def told(emulator: Emulator, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    """Import 500 lines, three of them bad, and return what each line about a sent part says."""
    caplog.set_level("INFO", logger="airflow_bulk.runs.upload.progress")

    def run(name: str = "profiles.ndjson", **sending: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        source = tmp_path / name
        write_profiles(source, 500, bad=(3, 200, 201))
        if name.endswith(".gz"):
            source.write_bytes(gzip.compress(source.read_bytes()))
        options = SendingOptions(max_part_bytes=20_000, **sending)
        caplog.clear()
        result = task(importing(source, max_failures=3, sending=options)).run()
        lines = [text for text in caplog.messages if "is execution" in text]
        found = [SENT.fullmatch(text) for text in lines]
        assert all(found), lines
        return [one.groupdict() for one in found if one], result

    return run


@pytest.mark.parametrize("workers", [1, 2])
def test_two_passes(told: Any, workers: int) -> None:
    lines, result = told(workers=workers)
    parts = str(result["parts"])
    assert [line["parts"] for line in lines] == [str(n + 1) for n in range(result["parts"])]
    assert {line["all_parts"] for line in lines} == {parts}
    assert {line["all_bytes"] for line in lines} == {f"{result['bytes'] / 1e3:.2f}"}
    assert None not in [line["left"] for line in lines]
    assert (lines[-1]["bytes"], lines[-1]["left"]) == (lines[-1]["all_bytes"], "0")


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_that_leave_while_others_are_checked(told: Any, workers: int) -> None:
    """How many parts there will be is not known; how many bytes is, and what is left out is taken off."""
    lines, result = told(overlap=True, workers=workers)
    assert len(lines) == result["parts"] > 2
    assert {line["all_parts"] for line in lines} == {None}
    assert None not in [line["left"] for line in lines]
    everything = f"{result['bytes'] / 1e3:.2f}"
    assert (lines[-1]["bytes"], lines[-1]["all_bytes"], lines[-1]["left"]) == (everything, everything, "0")


def test_a_compressed_source_does_not_say_how_much_it_holds(told: Any) -> None:
    lines, result = told("profiles.ndjson.gz", overlap=True)
    assert len(lines) == result["parts"] > 2
    assert {(line["all_bytes"], line["left"]) for line in lines} == {(None, None)}
    lines, result = told("profiles.ndjson.gz")  # after a first pass it is known
    assert lines[-1]["all_bytes"] == f"{result['bytes'] / 1e3:.2f}"


def test_a_later_try_goes_on(emulator: Emulator, task: Any, tmp_path: Path, caplog: Any) -> None:
    """It counts what is left to it alone."""
    caplog.set_level("INFO", logger="airflow_bulk.runs.upload.progress")
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 500)
    emulator.fault("unauthorized", path=r"/executions$", method="POST", skip=1)
    one = task(importing(source, sending=SendingOptions(max_part_bytes=20_000, overlap=True)))
    with pytest.raises(Exception, match="401"):
        one.run()
    emulator.clear_faults()
    caplog.clear()
    result = one.run()
    last = [text for text in caplog.messages if "is execution" in text][-1]
    found = SENT.fullmatch(last)
    assert found, last
    assert found["bytes"] == found["all_bytes"]
    assert float(found["bytes"]) < result["bytes"] / 1e3 - 15  # a part has nearly 20 kB
