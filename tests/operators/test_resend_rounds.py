"""A resend at its borders: another import under it, a changed results file or argument, a round that sends nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from one_task import Killed, MemoryStore, profile
from resends import (
    BROKEN,
    accounts,
    closes,
    failing_import,
    fails,
    held,
    imported,
    mend,
    partly_failed,
    resending,
    write,
)

from airflow_bulk.emulator.handle import Emulator


class StopsAt(MemoryStore):
    """Dies once, right after a key is written."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key: str | None = key

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value, retention=retention)
        if key == self.key:
            self.key = None
            raise Killed


def rewritten(path: Path, first: int, last: int) -> None:
    path.write_text("\n".join(profile(n) for n in range(first, last + 1)) + "\n")


# The import was cleared, and has run again.


@pytest.mark.parametrize("discard", [False, True], ids=["3.3", "3.4"])
def test_the_import_has_run_again_before_anything_was_sent(
    emulator: Emulator, task: Any, tmp_path: Path, discard: bool
) -> None:
    importing_task = failing_import(emulator, task, tmp_path, 100, every=10)
    first = importing_task.run()
    again = task(resending(first), StopsAt("g1.import"), clears_discard=discard)
    with pytest.raises(Killed):
        again.run()
    rewritten(tmp_path / "p.ndjson", 1001, 1100)
    fails(emulator, every=20)
    importing_task.clear()
    second = importing_task.run()
    assert (first["lines_failed"], second["lines_failed"]) == (10, 5)
    again.clear()
    again.make = resending(second)
    result = again.run()
    assert closes(result, 100) == {"accepted": 100}
    assert result["former_import_id"] == second["import_id"]
    assert {f"crm-{n}" for n in range(1001, 1101)} <= set(held(emulator))
    (made,) = [one["name"] for one in emulator.imports() if one["id"] == result["import_id"]]
    assert made.startswith(f"profiles, resend 1 of {second['import_id']} [")


def test_the_import_has_run_again_after_a_failed_judgement(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    importing_task = failing_import(emulator, task, tmp_path, 100, every=10)
    first = importing_task.run()
    fails(emulator, every=2)
    again = task(resending(first, max_failures=4))
    with pytest.raises(AirflowFailException, match="5 of 100 lines failed"):
        again.run()
    fails(emulator, every=12)
    importing_task.clear()
    second = importing_task.run()
    before = len(emulator.imports())
    again.clear()
    again.make = resending(second, max_failures=4)
    result = again.run()
    assert closes(result, 100) == {"accepted": 100}
    assert (len(emulator.imports()), result["lines_read"]) == (before + 1, second["lines_failed"])
    assert (
        f"This resend has begun with the bad lines of document import {first['import_id']} (10 bad lines, "
        in caplog.text
    )
    assert (
        f"results now names document import {second['import_id']} ({second['lines_failed']} bad lines, "
        in caplog.text
    )


@pytest.mark.parametrize("discard", [False, True], ids=["3.3", "3.4"])
def test_a_result_that_is_kept_is_of_the_same_import(
    emulator: Emulator, task: Any, tmp_path: Path, discard: bool
) -> None:
    first = partly_failed(emulator, task, tmp_path, 50, every=10)
    again = task(resending(first, on_clear="keep"), clears_discard=discard)
    kept = again.run()
    again.clear()
    assert again.run()["import_id"] == kept["import_id"]
    fails(emulator, every=5)
    second = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again.clear()
    again.make = resending(second, on_clear="keep")
    result = again.run()
    assert (result["lines_read"], closes(result, 50)) == (second["lines_failed"], {"accepted": 50})


def test_the_import_has_run_again_while_the_second_round_goes_on(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    first = partly_failed(emulator, task, tmp_path, 60, every=6)
    fails(emulator, every=2)
    again = task(resending(first, rounds=2), StopsAt("g2.plan"))
    with pytest.raises(Killed):
        again.run()
    emulator.settings(start_delay=3600)
    again.make = resending(first, rounds=2, deferrable=True)
    with pytest.raises(TaskDeferred):
        again.run()
    emulator.settings(start_delay=0)
    fails(emulator, every=20)
    second = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again.clear()
    again.make = resending(second, rounds=2, timeout=60)
    before = len(emulator.imports())
    with pytest.raises(Exception, match="executions are not over: ") as raised:
        again.run()
    for one in (first, second):
        assert f"document import {one['import_id']} ({one['lines_failed']} bad lines, " in str(raised.value)
    assert len(emulator.imports()) == before
    emulator.clock.advance(4000)
    result = again.run()  # a retry
    assert closes(result, 60) == {"accepted": 60}
    assert (result["round"], result["lines_read"]) == (1, second["lines_failed"])


def test_the_same_import_has_other_counts_by_now(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = partly_failed(emulator, task, tmp_path, 100, every=10)
    again = task(resending(first), StopsAt("g1.plan"))
    with pytest.raises(Killed):
        again.run()
    # Its failed judgement was cleared, and a part was sent once more.
    file = Path(first["results_uri"])
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    again.make = resending({**first, "lines_failed": 4, "lines_accepted": 96})
    result = again.run()
    assert (result["lines_read"], closes(result, 100)) == (4, {"accepted": 100})
    assert len(emulator.imports()) == 2


# A results file that is not what the import wrote.


@pytest.mark.parametrize("round_one", [True, False])
def test_a_cut_results_file_is_refused(
    emulator: Emulator, task: Any, tmp_path: Path, round_one: bool
) -> None:
    write(tmp_path / "p.ndjson", 100, broken=(7,))
    fails(emulator, every=10)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    file = Path(first["results_uri"])
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join(rows[:4]))
    before = len(emulator.imports())
    again = task(resending(first, only="both" if round_one else "failed", max_failures="100%"))
    failed = first["lines_failed"]
    with pytest.raises(
        Exception,
        match=rf"tells of 1 rejected \+ 3 failed \+ 0 unprocessed lines, but its import has counted 1 rejected \+ {failed} failed",
    ):
        again.run()
    file.write_text("".join([*rows, rows[-1]]))
    with pytest.raises(Exception, match="tells of a line that a row before it has told"):
        again.run()
    assert len(emulator.imports()) == before
    file.write_text("".join(rows))
    again.clear()
    assert closes(again.run(), 100)["accepted"] >= 99


def test_a_doubled_row_is_refused_where_only_the_file_is_known(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    write(tmp_path / "p.ndjson", 900, broken=(7, 400, 800))  # several parts
    fails(emulator, every=10)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    file = Path(first["results_uri"])
    rows = file.read_text().splitlines(keepends=True)
    assert len({json.loads(row)["part"] for row in rows}) > 2
    before = len(emulator.imports())
    for doubled in ([rows[0], *rows], [*rows, rows[0]], [*rows, *rows[3:9]], rows * 2):
        file.write_text("".join(doubled))
        with pytest.raises(Exception, match="tells of a line that a row before it has told"):
            task(resending(str(file), import_id=first["import_id"])).run()
    assert len(emulator.imports()) == before
    file.write_text("".join(rows))
    result = task(resending(str(file), import_id=first["import_id"], only="both", transform=mend)).run()
    assert closes(result, len(rows)) == {"accepted": len(rows)}


# Arguments that have changed before a clear.


def test_what_only_named_when_the_lines_were_chosen(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 100, broken=(7, 60))
    fails(emulator, every=40)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again = task(resending(first))
    with pytest.raises(AirflowFailException, match="2 of 100 lines failed"):
        again.run()
    again.clear()
    again.make = resending(first, only="both", max_failures=2, on_clear="keep")
    result = again.run()
    assert closes(result, 100) == {"accepted": 98, "rejected": 2}
    rows = [json.loads(row) for row in Path(result["results_uri"]).read_text().splitlines()]
    assert [(row["state"], row["line"]) for row in rows] == [("rejected", 7), ("rejected", 60)]


def test_what_only_names_today_is_sent_in_the_next_round(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    write(tmp_path / "p.ndjson", 100, broken=(7, 60))
    fails(emulator, every=40)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again = task(resending(first))
    with pytest.raises(AirflowFailException, match="2 of 100 lines failed"):
        again.run()
    again.clear()
    again.make = resending(first, only="rejected", transform=mend, rounds=2)
    assert closes(again.run(), 100) == {"accepted": 100}
    assert held(emulator) == accounts(100)


# Rounds that send nothing.


def one_fault_a_round(bad: Any) -> Any:
    return {**bad.record, "compartment_id": "x y"} if bad.text == BROKEN else json.loads(profile(2))


def test_a_round_whose_lines_all_break_a_rule_is_no_end(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    write(tmp_path / "p.ndjson", 3, broken=(2,))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again = task(resending(first, only="rejected", transform=one_fault_a_round, rounds=3))
    result = again.run()
    assert (result["round"], closes(result, 3)) == (2, {"accepted": 3})
    assert [one["import_id"] for one in result["rounds"]] == [None, result["import_id"]]
    assert held(emulator) == accounts(3)
    left = [path.name for path in (tmp_path / "bad").iterdir() if "results" not in path.name]
    assert [name for name in left if "rejects" not in name] == []  # the spools are gone


def test_where_the_last_round_sends_nothing_the_bad_lines_are_named(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    write(tmp_path / "p.ndjson", 3, broken=(2,))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again = task(resending(first, only="rejected", rounds=2))
    with pytest.raises(
        AirflowFailException, match=r"after 2 rounds: 1 of 3 lines failed.*All bad lines: .*results\.ndjson"
    ):
        again.run()
    assert again.pushed["results"]["former_import_id"] == first["import_id"]
    assert len(emulator.imports()) == 1


@pytest.mark.parametrize("key", ["g1.former", "g1.spool", "generation", "g2.spool", "g2.import"])
def test_killed_beside_a_round_that_sends_nothing(
    emulator: Emulator, task: Any, tmp_path: Path, key: str
) -> None:
    write(tmp_path / "p.ndjson", 3, broken=(2,))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    again = task(resending(first, only="rejected", transform=one_fault_a_round, rounds=3), StopsAt(key))
    with pytest.raises(Killed):
        again.run()
    assert closes(again.run(), 3) == {"accepted": 3}
    assert held(emulator) == accounts(3)


@pytest.mark.parametrize("on_empty", ["ok", "skip", "fail"])
def test_on_empty_is_asked_of_the_first_round_alone(
    emulator: Emulator, task: Any, tmp_path: Path, on_empty: str
) -> None:
    first = partly_failed(emulator, task, tmp_path, 60, every=3)
    fails(emulator, every=2)
    again = task(
        resending(
            first,
            transform=lambda bad: bad.text if "p.ndjson" in bad.source else None,
            rounds=3,
            on_empty=on_empty,
        )
    )
    result = again.run()
    assert (result["round"], result["import_id"]) == (2, None)
    assert closes(result, 60) == {"accepted": 50, "dropped": 10}
    assert again.pushed["results"]["totals"] == result["totals"]
    nothing = task(resending(first, transform=lambda bad: None, on_empty=on_empty))
    if on_empty == "ok":
        assert closes(nothing.run(), 60) == {"accepted": 40, "dropped": 20}
    else:
        with pytest.raises(AirflowSkipException if on_empty == "skip" else AirflowFailException):
            nothing.run()


def test_a_resend_of_a_resend_that_created_nothing(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 50, broken=(7, 9))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    nothing = task(resending(first))
    with pytest.raises(AirflowFailException, match="2 of 50 lines failed"):
        nothing.run()
    told = nothing.pushed["results"]
    assert (told["import_id"], told["former_import_id"]) == (None, first["import_id"])
    result = task(resending(told, only="rejected", transform=mend)).run()
    assert closes(result, 50) == {"accepted": 50}


# What a person reads.


@pytest.mark.parametrize("results", ["None", "", " ", None])
def test_the_import_has_pushed_nothing(emulator: Emulator, task: Any, results: Any) -> None:
    for import_id in (None, "None", "1"):
        with pytest.raises(Exception, match=r"results must be .* the import has pushed no results"):
            task(resending(results, import_id=import_id)).run()
    assert not [call for call in emulator.requests() if call["method"] == "POST"]


def test_an_id_that_was_not_pushed_is_taken_from_the_result(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    first = partly_failed(emulator, task, tmp_path, 10, every=5)
    assert closes(task(resending(first, import_id="None")).run(), 10) == {"accepted": 10}


def test_a_later_round_does_not_say_that_nothing_was_sent(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    first = partly_failed(emulator, task, tmp_path, 40, every=4)
    fails(emulator, every=3)
    for key in ("generation", "g2.spool"):
        again = task(resending(first, rounds=3, rejects_path=str(tmp_path / key)), StopsAt(key))
        with pytest.raises(Killed):
            again.run()
        (of_round_one,) = (tmp_path / key).glob("*.g1.results.ndjson")
        told = of_round_one.read_text()
        of_round_one.unlink()
        with pytest.raises(Exception, match="this results file does not exist") as raised:
            again.run()
        assert "Nothing was sent" not in str(raised.value)
        # At the end of the round its lines are on the platform.
        assert ("Nothing of this round was sent" in str(raised.value)) == (key == "generation")
        of_round_one.write_text(f"{told}no row\n")
        with pytest.raises(Exception, match="is no row of a results file") as raised:
            again.run()
        assert "Nothing was sent" not in str(raised.value)
        of_round_one.write_text(told)
        assert closes(again.run(), 40) == {"accepted": 40}
        fails(emulator, every=3)


def test_a_name_without_an_id_that_never_was(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 3, broken=(1, 2, 3))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    more = {"only": "rejected", "document_type": "USER_PROFILE", "on_clear": "keep"}
    task(resending(first, transform=mend, **more)).run()
    assert [one["name"].split(" [")[0] for one in emulator.imports()] == ["lines, resend 1"]
    with pytest.raises(AirflowFailException, match=r"^The resend, after 1 round: 3 of 3 lines failed"):
        task(resending(first, **more)).run()
    with pytest.raises(AirflowFailException, match="No line of an import that was never created"):
        task(resending(first, **{**more, "only": "failed"}, on_empty="fail")).run()
