"""The Depot of docs/own_platform.md: what the package promises holds on a platform that it does not know."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.module_loading import import_string
from one_task import Task, once
from played_airflow import stop

from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.runs.failures import TaskStopped
from depot.api import DepotLoads
from depot.hook import DepotHook
from depot.lines import check_line
from depot.operators import LoadIntoDepotOperator
from depot_server import Depot
from example_dags import load_dag_file
from inline_dag import pulled, run_dag

Loading = Callable[..., Task]


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def uploads(depot: Depot) -> list[dict[str, Any]]:
    return [
        one for one in depot.requests() if one["call"].endswith("/jobs") and one["call"].startswith("POST")
    ]


def states(depot: Depot) -> set[str]:
    return {one["state"] for one in depot.jobs()}


def test_a_whole_file(depot: Depot, loading: Loading, records: Path) -> None:
    one = loading()
    result = one.run()
    assert depot.held() == once(lines_of(records))
    assert result["lines_read"] == result["lines_accepted"] == 500
    assert (
        result["parts"] == len(result["execution_ids"]) == len(uploads(depot)) > 3
    )  # more than a page of jobs
    (load,) = depot.loads()
    assert load["name"].startswith("records [")
    assert one.pushed["import_id"] == result["import_id"] == load["id"]
    assert one.run() == result, "a retry after the end returns it"


def test_the_dag_of_the_page(
    depot: Depot, records: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    # How long a trigger waits before its first poll.
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1")
    good = lines_of(records)
    with records.open("a") as file:
        file.write('{"sku":" "}\n')  # good to our check, and not to the Depot
    dag = load_dag_file(Path(__file__).parent / "dag_files" / "depot_stock.py").load.dag
    run = run_dag(dag, run_conf={"files": str(records)})
    assert run.state == "success"
    result = pulled(run, "load")
    assert (result["lines_accepted"], result["lines_failed"]) == (500, 1)
    assert depot.held() == once(good)
    assert re.fullmatch(r"Stock of \d{4}-\d\d-\d\d \[\w+\] \[\w+\]", depot.loads()[0]["name"])
    assert "/loads/1/jobs/1/errors, line 501: sku is missing" in "".join(capfd.readouterr())


# Bad lines.


def test_lines_that_the_check_rejects_are_not_sent(
    depot: Depot, loading: Loading, records: Path, tmp_path: Path
) -> None:
    good = lines_of(records)
    with records.open("ab") as file:
        file.write(b'{"sku":""}\nnothing\n\n{"sku":7}\n{"sku":"a","note":"\xff"}\n[1]\n')
    with pytest.raises(AirflowFailException, match=r"5 of 505 lines .* Nothing was sent"):
        loading().run()
    assert not depot.loads()
    result = loading(max_failures=5, rejects_path=str(tmp_path / "rejects")).run()
    assert (result["lines_rejected"], result["lines_accepted"], result["blank_lines"]) == (5, 500, 1)
    assert depot.held() == once(good)
    rows = [json.loads(row) for row in Path(result["rejects_uri"]).read_text().splitlines()]
    bad = "is no JSON object with a text in sku"
    said = [["sku is empty"], [bad], [bad], ["the line is not valid UTF-8"], [bad]]
    assert [row["reasons"] for row in rows] == said
    assert [row["line"] for row in rows] == [501, 502, 504, 505, 506]


def test_an_array_is_a_line_like_any_other(depot: Depot, loading: Loading, records: Path) -> None:
    """What a line may be says the platform's own check, also of line 1."""
    good = lines_of(records)
    records.write_text("[1]\n" + records.read_text())
    assert loading(max_failures=1).run()["lines_rejected"] == 1
    assert depot.held() == once(good)


def test_lines_that_the_depot_refuses_are_judged(depot: Depot, loading: Loading, records: Path) -> None:
    good = lines_of(records)
    records.write_text('{"sku":""}\n' + records.read_text())
    one = loading({"check": False})
    with pytest.raises(AirflowFailException, match=r"The load \d+: 1 of 501 lines failed"):
        one.run()
    result = loading({"check": False}, max_failures="1%").run()
    assert (result["lines_failed"], result["lines_accepted"]) == (1, 500)
    (path,) = result["error_file_uris"]
    (error,) = DepotHook().line_errors(path)
    assert (error.line, error.message) == (1, "sku is missing")
    assert depot.held() == once(good) + once(good)  # of both loads


def test_the_check_names_no_content() -> None:
    assert not check_line(b'{"sku":"a","more":{"x":[1]}}')
    secret = "nobody-is-to-read-this"
    for line in (f'"{secret}"', f'{{"{secret}":1}}', f'{{"sku":["{secret}"]}}', secret, "[" * 100_000):
        assert check_line(line.encode())
        assert secret not in str(check_line(line.encode()))


# Exactly once.


@pytest.mark.parametrize(("workers", "overlap"), [(1, False), (2, True)])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "lost_answer"},
        {"kind": "late", "seconds": 0.3},
        {"kind": "status", "code": 429, "retry_after": 1},
        {"kind": "status", "code": 500},
        {"kind": "status", "code": 503},
        {"kind": "page"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_uploads_go_wrong(
    depot: Depot, loading: Loading, records: Path, fault: dict[str, Any], workers: int, overlap: bool
) -> None:
    depot.fault(**fault, times=2)
    result = loading({"settle": 0.6, "workers": workers, "overlap": overlap}).run()
    assert depot.held() == once(lines_of(records))
    assert result["lines_accepted"] == 500
    assert sum(bool(one["faults"]) for one in uploads(depot)) == 2


def test_a_job_on_the_last_page_is_found(depot: Depot, loading: Loading, records: Path) -> None:
    depot.fault("lost_answer", skip=3)
    result = loading().run()
    assert depot.held() == once(lines_of(records))
    assert len(uploads(depot)) == result["parts"] == 4


class WithoutCancel(DepotLoads):
    """A platform that cannot cancel, as the page says it."""

    def cancel_execution(self, import_id: str, execution_id: str) -> Call[RemoteSnapshot]:
        return self.get_execution(import_id, execution_id)


def test_a_platform_that_cannot_cancel(
    depot: Depot, loading: Loading, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose answer was lost waits in the queue: it is adopted once it has told its lines, not sent again."""
    monkeypatch.setattr(LoadIntoDepotOperator, "port", lambda self, hook: WithoutCancel())
    depot.hold = True
    depot.fault("lost_answer", skip=1)
    with changing(depot, Depot.finish, after=1.0):
        result = loading().run()
    assert depot.held() == once(lines_of(records))
    assert len(uploads(depot)) == result["parts"] == 4
    assert not [one for one in depot.requests() if one["call"].endswith("/cancel")]


@pytest.mark.parametrize("kind", ["lost_answer", "page"])
def test_a_load_whose_answer_was_lost_is_found(
    depot: Depot, loading: Loading, records: Path, kind: str
) -> None:
    depot.loose_search = True
    for _ in range(7):  # more than a page of loads that are none of ours
        depot.add_load("records [0123456789]")
    depot.fault(kind, "create")
    result = loading({"settle": 0.6}).run()
    assert result["import_id"] == "8"
    assert len(depot.loads()) == 8
    assert depot.held() == once(lines_of(records))


def test_a_key_that_is_not_known(
    depot: Depot, loading: Loading, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, depot.key = depot.key, "another-key"
    one = loading()
    with pytest.raises(AirflowException, match=r"401.*does not accept the key of the connection") as raised:
        one.run()
    assert known not in str(raised.value)
    depot.key = known
    one.run()
    assert depot.held() == once(lines_of(records))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (401, "Renew the key"),
        (403, "no right on this load goes with the key.*A retry cannot help until the right is granted"),
        (404, "the load is gone.*a retry cannot help, and a new DAG run"),
    ],
)
def test_refused_in_the_middle(depot: Depot, loading: Loading, records: Path, code: int, said: str) -> None:
    depot.fault("status", code=code, skip=1)
    one = loading()
    with pytest.raises(AirflowException, match=said) as raised:
        one.run()
    assert isinstance(raised.value, AirflowFailException) == (code != 401)
    assert one.run()["lines_accepted"] == 500
    assert depot.held() == once(lines_of(records))


# Waiting, stopping, clearing.


def test_a_broken_job_is_named(depot: Depot, loading: Loading) -> None:
    depot.hold = True
    with (
        changing(depot, lambda to: to.change("broken")),
        pytest.raises(AirflowFailException, match=r"ended as broken: \d+"),
    ):
        loading().run()


def test_a_state_that_nobody_knows_is_waited_for(
    depot: Depot, loading: Loading, records: Path, caplog: pytest.LogCaptureFixture
) -> None:
    depot.hold = True
    caplog.set_level(logging.INFO)
    changes = itertools.count()

    def change(to: Depot) -> None:
        if next(changes) == 20:
            to.change("queued", was="hibernating")
            to.finish()
        else:
            to.change("hibernating")

    with changing(depot, change):
        assert loading().run()["lines_accepted"] == 500
    assert "not documented: 'hibernating'" in caplog.text


def test_a_stopped_task_cancels_its_jobs(depot: Depot, loading: Loading, records: Path) -> None:
    depot.hold = True
    one = loading()

    def waits() -> bool:
        return any(call["call"] == "GET /loads/1/jobs" for call in depot.requests())

    with pytest.raises(TaskStopped), stopped_when(waits, one):
        one.run()
    assert len(depot.jobs()) == 4
    assert states(depot) == {"cancelled"}
    depot.hold = False
    # Cancelled jobs have taken nothing: their parts are sent again.
    assert one.run()["lines_accepted"] == 500
    assert depot.held() == once(lines_of(records))
    assert len(depot.loads()) == 1


def test_what_cannot_be_cancelled_is_named(
    depot: Depot, loading: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    depot.hold = True
    one = loading(timeout=2.0)
    with (
        changing(depot, lambda to: to.change("working")),
        pytest.raises(AirflowException, match=r"The load 1 .*Still running: \d+"),
    ):
        one.run()
    assert "working" in states(depot)


def test_clear_after_success(depot: Depot, loading: Loading, caplog: pytest.LogCaptureFixture) -> None:
    one = loading()
    first = one.run()
    one.clear()
    second = one.run()
    assert second["import_id"] != first["import_id"]
    assert set(depot.held().values()) == {2}
    assert f"The former import is {first['import_id']}" in caplog.text
    kept = loading(on_clear="keep")
    result = kept.run()
    kept.clear()
    assert kept.run() == result


# Without a worker.


def deferred(one: Task) -> Any:
    """The trigger of a deferred task, as it comes out of Airflow's database."""
    with pytest.raises(TaskDeferred) as raised:
        one.run()
    path, arguments = raised.value.trigger.serialize()
    assert path == "depot.trigger.DepotTrigger"
    return import_string(path)(**json.loads(json.dumps({**arguments, "first": 0.0})))


def test_deferred(depot: Depot, loading: Loading, records: Path) -> None:
    depot.hold = True
    one = loading(deferrable=True)
    trigger = deferred(one)
    assert trigger.what == "load 1"

    async def fired() -> dict[str, Any]:
        async with aclosing(trigger.run()) as events:
            async for event in events:
                return dict(event.payload)
        raise AssertionError("no event")

    with changing(depot, Depot.finish, after=0.5):
        event = asyncio.run(fired())
    assert event["state"] == "over"
    assert event["lines_accepted"] == 500
    assert one.run()["lines_accepted"] == 500
    assert depot.held() == once(lines_of(records))


def test_a_person_stops_the_deferred_task(
    depot: Depot, loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.hold = True
    trigger = deferred(loading(deferrable=True))
    assert states(depot) == {"queued"}
    stop(trigger, monkeypatch=monkeypatch)
    assert states(depot) == {"cancelled"}


# What happens meanwhile.


class changing:
    """Change the Depot's jobs, again and again, from another thread."""

    def __init__(self, depot: Depot, change: Callable[[Depot], None], *, after: float = 0.0) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(depot, change, after))

    def _run(self, depot: Depot, change: Callable[[Depot], None], after: float) -> None:
        self._over.wait(after)
        while not self._over.wait(0.05):
            with depot.lock:
                change(depot)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def stopped_when(look: Callable[[], bool], one: Task) -> Iterator[None]:
    """Stop the task in its main thread, as Airflow's handler of SIGTERM does, once ``look`` says so."""

    def wait() -> None:
        while not look() and not over.wait(0.05):
            pass
        if not over.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    over = threading.Event()
    thread = threading.Thread(target=wait)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: one.operator.on_kill())
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
