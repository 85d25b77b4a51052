"""A source spread over several tasks: each line once, one judgement over all, and what each step refuses."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from one_task import (
    DyingStore,
    Killed,
    MemoryStore,
    dies_at_outcome,
    killed_after,
    once,
    profile,
    write_profiles,
)
from resends import accounts, fails, held, resending
from spread_steps import Spread

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions
from airflow_bulk.operators.spread_import import SpreadImportTaskGroup

SEGMENT = "operation,user_account_id,segment_id,expiration_duration\n"


def names(emulator: Emulator) -> list[str]:
    return sorted(one["name"].partition(" [")[0] for one in emulator.imports())


def rows(folder: Path, kind: str) -> list[tuple[int | None, int]]:
    """Number and offset of each row of the files of a kind."""
    found = [
        json.loads(row)
        for path in sorted(folder.glob(f"*.{kind}.ndjson"))
        for row in path.read_text().splitlines()
    ]
    return [(row["line"], row["offset"]) for row in found]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_line_is_imported_once_and_counted(emulator: Emulator, tmp_path: Path, workers: int) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 1000)
    spread = Spread(
        tmp_path / "p.ndjson", 4, sending=SendingOptions(max_part_bytes=10_000, workers=workers, settle=0.2)
    )
    result = spread.run()
    assert emulator.held() == once(lines)
    assert names(emulator) == [f"profiles ({number} of 4)" for number in (1, 2, 3, 4)]
    assert result["lines_read"] == result["lines_accepted"] == 1000
    assert result["bytes"] == (tmp_path / "p.ndjson").stat().st_size
    assert result["parts"] == len(result["execution_ids"]) > 8
    assert result["import_ids"] == [one["import_id"] for one in result["imports"]]
    assert [one["group"] for one in result["imports"]] == [1, 2, 3, 4]
    assert sum(one["lines_accepted"] for one in result["imports"]) == 1000
    assert all(one["console_url"].endswith(one["import_id"]) for one in result["imports"])


def test_several_files_plain_and_compressed(emulator: Emulator, tmp_path: Path) -> None:
    lines = []
    for number in range(6):
        some = [profile(number * 1000 + n) for n in range(100)]
        lines += some
        body = "\n".join(some).encode()
        path = tmp_path / f"{number}.ndjson"
        if number % 2:
            path.with_suffix(".ndjson.gz").write_bytes(gzip.compress(body))
        else:
            path.write_bytes(body)
    result = Spread(tmp_path / "*.ndjson*", 4).run()
    assert emulator.held() == once(lines)
    assert len(result["imports"]) == 4


def test_each_group_of_a_csv_has_the_header(emulator: Emulator, tmp_path: Path) -> None:
    table = [f"UPDATE,crm-{n},880,0" for n in range(500)]
    (tmp_path / "s.csv").write_text(SEGMENT + "\n".join(table) + "\n")
    kind = {"document_type": "USER_SEGMENT", "name": "segment"}
    result = Spread(tmp_path / "s.csv", 3, **kind).run()
    assert (result["lines_read"], result["lines_accepted"], len(result["imports"])) == (500, 500, 3)
    assert sum(emulator.held().values()) == 500
    assert emulator.held_totals()["more_than_once"] == 0


def test_rejected_lines_have_the_numbers_of_their_file(emulator: Emulator, tmp_path: Path) -> None:
    bad = (2, 333, 334, 500, 999)
    lines = write_profiles(tmp_path / "p.ndjson", 1000, bad)
    spread = Spread(tmp_path / "p.ndjson", 4, max_failures=5, rejects_path=str(tmp_path / "bad"))
    result = spread.run()
    assert emulator.held() == once(lines)
    content = (tmp_path / "p.ndjson").read_bytes()
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    expected = [(number, starts[number - 1]) for number in bad]
    sent = tmp_path / "bad"
    assert [row for row in rows(sent, "results") if row] == expected
    assert len(result["results_uris"]) == len(result["rejects_uris"])
    # The check comes before anybody can know how many lines stand before a stretch: the offset tells its lines.
    checked = rows(sent, "dry.rejects")
    assert [offset for _, offset in checked] == [offset for _, offset in expected]
    assert [line for line, _ in checked] == [2, None, None, None, None]


def test_too_many_rejected_lines_over_all_groups_send_nothing(emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.ndjson", 1000, (2, 400, 700, 999))
    spread = Spread(tmp_path / "p.ndjson", 4, max_failures=3, rejects_path=str(tmp_path / "bad"))
    with pytest.raises(AirflowFailException, match=r"4 of 1000 lines \(0.4%\) break a rule") as raised:
        spread.before()
    text = str(raised.value)
    assert "Nothing was sent" in text
    assert f"{tmp_path}/p.ndjson line 400: " in text and "line 700: " in text
    assert "dry.rejects.ndjson" in text
    assert emulator.imports() == []
    # What a person changes is judged by a clear of that task alone.
    spread.max_failures = "0.4%"
    assert len(spread.judge_check(spread.check())) == 4


def test_a_share_is_of_all_lines_and_not_of_a_group(emulator: Emulator, tmp_path: Path) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 1000, tuple(range(1, 11)))
    assert Spread(tmp_path / "p.ndjson", 4, max_failures="1%").run()["lines_rejected"] == 10
    assert emulator.held() == once(lines)


def test_failed_lines_are_judged_once_over_all_imports(emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.ndjson", 400)
    fails(emulator, every=20, times=None)
    spread = Spread(tmp_path / "p.ndjson", 2, max_failures=3, rejects_path=str(tmp_path / "bad"))
    for index in range(len(spread.before())):
        spread.send(index)
    failed = sum(one["lines_failed"] for one in spread.results.values())
    assert failed > 3
    with pytest.raises(
        AirflowFailException,
        match=rf"{failed} of 400 lines failed .*more than max_failures=3.*results\.ndjson",
    ):
        spread.judge()
    # A clear of the judgement asks nobody again, and judges by today's limit.
    calls = len(emulator.requests())
    spread.max_failures = "100%"
    assert spread.judge()["lines_failed"] == failed
    assert len(emulator.requests()) == calls


def test_failed_lines_of_one_import_are_sent_again(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.ndjson", 300)
    fails(emulator, every=10, times=2)
    # Their content is in no file: they are read again where they stand in the source.
    spread = Spread(
        tmp_path / "p.ndjson",
        max_failures="100%",
        rejects_path=str(tmp_path / "bad"),
        rejects_content="position",
    )
    result = spread.run()
    assert result["lines_failed"] > 2
    for one in spread.results.values():
        task(resending(one, rejects_path=str(tmp_path / "bad"))).run()
    assert held(emulator) == accounts(300)


def test_deletions_are_counted_over_all_groups(emulator: Emulator, tmp_path: Path) -> None:
    kind = "USER_IDENTIFIERS_DELETION"
    (tmp_path / "d.ndjson").write_text(
        "".join(f'{{"type":"USER_ACCOUNT","user_account_id":"crm-{n}"}}\n' for n in range(100))
    )
    guards = {"document_type": kind, "name": "gdpr", "allow_deletion": kind}
    with pytest.raises(
        AirflowFailException, match=r"100 deletions, more than max_deletions=99\. Nothing was sent"
    ):
        Spread(tmp_path / "d.ndjson", 4, **guards, max_deletions=99).run()
    assert emulator.imports() == []
    assert Spread(tmp_path / "d.ndjson", 4, **guards, max_deletions=100).run()["lines_accepted"] == 100


@pytest.mark.parametrize("when", ["before the check", "before the send", "between two tries"])
def test_a_source_that_changed_sends_nothing_more(emulator: Emulator, tmp_path: Path, when: str) -> None:
    path = tmp_path / "p.ndjson"
    lines = write_profiles(path, 600)
    spread = Spread(path)
    spread.plan()
    change = path.read_text() + profile(9999) + "\n"
    told = r"p\.ndjson: has changed since the source was spread over tasks\. Nothing more was sent"
    if when == "before the check":
        path.write_text(change)
        with pytest.raises(AirflowFailException, match=told):
            spread.check()
        return
    spread.judge_check(spread.check())
    if when == "between two tries":
        spread.send(0)
        store = MemoryStore()
        store.set = dies_at_outcome(store, 1)  # type: ignore[method-assign]
        with pytest.raises(Killed):
            spread.sender(1, store).run()
    path.write_text(change)
    with pytest.raises(AirflowFailException, match=told):
        spread.send(1)
    assert set(emulator.held()) <= set(lines)
    assert all(count == 1 for count in emulator.held().values())


def test_lines_that_changed_behind_the_back_of_the_file_system_are_not_sent(
    emulator: Emulator, tmp_path: Path
) -> None:
    path = tmp_path / "p.ndjson"
    write_profiles(path, 600)
    spread = Spread(path)
    spread.before()
    state = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"score":599', b'"score":111'))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    spread.send(0)
    with pytest.raises(AirflowFailException, match="is not what was approved"):
        spread.send(2)
    assert names(emulator) == ["profiles (1 of 3)"]


def test_a_plan_stays_what_it_was_while_the_source_does(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "p.ndjson"
    write_profiles(path, 600)
    spread = Spread(path, 3)
    first = spread.plan()
    spread.spread = 5
    assert spread.plan() == first
    with path.open("a") as more:
        more.write(profile(601) + "\n")
    assert len(spread.plan()) == 5
    assert len(Spread(path, 5).plan()) == 5


def test_a_plan_reads_nothing_and_asks_nobody(emulator: Emulator, tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.ndjson", 600, (7,))
    handed = json.dumps(Spread(tmp_path / "p.ndjson").plan())
    assert "crm-" not in handed
    assert emulator.requests() == []


@pytest.mark.parametrize("content", [None, "", "\n \n"])
def test_an_empty_source(emulator: Emulator, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "p.ndjson").write_text(content)
    for on_empty, raised in (("fail", AirflowFailException), ("skip", AirflowSkipException)):
        with pytest.raises(raised, match="Nothing was sent"):
            Spread(tmp_path / "*.ndjson", on_empty=on_empty).run()
    result = Spread(tmp_path / "*.ndjson", on_empty="ok").run()
    assert (result["lines_read"], result["import_ids"]) == (0, [])
    assert emulator.imports() == []


def test_a_group_without_a_good_line_is_no_import(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"operation":"UPSERT"}\n' * 50)
    lines = write_profiles(tmp_path / "b.ndjson", 11)
    result = Spread(tmp_path / "*.ndjson", 2, max_failures=50).run()
    assert (result["lines_read"], result["lines_rejected"], result["lines_accepted"]) == (61, 50, 11)
    assert [bool(one["import_id"]) for one in result["imports"]] == [False, True]
    assert emulator.held() == once(lines)


def test_one_compressed_file_cannot_be_spread(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "p.ndjson.gz").write_bytes(gzip.compress((profile(1) + "\n").encode()))
    with pytest.raises(
        AirflowException, match=r"one compressed file cannot be spread over 3 tasks.*spread=1"
    ):
        Spread(tmp_path / "p.ndjson.gz").plan()


# Killed, stopped, cleared.


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("clears_discard", [False, True])
def test_killed_at_each_write_of_one_task(
    emulator: Emulator, tmp_path: Path, after: bool, clears_discard: bool
) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 400)
    survived = False
    for at in range(1, 60):
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        spread = Spread(tmp_path / "p.ndjson", 2, clears_discard=clears_discard)
        spread.before()
        store = DyingStore(at, after=after)
        one = spread.sender(1, store)
        try:
            one.run()
            survived = True
        except Killed:
            if one.state == "success":  # Airflow knew of it: nobody tries it again
                survived = True
            elif clears_discard and at % 3 == 0:
                one.clear()
        spread.send(0)
        if not survived:
            spread.send(1)
            assert spread.judge()["lines_accepted"] == 400, f"write {at}"
        assert emulator.held() == once(lines), f"write {at}"
        assert len(emulator.imports()) == 2, f"write {at}"
        if survived:
            break
    assert survived
    assert at > 10


def test_stopped_cancels_what_this_task_has_begun_and_nothing_else(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.settings(start_delay=3600, run_seconds=3600)
    write_profiles(tmp_path / "p.ndjson", 400)
    spread = Spread(tmp_path / "p.ndjson", 2)
    spread.before()
    for index in (0, 1):
        one = spread.sender(index, poll_interval=60)
        with killed_after(3.0, lambda one=one: one.operator.on_kill()):
            one.run()
        begun = {made["name"].partition(" [")[0]: made["id"] for made in emulator.imports()}
        mine = emulator.executions(begun[f"profiles ({index + 1} of 2)"])
        assert {execution["status"] for execution in mine} == {"CANCELED"}
        if not index:
            # Another group's is not touched by the next stop.
            emulator.settings(start_delay=0, run_seconds=0)
            spread.send(0)
            emulator.settings(start_delay=3600, run_seconds=3600)
    first = emulator.executions(begun["profiles (1 of 2)"])
    assert {execution["status"] for execution in first} == {"CANCELED", "SUCCEEDED"}


@pytest.mark.parametrize(("on_clear", "times"), [("import_again", 2), ("keep", 1)])
def test_a_clear_of_one_import_that_ended_well(
    emulator: Emulator, tmp_path: Path, on_clear: str, times: int
) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 400)
    spread = Spread(tmp_path / "p.ndjson", 2, on_clear=on_clear)
    spread.run()
    spread.sender(1).clear()
    spread.send(1)
    assert spread.judge()["lines_accepted"] == 400
    held_now = emulator.held()
    assert {held_now[line] for line in lines[:190]} == {1}
    assert {held_now[line] for line in lines[210:]} == {times}


def test_a_clear_of_the_whole_group_while_it_is_at_work_goes_on(emulator: Emulator, tmp_path: Path) -> None:
    lines = write_profiles(tmp_path / "p.ndjson", 400)
    spread = Spread(tmp_path / "p.ndjson", 2)
    spread.before()
    store = MemoryStore()
    store.set = dies_at_outcome(store, 1)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        spread.sender(1, store).run()
    spread.clear()
    assert spread.run()["lines_accepted"] == 400
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 2


# The judgement.


@pytest.fixture
def sent(emulator: Emulator, tmp_path: Path) -> Spread:
    """Three imports that are over."""
    write_profiles(tmp_path / "p.ndjson", 600)
    spread = Spread(tmp_path / "p.ndjson")
    spread.run()
    return spread


def test_a_missing_result_is_told_with_its_lines(sent: Spread) -> None:
    missing = sent.results.pop(2)
    with pytest.raises(
        AirflowFailException,
        match=rf"3 groups needs one result of send, and there are 2\. Without one: 2 \({missing['lines_read']} lines\)",
    ):
        sent.judge()


def test_a_group_that_is_there_twice_is_told(sent: Spread) -> None:
    with pytest.raises(AirflowFailException, match=r"there are 4\. Without one: none"):
        sent.judge([*sent.results.values(), sent.results[2]])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lines_read", "the check of group 2 has read"),
        ("lines_accepted", "over 3 imports does not close: 5 lines too many"),
    ],
)
def test_a_sum_that_does_not_close_is_told(sent: Spread, name: str, told: str) -> None:
    sent.results[2][name] += 5
    with pytest.raises(AirflowFailException, match=told):
        sent.judge()


def test_groups_that_are_not_the_whole_source_are_told(sent: Spread) -> None:
    del sent.groups[1]
    del sent.results[2]
    with pytest.raises(AirflowFailException, match="The groups are not the whole source"):
        sent.judge()


# The group of tasks.


def test_one_task_is_an_import_as_without(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "document_type": "USER_PROFILE",
        "name": "profiles",
        "source": "p.ndjson",
        "max_failures": 3,
        "on_empty": "ok",
        "on_seen": "skip",
        "sending": SendingOptions(overlap=True),
        "deferrable": True,
    }
    with DAG("d", schedule=None) as dag:
        SpreadImportTaskGroup("load", spread=1, **given)
        ImportDocumentsOperator(task_id="plain", **given)
    spread, plain = dag.get_task("load.import"), dag.get_task("plain")
    assert type(spread) is type(plain) is ImportDocumentsOperator
    assert {name: getattr(spread, name) for name in plain.template_fields} == {
        name: getattr(plain, name) for name in plain.template_fields
    }
    assert spread.deferrable


def test_default_args_reach_the_tasks(tmp_path: Path) -> None:
    default_args = {"max_failures": "1%", "mediarithmics_conn_id": "another", "retries": 3}
    given = {"document_type": "USER_PROFILE", "name": "profiles", "source": "p.ndjson"}
    with DAG("d", schedule=None, default_args=default_args) as dag:
        SpreadImportTaskGroup("load", spread=2, default_args={"retries": 5}, **given)
    assert dag.get_task("load.judge").max_failures == dag.get_task("load.judge_check").max_failures == "1%"
    assert {dag.get_task(f"load.{one}").retries for one in ("plan", "check", "send", "judge")} == {5}
    group = {"number": 1, "of": 1, "stretches": []}
    made = dag.get_task("load.send").unmap({"group": group})  # type: ignore[union-attr]
    assert (made.mediarithmics_conn_id, made.max_failures) == ("another", "100%")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dry_run", True),
        ("sample", 3),
        ("expect_fingerprint", "0" * 32),
        ("on_source_change", "restart"),
        ("on_seen", "skip"),
        ("wait_for_completion", False),
        ("spread", 0),
        ("spread", 1_001),
    ],
)
def test_what_has_no_meaning_here_is_refused_where_the_dag_is_parsed(name: str, value: Any) -> None:
    given = {
        "document_type": "USER_PROFILE",
        "name": "profiles",
        "source": "p.ndjson",
        "spread": 2,
        name: value,
    }
    with DAG("d", schedule=None), pytest.raises(ArgumentError, match=name):
        SpreadImportTaskGroup("load", **given)


@pytest.mark.parametrize(
    "more",
    [
        {"on_source_change": "restart"},
        {"on_seen": "skip"},
        {"wait_for_completion": "false"},
        {"sending": SendingOptions(overlap="{{ True }}")},
    ],
)
def test_what_a_template_says_is_refused_when_the_task_runs(
    emulator: Emulator, tmp_path: Path, more: dict[str, Any]
) -> None:
    write_profiles(tmp_path / "p.ndjson", 60)
    spread = Spread(tmp_path / "p.ndjson")
    spread.plan()
    spread.arguments |= more
    with pytest.raises(AirflowFailException, match=r"in a spread import|of a spread import"):
        spread.check()
    assert emulator.requests() == []
