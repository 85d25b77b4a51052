"""``@task.import_documents``: the function's records in their spool, over tries, clears and ends."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from one_task import Killed, Task, importing_records, once, profile
from spooled_function import Function, KilledAtSpool, decorated, names, refused_after_a_part

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import_task import import_documents_task

CANARY = "canary-4711"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_records_are_imported_and_the_spool_is_gone(emulator: Emulator, spool: Path) -> None:
    function = Function()
    one = Task(decorated(function, spool))
    result = one.run()
    assert emulator.held(result["import_id"]) == once(function.lines)
    assert (result["lines_read"], result["lines_accepted"], result["parts"] > 1) == (300, 300, True)
    assert (function.calls, function.closed, names(spool)) == (1, 1, [])
    assert one.run() == result  # a retry after the end
    assert function.calls == 1


def test_a_retry_reads_the_spool_again_and_calls_nobody(emulator: Emulator, spool: Path) -> None:
    function = Function(moving=True)
    one = refused_after_a_part(emulator, decorated(function, spool))
    (kept,) = spool.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().splitlines() == function.lines
    result = one.run()
    assert emulator.held(result["import_id"]) == once(function.lines)
    assert (function.calls, names(spool)) == (1, [])


def test_a_deferred_task_reads_the_spool_of_before(emulator: Emulator, spool: Path) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    emulator.settings(start_delay=50, run_seconds=50)
    function = Function(moving=True)
    one = Task(decorated(function, spool, deferrable=True))
    with pytest.raises(TaskDeferred) as deferred:
        one.run()
    assert deferred.value.method_name == "execute_complete"
    assert len(names(spool)) == 1
    emulator.clock.advance(200)
    context = one.context()
    one.operator = one.make()
    one.operator.render_template_fields(context)
    result = one.operator.execute_complete(context, {"state": "over"})
    assert emulator.held(result["import_id"]) == once(function.lines)
    assert (function.calls, names(spool)) == (1, [])


def test_a_clear_of_a_success_calls_the_function_again(emulator: Emulator, spool: Path) -> None:
    function = Function(moving=True)
    one = Task(decorated(function, spool))
    first = one.run()
    one.clear()
    second = one.run()
    assert first["import_id"] != second["import_id"]
    assert emulator.held(second["import_id"]) == once(function.lines)
    assert (function.calls, names(spool)) == (2, [])


def test_a_kept_result_calls_nobody(emulator: Emulator, spool: Path) -> None:
    function = Function()
    one = Task(decorated(function, spool, on_clear="keep"))
    first = one.run()
    one.clear()
    assert one.run() == first
    assert function.calls == 1


def test_a_clear_before_anything_was_sent_calls_the_function_again(emulator: Emulator, spool: Path) -> None:
    function = Function()

    def records() -> Iterator[Any]:
        yield from function()
        yield from [] if function.calls > 1 else ["no document"]

    one = Task(importing_records(records, spool))
    with pytest.raises(AirflowFailException, match=r"1 of 301 lines .* breaks a rule.*Nothing was sent"):
        one.run()
    assert len(names(spool)) == 1
    with pytest.raises(AirflowFailException, match="1 of 301 lines"):
        one.run()  # a retry finds the same
    assert function.calls == 1
    one.clear()
    assert one.run()["lines_accepted"] == 300
    assert (function.calls, names(spool)) == (2, [])


def test_a_clear_after_parts_were_sent_goes_on_with_the_spool(emulator: Emulator, spool: Path) -> None:
    function = Function(moving=True)
    one = refused_after_a_part(emulator, decorated(function, spool))
    one.clear()
    assert emulator.held(one.run()["import_id"]) == once(function.lines)
    assert function.calls == 1


@pytest.mark.parametrize("where", ["begin", "middle"])
def test_what_the_function_raises_is_raised_as_it_is(emulator: Emulator, spool: Path, where: str) -> None:
    function = Function()
    function.fails_at = 0 if where == "begin" else 200
    function.error = ValueError(CANARY)
    one = Task(decorated(function, spool))
    with pytest.raises(ValueError, match=CANARY) as raised:
        one.run()
    assert raised.value is function.error
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert Path(frames[-1].filename).name == "spooled_function.py" and frames[-1].name == "__call__"
    assert (names(spool), emulator.imports(), function.closed) == ([], [], 1)
    assert CANARY not in json.dumps([one.pushed, one.shown, one.store.values])
    assert one.shown and "ValueError" in json.dumps(one.shown)
    function.fails_at = None
    assert one.run()["lines_accepted"] == 300
    assert function.calls == 2


@pytest.mark.parametrize("error", [AirflowSkipException("none today"), AirflowFailException("no")])
def test_airflows_own_errors_go_through(emulator: Emulator, spool: Path, error: Exception) -> None:
    function = Function()
    function.fails_at, function.error = 100, error
    with pytest.raises(type(error), match=str(error)):
        Task(decorated(function, spool)).run()
    assert (names(spool), emulator.imports()) == ([], [])


def test_killed_while_spooling(emulator: Emulator, spool: Path) -> None:
    function = Function()
    function.fails_at, function.error = 200, Killed()
    one = Task(decorated(function, spool))
    with pytest.raises(Killed):
        one.run()
    # What a real SIGKILL leaves behind.
    own = next(iter(finished(spool)))
    spool.joinpath(f".{own}.partial").write_text(CANARY)
    spool.joinpath(own).write_text(CANARY)
    foreign = spool / f".{own}.partial".replace("t_g1", "u_g1")
    foreign.write_text("of a task that is not this one")
    function.fails_at = None
    assert one.run()["lines_accepted"] == 300
    assert (function.calls, names(spool)) == (2, [foreign.name])
    assert emulator.held() == once(function.lines)


def finished(spool: Path) -> list[str]:
    """A name that a try of the task of these tests would give."""
    from airflow_bulk.runs.own_files import own_name, owner_of

    run_id = f"r{next(Task._runs) - 1}"
    return [f"{own_name('t.g1', owner_of('d', 't'), run_id)}.ndjson"]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_the_record_of_the_spool(emulator: Emulator, spool: Path, after: bool) -> None:
    function = Function(moving=True)
    one = Task(decorated(function, spool), KilledAtSpool(after=after))
    with pytest.raises(Killed):
        one.run()
    assert len(names(spool)) == 1
    result = one.run()
    assert function.calls == (1 if after else 2)
    assert emulator.held(result["import_id"]) == once(function.lines)
    assert names(spool) == []


def test_a_superseded_try_leaves_no_spool(emulator: Emulator, spool: Path) -> None:
    function = Function()
    one = Task(decorated(function, spool))

    def records() -> Iterator[Any]:
        yield from function()
        one.store.refused = True

    one.make = importing_records(records, spool)
    with pytest.raises(AirflowException, match="a newer try exists"):
        one.run()
    assert (names(spool), emulator.imports()) == ([], [])


@pytest.mark.parametrize("on_empty", ["fail", "skip", "ok"])
def test_no_record(emulator: Emulator, spool: Path, on_empty: str) -> None:
    function = Function(0)
    one = Task(decorated(function, spool, on_empty=on_empty))
    if on_empty == "ok":
        assert one.run()["lines_read"] == 0
    else:
        with pytest.raises(
            AirflowSkipException if on_empty == "skip" else AirflowFailException, match="no line"
        ):
            one.run()
    assert len(names(spool)) == (on_empty == "fail")
    assert emulator.imports() == []
    function.count = 5
    one.clear()
    assert one.run()["lines_accepted"] == 5
    assert (function.calls, names(spool)) == (2, [])


@pytest.mark.parametrize("bad", [False, True])
def test_a_dry_run_leaves_nothing(emulator: Emulator, spool: Path, bad: bool) -> None:
    function = Function(20)

    def records() -> Iterator[Any]:
        yield from function()
        yield from [CANARY] if bad else []

    one = Task(importing_records(records, spool, dry_run=True))
    if bad:
        with pytest.raises(AirflowFailException, match="1 of 21 lines"):
            one.run()
    else:
        assert one.run()["lines_read"] == 20
    assert (names(spool), emulator.imports()) == ([], [])
    assert not [key for key in one.store.values if "spool" in key]


def test_a_record_that_cannot_be_a_line_is_named_by_its_number(emulator: Emulator, spool: Path) -> None:
    closed = []

    def records() -> Iterator[Any]:
        try:
            yield from (json.loads(profile(number)) for number in range(41))
            yield f"{CANARY}\n{CANARY}"
        finally:
            closed.append(1)

    one = Task(importing_records(records, spool))
    with pytest.raises(AirflowException, match=r"^Record 42 holds a line break.*Nothing was sent") as raised:
        one.run()
    assert CANARY not in str(raised.value)
    assert CANARY not in json.dumps([one.pushed, one.shown, one.store.values])
    assert (names(spool), emulator.imports(), closed) == ([], [], [1])


@pytest.mark.parametrize("where", ["rejected", "refused", "lost"])
def test_content_is_in_the_spool_alone(
    emulator: Emulator, spool: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    caplog.set_level(logging.DEBUG, "airflow_bulk")

    def records() -> Iterator[Any]:
        yield from (json.loads(profile(number, note=f"{CANARY}-{number}")) for number in range(300))
        if where == "rejected":
            yield {CANARY: CANARY}
        if where == "refused":
            yield {"note": CANARY, CANARY: object()}

    one = Task(importing_records(records, spool, max_failures=1))
    told = ""
    if where == "lost":
        emulator.fault("unauthorized", path=r"/executions$", method="POST", skip=1, times=1)
    try:
        result = one.run()
    except AirflowException as error:
        told = "".join(traceback.format_exception(error))
        result = {}
    assert bool(result) == (where == "rejected") != bool(told)
    if where == "lost":
        assert CANARY in next(spool.iterdir()).read_text()
        next(spool.iterdir()).write_text("")
        with pytest.raises(AirflowFailException) as lost:
            one.run()
        told += str(lost.value)
    assert caplog.text or where == "refused"
    for text in (caplog.text, told, json.dumps([result, one.pushed, one.shown, one.store.values])):
        assert CANARY not in text
    assert CANARY not in repr(one.operator)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "NoneType: return a list"),
        ({"a": 1}, "one dict: return a list"),
        ("line", "one str: return a list"),
        (7, "int: return a list"),
    ],
)
def test_what_is_no_records(emulator: Emulator, spool: Path, returned: Any, told: str) -> None:
    with pytest.raises(AirflowException, match=f"The function returned {told}"):
        Task(importing_records(lambda: returned, spool)).run()
    assert (names(spool), emulator.imports()) == ([], [])


def test_a_folder_that_takes_no_file(emulator: Emulator, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    function = Function()
    with pytest.raises(AirflowException, match=r"spool_path \S+: the records cannot be written there \(.+\)"):
        Task(decorated(function, file)).run()
    assert emulator.imports() == []


def test_lines_of_csv(emulator: Emulator, spool: Path) -> None:
    rows = [
        "operation,user_account_id,compartment_id,email_hash,segment_id,expiration_duration,expiration_ts,data_bag",
        *(f"UPDATE,crm-{number},4100,,7,60,," for number in range(5)),
    ]
    options: dict[str, Any] = {"document_type": "USER_SEGMENT", "mime_type": "TEXT_CSV"}
    assert Task(importing_records(lambda: rows, spool, **options)).run()["lines_accepted"] == 5
    assert emulator.held() == once(rows[1:])
    with pytest.raises(AirflowException, match=r"Record 1 is of type dict: a record here is a line"):
        Task(importing_records(lambda: [{"a": 1}], spool, **options)).run()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"document_type": "USER_PROFILE", "name": "n"}, "needs spool_path: "),
        ({"spool_path": "/s"}, "needs document_type, name: "),
        ({"source": "x"}, "takes no source"),
        ({"multiple_outputs": True}, "has one output"),
    ],
)
def test_arguments_of_the_decorator(arguments: dict[str, Any], told: str) -> None:
    given = (
        arguments
        if len(arguments) == 2 or "spool_path" in arguments
        else {"document_type": "USER_PROFILE", "name": "n", "spool_path": "/s", **arguments}
    )
    with pytest.raises(TypeError, match=f"@task.import_documents {told}"):
        import_documents_task(**given)(list)


def test_no_asynchronous_function(spool: Path) -> None:
    async def records() -> list[Any]:
        return []

    with pytest.raises(TypeError, match="no asynchronous one"):
        importing_records(records, spool)()


def test_no_password_in_the_path(emulator: Emulator) -> None:
    with pytest.raises(AirflowFailException, match="spool_path must hold no password") as raised:
        Task(importing_records(list, "s3://me:secret@bucket/spool")).run()
    assert "secret" not in str(raised.value)
