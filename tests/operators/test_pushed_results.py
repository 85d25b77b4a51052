"""What a resend has to know is pushed at every end: good or bad, of a first try and of a retry, with lines and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from one_task import ME, MemoryStore, Task, importing, profile

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.resend_lines import ResendLinesOperator
from airflow_bulk.runs.record import Record
from airflow_bulk.runs.upload.result import with_executions

BROKEN = '{"operation":"UPSERT"}'


def imports(source: Path, **more: Any) -> Task:
    return Task(importing(source, rejects_path=str(source.parent / "bad"), **more))


def written(folder: Path, *lines: str) -> Path:
    source = folder / "p.ndjson"
    source.write_text("".join(f"{line}\n" for line in lines))
    return source


def again(one: Task) -> dict[str, Any]:
    """What the next try pushes: Airflow forgets what the tries before have pushed."""
    one.pushed.clear()
    return one.pushed


@pytest.mark.parametrize("on_empty", ["ok", "skip", "fail"])
def test_an_empty_source(emulator: Emulator, tmp_path: Path, on_empty: str) -> None:
    one = imports(written(tmp_path), on_empty=on_empty)
    if on_empty == "ok":
        one.run()
    else:
        with pytest.raises(AirflowSkipException if on_empty == "skip" else AirflowFailException):
            one.run()
    found = one.pushed["results"]
    assert (found["lines_read"], found["import_id"], found["results_uri"]) == (0, None, None)
    result = Task(lambda: ResendLinesOperator(task_id="t", results=found, on_empty="ok")).run()
    assert result["totals"]["lines_read"] == 0


def test_all_lines_are_rejected(emulator: Emulator, tmp_path: Path) -> None:
    one = imports(written(tmp_path, BROKEN, BROKEN), max_failures="100%")
    result = one.run()
    assert one.pushed["results"]["results_uri"] == result["results_uri"]
    assert one.pushed["results"]["lines_rejected"] == 2


def test_the_retry_of_a_good_end(emulator: Emulator, tmp_path: Path) -> None:
    one = imports(written(tmp_path, profile(1), BROKEN), max_failures="100%")
    one.run()
    first = dict(one.pushed["results"])
    pushed = again(one)
    one.run()
    assert pushed["results"] == first
    assert len(emulator.imports()) == 1


def test_the_retry_of_a_bad_end(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("failing_lines", every=2)
    one = imports(written(tmp_path, *map(profile, range(4))), max_failures=1)
    with pytest.raises(AirflowFailException, match="max_failures"):
        one.run()
    first = dict(one.pushed["results"])
    assert first["lines_failed"] == 2
    pushed = again(one)
    with pytest.raises(AirflowFailException, match="Recorded by try 1"):
        one.run()
    assert pushed["results"] == first


def test_a_failed_execution(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("forced_failed", times=1, taken=0.0)
    one = imports(written(tmp_path, *map(profile, range(10))))
    with pytest.raises(AirflowFailException, match="All bad lines"):
        one.run()
    found = one.pushed["results"]
    assert Path(found["results_uri"]).exists()
    assert (found["lines_read"], found["lines_unprocessed"]) == (10, 10)


def test_a_cleared_task_tells_nothing_of_the_former_import(emulator: Emulator, tmp_path: Path) -> None:
    source = written(tmp_path, profile(1))
    one = imports(source)
    one.run()
    source.unlink()
    one.clear()
    pushed = again(one)
    with pytest.raises(Exception, match=r"p\.ndjson"):
        one.run()
    assert "results" not in pushed


def test_a_resend_that_is_skipped(emulator: Emulator, tmp_path: Path) -> None:
    """Its bad lines are still where they were, and another resend finds them."""
    first = imports(written(tmp_path, profile(1), BROKEN), max_failures="100%").run()
    one = Task(lambda: ResendLinesOperator(task_id="t", results=first, only="failed", on_empty="skip"))
    with pytest.raises(AirflowSkipException):
        one.run()
    found = one.pushed["results"]
    assert (found["totals"]["lines_rejected"], found["totals"]["lines_read"]) == (1, 2)
    assert "UPSERT" in Path(found["results_uri"]).read_text()


def test_a_long_result_keeps_its_counts() -> None:
    """Of a recorded result that is too long, ids by the thousand are left out: the totals and the rounds stay."""
    one = Record(MemoryStore(), max_tries=0, clear_number=0, try_number=1, identity=ME)
    kept = {"totals": {"lines_read": 7}, "rounds": [{"round": 1, "lines_read": 7}], "error_file_uris": ["a"]}
    by_name = {f"job {number}": number for number in range(9_000)}
    one.write_end(good=True, result={"execution_ids": ["12345678"] * 9_000, "by_name": by_name, **kept})
    end = one.end()
    assert end is not None
    assert end.result == kept
    assert with_executions(end.result, one) == {**kept, "execution_ids": []}
