"""The trigger is stopped: by a person, so that it cancels, or by nobody, so that it leaves everything alone."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
from fed_import import FedImport
from played_airflow import PlayedAirflow, stop

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.triggers.document_import import DocumentImportTrigger

Make = Callable[..., DocumentImportTrigger]
Kill = Callable[..., PlayedAirflow]


def actions(emulator: Emulator) -> list[str]:
    """The executions that a cancel was asked for, in the order of its end."""
    return [one["path"].split("/")[-2] for one in emulator.requests() if one["path"].endswith("/action")]


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Calls a trigger's ``on_kill`` while its task is ``failed``, or in another state."""
    return functools.partial(stop, monkeypatch=monkeypatch)


def test_a_kill_cancels_what_is_pending_newest_first_and_proves_it(
    make: Make, kill: Kill, fed: FedImport, emulator: Emulator
) -> None:
    ids = [fed.upload() for _ in range(30)]
    emulator.clear_requests()
    kill(make(cancel_on_kill=True, expected=30, newest=ids[-1]))
    assert {fed.status(one) for one in ids} == {"CANCELED"}
    # Eight at a time: none can be further than seven places from its rank.
    newest_first = ids[::-1]
    for place, one in enumerate(actions(emulator)):
        assert newest_first.index(one) <= place + 7
    assert len(actions(emulator)) == 30
    last = emulator.requests()[-1]
    assert (last["method"], last["path"].endswith("/executions")) == ("GET", True)


@pytest.mark.parametrize("how", [{"status": 400}, {"status": 200}, {"start": True}])
def test_a_kill_names_what_it_could_not_cancel(
    make: Make, kill: Kill, fed: FedImport, told: Callable[[], list[str]], how: dict[str, Any]
) -> None:
    over, running, refused, pending = (fed.upload() for _ in range(4))
    fed.end(over)
    fed.start(running)
    fed.emulator.fault("refuse_cancel", path=f"/{refused}/action$", **how)
    kill(make(cancel_on_kill=True))
    assert fed.status(pending) == "CANCELED"
    (named,) = [one for one in told() if "Not cancelled" in one]
    assert f"{refused}, {running}." in named
    assert over not in named and pending not in named
    assert running not in actions(fed.emulator)


@pytest.mark.parametrize("cancels", [1, 2, 5])
def test_a_kill_goes_on_though_airflow_cancels_it_again(
    make: Make, kill: Kill, fed: FedImport, cancels: int
) -> None:
    """Every call takes longer than the triggerer lets a trigger's on_kill be."""
    pending = fed.upload()
    fed.emulator.fault("slow", answer_delay=0.5)
    kill(make(cancel_on_kill=True), cancels=cancels)
    assert fed.status(pending) == "CANCELED"


def test_a_kill_leaves_a_newer_try_alone(make: Make, kill: Kill, fed: FedImport) -> None:
    ours, newest, theirs = fed.upload(), fed.upload(), fed.upload()
    kill(make(cancel_on_kill=True, expected=2, newest=newest))
    assert [fed.status(one) for one in (ours, newest, theirs)] == ["CANCELED", "CANCELED", "PENDING"]


def test_a_kill_leaves_other_peoples_executions_alone(make: Make, kill: Kill, fed: FedImport) -> None:
    before, ours, after = fed.upload(), fed.upload(), fed.upload()
    kill(make(cancel_on_kill=True, executions=[ours]))
    assert [fed.status(one) for one in (before, ours, after)] == ["PENDING", "CANCELED", "PENDING"]
    assert actions(fed.emulator) == [ours]


def test_a_kill_cancels_nothing_that_nobody_asked_for(make: Make, kill: Kill, fed: FedImport) -> None:
    pending = fed.upload()
    fed.emulator.clear_requests()
    kill(make(cancel_on_kill=False))
    assert fed.emulator.requests() == []
    assert fed.status(pending) == "PENDING"


@pytest.mark.parametrize("named", [True, False], ids=["ids known", "whole import"])
def test_a_kill_while_the_platform_is_down_says_so_and_raises_nothing(
    make: Make,
    kill: Kill,
    fed: FedImport,
    told: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
    named: bool,
) -> None:
    pending = fed.upload()
    fed.emulator.fault("server_error")
    kill(make(cancel_on_kill=True, executions=[pending] if named else None))
    assert any(f"What of document import {fed.id} keeps running is not known" in one for one in told())
    assert ("is not proved (the platform answered 503" in caplog.text) is named
    assert fed.emulator.token not in caplog.text


@pytest.mark.parametrize(
    "state",
    ["deferred", None, "scheduled", "queued", "running", "up_for_retry", "restarting", OSError("gone")],
)
def test_a_kill_of_a_task_that_nobody_stopped_leaves_everything_alone(
    make: Make, kill: Kill, fed: FedImport, told: Callable[[], list[str]], state: Any
) -> None:
    """Another triggerer took the trigger over, the task was called back, or a clear begins a new try."""
    pending = fed.upload()
    fed.emulator.clear_requests()
    kill(make(cancel_on_kill=True), state)
    assert fed.emulator.requests() == []
    assert fed.status(pending) == "PENDING"
    (said,) = told()
    assert said.startswith(f"Nothing of document import {fed.id} is stopped: ")
    assert {"deferred": "another triggerer", None: "cleared", "running": "running"}.get(
        str(state) if state else None, ""
    ) in said
    if isinstance(state, OSError):
        assert said.endswith("Airflow did not tell the task's state (OSError).")


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", "upstream_failed"])
def test_a_kill_of_a_task_that_was_stopped_cancels(
    make: Make, kill: Kill, fed: FedImport, state: str
) -> None:
    pending = fed.upload()
    (asked,) = kill(make(cancel_on_kill=True), state).asked
    assert (asked.dag_id, asked.run_ids, asked.task_ids, asked.map_index) == ("d", ["r"], ["t"], -1)
    assert fed.status(pending) == "CANCELED"


def test_a_kill_of_a_task_that_is_gone_cancels(make: Make, kill: Kill, fed: FedImport) -> None:
    """Its DAG was deleted while it was deferred."""
    pending = fed.upload()
    kill(make(cancel_on_kill=True), {})
    assert fed.status(pending) == "CANCELED"


@pytest.mark.parametrize(("index", "status"), [(0, "CANCELED"), (1, "PENDING")])
def test_a_kill_of_a_mapped_task_asks_for_its_own_state(
    make: Make, kill: Kill, fed: FedImport, index: int, status: str
) -> None:
    pending = fed.upload()
    kill(make(cancel_on_kill=True), {0: "failed", 1: "deferred", 2: "failed"}, map_index=index)
    assert fed.status(pending) == status


def test_a_kill_of_a_trigger_without_a_task_leaves_everything_alone(
    make: Make, fed: FedImport, told: Callable[[], list[str]]
) -> None:
    pending = fed.upload()
    asyncio.run(make(cancel_on_kill=True).on_kill())
    assert fed.status(pending) == "PENDING"
    assert "which task it belongs to is not known" in told()[-1]


def test_a_kill_tries_though_the_list_cannot_be_read(make: Make, kill: Kill, fed: FedImport) -> None:
    # One list call fails for good before, the one after works.
    pending = fed.upload()
    fed.emulator.fault("forbidden", method="GET", times=1)
    kill(make(cancel_on_kill=True, executions=[pending]))
    assert fed.status(pending) == "CANCELED"


def test_with_arguments_of_a_newer_version_nothing_is_cancelled(
    make: Make, kill: Kill, fed: FedImport, emulator: Emulator, told: Callable[[], list[str]]
) -> None:
    """A newer worker has deferred the task: what this triggerer cannot read may say what must not be cancelled."""
    pending = fed.upload()
    kill(make(cancel_on_kill=True, spared=["7"]))
    assert fed.status(pending) == "PENDING"
    assert actions(emulator) == []
    (said,) = [one for one in told() if "newer version" in one]
    assert "does not know: spared." in said and f"{fed.id} is stopped" in said
