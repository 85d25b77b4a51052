"""The trigger against the emulator: what it asks for, when it fires, what it cancels and what it leaves alone."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.triggers.document_import import DocumentImportTrigger
from airflow_bulk.triggers.poller import SharedHooks, shared_hooks
from airflow_bulk.triggers.waiting import first_poll
from scripted_server import ScriptedServer

Make = Callable[..., DocumentImportTrigger]


async def fired(trigger: DocumentImportTrigger) -> Any:
    async with aclosing(trigger.run()) as events:
        async for event in events:
            return event.payload
    raise AssertionError("no event")


def run_all(*triggers: DocumentImportTrigger) -> list[Any]:
    """All triggers in one triggerer."""

    async def main() -> list[Any]:
        found = await asyncio.gather(*(fired(one) for one in triggers))
        shared = shared_hooks()
        assert not shared._hooks and not shared._pollers
        return found

    return asyncio.run(main())


# Waiting.


def test_it_carries_no_secret_and_no_thousands_of_ids(make: Make, emulator: Emulator) -> None:
    _, values = make(expected=10_000, newest="51000123").serialize()
    assert emulator.token not in json.dumps(values)
    assert len(json.dumps(values)) < 500


def test_it_fires_when_everything_is_over(make: Make, fed: FedImport) -> None:
    ids = [fed.upload(3), fed.upload(1, bad=1)]
    fed.end_after(2, *ids)
    assert run_all(make(expected=2)) == [
        {
            "state": "over",
            "import_id": fed.id,
            "executions": 2,
            "going": 0,
            "lines_accepted": 4,
            "lines_failed": 1,
        }
    ]
    assert fed.looks() > 2


def test_it_waits_without_what_only_a_newer_version_knows(
    make: Make, fed: FedImport, told: Callable[[], list[str]]
) -> None:
    fed.end_after(2, fed.upload(3))
    (event,) = run_all(make(patience=["of a newer version"]))
    assert (event["state"], event["lines_accepted"]) == ("over", 3)
    (said,) = [one for one in told() if "newer version" in one]
    assert "does not know: patience. Waiting without them. Upgrade" in said


@pytest.mark.parametrize(("fate", "state"), [("failed", "failed"), ("lost", "failed"), (None, "over")])
def test_its_event_says_how(make: Make, fed: FedImport, fate: str | None, state: str) -> None:
    fed.end(fed.upload(), fate)
    assert run_all(make())[0]["state"] == state


def test_many_triggers_on_one_import_cost_one_list_call(make: Make, fed: FedImport) -> None:
    ids = [fed.upload() for _ in range(3)]
    for one in ids:
        fed.end(one)
    events = run_all(*(make(expected=3, first=0.3) for _ in range(40)))
    assert {event["state"] for event in events} == {"over"} and len(events) == 40
    assert fed.looks() == 1


def test_each_counts_its_own_executions_in_the_same_answer(make: Make, fed: FedImport) -> None:
    mine, failed, cancelled = fed.upload(5), fed.upload(), fed.upload()
    fed.end(mine)
    fed.end(failed, "failed")
    fed.cancel(cancelled)
    events = run_all(
        make(executions=[mine], first=0.3),
        make(executions=[failed], first=0.3),
        make(executions=[cancelled], without_canceled=True, first=0.3),
        make(expected=3, first=0.3),
        make(without_canceled=True, first=0.3),
    )
    assert [(event["state"], event["executions"]) for event in events] == [
        ("over", 1),
        ("failed", 1),
        ("over", 1),
        ("failed", 3),
        ("failed", 2),
    ]
    assert fed.looks() == 1


def test_its_own_deadline(make: Make, fed: FedImport) -> None:
    fed.upload()
    fed.start(fed.upload())
    event = run_all(make(deadline=time.time() + 0.5))[0]
    assert (event["state"], event["executions"], event["going"]) == ("deadline", 2, 2)


def test_too_few_executions_are_not_over(make: Make, fed: FedImport) -> None:
    fed.end(fed.upload())
    assert run_all(make(expected=2, deadline=time.time() + 0.3))[0]["state"] == "deadline"


def test_an_unknown_status_is_waited_for_with_one_warning(
    make: Make, fed: FedImport, told: Callable[[], list[str]]
) -> None:
    fed.end(fed.upload())
    fed.emulator.fault("unknown_status", over=True, times=3)
    assert run_all(make())[0]["state"] == "over"
    assert fed.looks() == 4
    assert len([one for one in told() if "HIBERNATING" in one]) == 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [("unauthorized", "API token"), ("forbidden", "no right on this object"), ("gone", "no such object")],
)
def test_an_error_fires_it_and_the_task_meets_the_same(
    make: Make, fed: FedImport, fault: str, told: str, emulator: Emulator
) -> None:
    fed.upload()
    emulator.fault(fault)
    (event,) = run_all(make())
    assert event["state"] == "error"
    assert told in event["message"]
    assert emulator.token not in event["message"]


def test_a_connection_that_is_gone_fires_it_too(make: Make) -> None:
    (event,) = run_all(make(conn_id="nobody_has_made_this_one"))
    assert event["state"] == "error"


def test_a_lost_answer_is_no_event(make: Make, fed: FedImport) -> None:
    fed.end(fed.upload())
    fed.emulator.fault("lost_answer", method="GET", times=1)
    assert run_all(make())[0]["state"] == "over"


def test_what_one_import_is_told_to_wait_holds_for_the_whole_connection(
    make: Make, fed: FedImport, emulator: Emulator
) -> None:
    others = [FedImport(emulator) for _ in range(5)]
    for one in (fed, *others):
        one.end(one.upload())
    emulator.clear_requests()
    emulator.fault("rate_limited", retry_after=86_400, times=1)
    deadline = time.time() + 3
    events = run_all(
        make(deadline=deadline), *(make(import_id=one.id, first=1.0, deadline=deadline) for one in others)
    )
    # A day was asked for: nothing left any more, and each told so when its time had come.
    assert [event["state"] for event in events] == ["error"] * 6
    assert [one["status"] for one in emulator.requests()] == [429]


def test_a_token_that_is_renewed_meanwhile(
    make: Make, fed: FedImport, emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.end(fed.upload())
    good = json.loads(emulator.connection_json())
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    monkeypatch.setenv(variable, json.dumps({**good, "password": "an-expired-token"}))
    emulator.fault("slow", answer_delay=1.0, method="GET", times=1)
    emulator.clear_requests()

    async def main() -> list[Any]:
        waiting = [asyncio.create_task(fired(make())) for _ in range(10)]
        while not emulator.requests():
            await asyncio.sleep(0.02)
        # The old token is on its way; its refusal has not come yet.
        monkeypatch.setenv(variable, json.dumps(good))
        return await asyncio.gather(*waiting)

    assert [event["state"] for event in asyncio.run(main())] == ["over"] * 10
    assert [one["status"] for one in emulator.requests()] == [401, 200]


def test_ten_thousand_executions_over_a_hundred_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of looks is one list call an import, whoever waits and for however much."""
    executions = [{"id": str(number), "status": "RUNNING", "creation_date": 1} for number in range(100)]
    page = json.dumps({"status": "ok", "data": executions, "count": 100, "total": 100}).encode()
    imports = [str(number) for number in range(70_000, 70_100)]

    async def look(import_id: str, hook: Any) -> int:
        return len(await hook.executions(import_id, "3300").asnapshots())

    async def main() -> list[int]:
        shared = SharedHooks()
        everybody = asyncio.Barrier(1000)

        async def wait(import_id: str) -> int:
            watching = await shared.watch(
                "crowd",
                import_id,
                lambda: MediarithmicsHook("crowd"),
                functools.partial(look, import_id),
                0.5,
                lambda _: 3600.0,
            )
            async with aclosing(watching) as answers:
                async for found in answers:
                    # Nobody leaves before everybody has heard.
                    await everybody.wait()
                    return found
            raise AssertionError("no answer")

        # Ten tasks wait for each import.
        return await asyncio.gather(*(wait(one) for one in imports for _ in range(10)))

    with ScriptedServer((200, {"Content-Type": "application/json"}, page)) as server:
        connection = {"conn_type": "mediarithmics", "host": server.url, "password": "t", "extra": {}}
        monkeypatch.setenv("AIRFLOW_CONN_CROWD", json.dumps(connection))
        assert asyncio.run(main()) == [100] * 1000
    assert len(server.asked) == 100
    assert len({one.target for one in server.asked}) == 100
    assert all(one.target.endswith("/executions?first_result=0&max_results=500") for one in server.asked)


def test_cleanup_and_a_restart_of_the_triggerer_cancel_nothing(make: Make, fed: FedImport) -> None:
    pending = fed.upload()

    async def main() -> None:
        trigger = make(cancel_on_kill=True)
        running = asyncio.create_task(fired(trigger))
        while fed.looks() < 2:
            await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await trigger.cleanup()
        assert not shared_hooks()._hooks

    asyncio.run(main())
    assert not any(one["path"].endswith("/action") for one in fed.emulator.requests())
    # Another triggerer goes on from the same arguments.
    fed.end(pending)
    assert run_all(make(cancel_on_kill=True))[0]["state"] == "over"


def test_the_first_look_leaves_the_worker_time_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "5")
    assert first_poll() == 8.0
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1")
    assert first_poll() == 2.0
