"""Poke, reschedule and deferrable mean the same: each case goes through all three."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from fed_import import FedImport
from one_sensor import MODES, SensorTask

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.platforms.errors import TryLater, Unauthorized

pytestmark = pytest.mark.parametrize("mode", MODES)


def test_waits_for_all_and_returns_the_totals(mode: str, fed: FedImport) -> None:
    ids = [fed.upload(3), fed.upload(2, bad=1)]
    fed.end_after(2, *ids)
    task = SensorTask(mode, fed.id, max_failures=1)
    result = task.run()
    url = f"https://navigator.mediarithmics.com/#/v2/o/900/datastudio/datamart/3300/imports/{fed.id}"
    assert result.pop("error_file_uris")[0].endswith("_errors.csv")
    assert result == {
        "import_id": fed.id,
        "execution_ids": ids,
        "executions": {"succeeded": 2},
        "lines_counted": 6,
        "lines_accepted": 5,
        "lines_failed": 1,
        "possible_issue_on_identifiers": False,
        "console_url": url,
    }
    assert task.pushed == {"console_url": url}
    assert (task.waits > 0) is (mode != "poke")
    assert fed.looks() > 2


def test_what_is_over_already_costs_one_look_and_no_waiting(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    task = SensorTask(mode, fed.id)
    assert task.run()["lines_accepted"] == 1
    assert (task.waits, fed.looks()) == (0, 1)


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("fate", ["failed", "lost"])
def test_an_execution_that_failed_fails_the_sensor(
    mode: str, fed: FedImport, fate: str, soft_fail: bool
) -> None:
    fed.end(fed.upload())
    broken = fed.upload()
    fed.end(broken, fate)
    error: type[Exception] = AirflowSkipException if soft_fail else AirflowFailException
    with pytest.raises(error) as caught:
        SensorTask(mode, fed.id, soft_fail=soft_fail).run()
    told = str(caught.value.__cause__) if soft_fail else str(caught.value)
    assert broken in told and fate.upper() in told


def test_a_failure_is_told_when_everything_is_over(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload(), "failed")
    fed.end_after(2, fed.upload(7))
    with pytest.raises(AirflowFailException, match="7 lines accepted"):
        SensorTask(mode, fed.id).run()


@pytest.mark.parametrize("soft_fail", [False, True])
def test_too_late(mode: str, fed: FedImport, soft_fail: bool) -> None:
    pending, running = fed.upload(), fed.upload()
    fed.start(running)
    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout) as caught:
        SensorTask(mode, fed.id, timeout=0.4, soft_fail=soft_fail).run()
    error = caught.value.__cause__ if soft_fail else caught.value
    assert isinstance(error, AirflowSensorTimeout)
    assert fed.id in str(error) and pending in str(error) and running in str(error)
    assert (fed.status(pending), fed.status(running)) == ("PENDING", "RUNNING")
    assert not [one for one in fed.emulator.requests() if one["path"].endswith("/action") and one["done"]]


def test_the_timeout_counts_over_retries_and_a_clear_begins_anew(mode: str, fed: FedImport) -> None:
    execution = fed.upload()
    task = SensorTask(mode, fed.id, timeout=3600)
    fed.emulator.fault("unauthorized", times=1)
    with pytest.raises(Unauthorized):
        task.run()
    # Two hours go by.
    since = task.store.get("waiting_since")
    task.store.set("waiting_since", {**since, "since": since["since"] - 7200})
    with pytest.raises(AirflowSensorTimeout):
        task.run()
    task.clear()
    fed.end(execution)
    assert task.run()["lines_accepted"] == 1
    assert task.store.get("waiting_since")["since"] > since["since"]


@pytest.mark.parametrize("soft_fail", [False, True])
def test_trouble_that_passes_fails_the_try_and_skips_nothing(
    mode: str, fed: FedImport, soft_fail: bool
) -> None:
    fed.upload()
    fed.emulator.fault("unauthorized")
    task = SensorTask(mode, fed.id, soft_fail=soft_fail)
    with pytest.raises(Unauthorized, match="a retry then goes on"):
        task.run()


def test_trouble_after_the_waiting_began_is_no_failed_import_either(mode: str, fed: FedImport) -> None:
    # The first look is good; the token is refused from then on.
    fed.upload()
    fed.emulator.fault("unauthorized", skip=1)
    task = SensorTask(mode, fed.id, soft_fail=True)
    with pytest.raises(Unauthorized):
        task.run()
    assert (task.waits > 0) is (mode != "poke")


@pytest.mark.parametrize("fault", ["forbidden", "gone"])
@pytest.mark.parametrize("soft_fail", [False, True])
def test_what_no_retry_mends_fails_for_good(mode: str, fed: FedImport, fault: str, soft_fail: bool) -> None:
    fed.upload()
    fed.emulator.fault(fault, skip=1)
    with pytest.raises(AirflowSkipException if soft_fail else AirflowFailException) as caught:
        SensorTask(mode, fed.id, soft_fail=soft_fail).run()
    error = caught.value.__cause__ if soft_fail else caught.value
    assert fed.id in str(error) and "A retry cannot help" in str(error)


def test_never_fail_skips_trouble_too(mode: str, fed: FedImport) -> None:
    fed.upload()
    fed.emulator.fault("unauthorized", skip=1)
    with pytest.raises(AirflowSkipException):
        SensorTask(mode, fed.id, never_fail=True).run()


def test_silent_fail_waits_on_through_trouble(mode: str, fed: FedImport) -> None:
    fed.end_after(2, fed.upload())
    fed.emulator.fault("unauthorized", skip=1, times=2)
    assert SensorTask(mode, fed.id, silent_fail=True).run()["lines_accepted"] == 1


def test_an_import_that_nobody_feeds_is_not_done(mode: str, fed: FedImport) -> None:
    with pytest.raises(AirflowSensorTimeout, match="no executions"):
        SensorTask(mode, fed.id, timeout=0.3).run()


def test_an_import_may_stay_empty_when_that_is_said(mode: str, fed: FedImport) -> None:
    result = SensorTask(mode, fed.id, min_executions=0).run()
    assert (result["execution_ids"], result["lines_counted"]) == ([], 0)


def test_so_many_executions_must_be_there(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    with pytest.raises(AirflowSensorTimeout):
        SensorTask(mode, fed.id, min_executions=2, timeout=0.3).run()
    fed.end(fed.upload())
    assert SensorTask(mode, fed.id, min_executions=2).run()["executions"] == {"succeeded": 2}


def test_a_cancelled_one_does_not_make_up_the_number(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    fed.cancel(fed.upload())
    with pytest.raises(AirflowSensorTimeout):
        SensorTask(mode, fed.id, min_executions=2, timeout=0.3).run()


def test_quiet_for_waits_for_those_that_still_come(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    with pytest.raises(AirflowSensorTimeout):
        SensorTask(mode, fed.id, quiet_for=3000, timeout=0.3).run()
    # An hour ago is quiet enough: nothing was created since.
    assert SensorTask(mode, fed.id, quiet_for=0).run()["lines_accepted"] == 1


def test_cancelled_executions_took_no_line_and_are_left_out(mode: str, fed: FedImport) -> None:
    cancelled, kept = fed.upload(5), fed.upload(2)
    fed.cancel(cancelled)
    fed.end_after(2, kept)
    result = SensorTask(mode, fed.id).run()
    assert (result["execution_ids"], result["executions"]) == ([kept], {"succeeded": 1})


def test_nothing_but_cancelled_ones_is_a_failure(mode: str, fed: FedImport) -> None:
    ids = [fed.upload(), fed.upload()]
    for one in ids:
        fed.cancel(one)
    with pytest.raises(AirflowFailException, match="all executions were canceled") as caught:
        SensorTask(mode, fed.id).run()
    assert all(one in str(caught.value) for one in ids)


def test_only_the_executions_named_count(mode: str, fed: FedImport) -> None:
    mine = fed.upload(4)
    fed.end_after(2, mine)
    fed.upload(bad=3)
    failed = fed.upload()
    fed.end(failed, "failed")
    result = SensorTask(mode, fed.id, execution_ids=[mine, mine]).run()
    assert (result["execution_ids"], result["lines_counted"]) == ([mine], 4)


def test_a_named_execution_that_is_cancelled_is_a_failure(mode: str, fed: FedImport) -> None:
    kept, cancelled = fed.upload(), fed.upload()
    fed.end(kept)
    fed.cancel(cancelled)
    with pytest.raises(AirflowFailException, match=cancelled):
        SensorTask(mode, fed.id, execution_ids=[kept, cancelled]).run()


def test_a_named_execution_that_does_not_exist_fails_at_once(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    with pytest.raises(AirflowFailException, match="read execution 999999 of document import"):
        SensorTask(mode, fed.id, execution_ids="999999").run()


@pytest.mark.parametrize(
    ("max_failures", "good"),
    [(0, False), (1, False), (2, True), ("19.9%", False), ("20%", True), ("100%", True)],
)
def test_succeeded_is_judged_by_its_lines(
    mode: str, fed: FedImport, max_failures: int | str, good: bool
) -> None:
    fed.end(fed.upload(8, bad=2))
    task = SensorTask(mode, fed.id, max_failures=max_failures)
    if good:
        assert task.run()["lines_failed"] == 2
    else:
        with pytest.raises(
            AirflowFailException, match=f"2 of 10 lines failed .20%., more than max_failures={max_failures}"
        ):
            task.run()


def test_a_platform_that_is_down_at_first_is_asked_again(mode: str, fed: FedImport) -> None:
    fed.end(fed.upload())
    fed.emulator.fault("server_error", times=1)
    assert SensorTask(mode, fed.id).run()["lines_accepted"] == 1


def test_a_status_nobody_knows_is_waited_for(mode: str, fed: FedImport, emulator: Emulator) -> None:
    fed.end(fed.upload())
    emulator.fault("unknown_status", over=True, times=1)
    assert SensorTask(mode, fed.id).run()["lines_accepted"] == 1


def test_templates_are_read_or_refused(mode: str, fed: FedImport) -> None:
    ids = [fed.upload(9, bad=1), fed.upload()]
    for one in ids:
        fed.end(one)
    task = SensorTask(
        mode,
        "{{ params.import_id }}",
        execution_ids="{{ params.ids }}",
        min_executions="{{ params.least }}",
        quiet_for="{{ params.quiet }}",
        max_failures="{{ params.bad }}",
        datamart_id="{{ params.datamart }}",
    )
    good: dict[str, Any] = {
        "import_id": int(fed.id),
        "ids": ids,
        "least": 2,
        "quiet": 0.0,
        "bad": "10%",
        "datamart": None,
    }
    assert task.run(**good)["execution_ids"] == ids
    assert task.run(**{**good, "ids": ",".join(ids)})["execution_ids"] == ids
    assert task.run(**{**good, "ids": None})["execution_ids"] == ids
    for field, value in {"import_id": None, "least": "many", "quiet": -1, "bad": "0.1", "ids": []}.items():
        with pytest.raises(AirflowFailException):
            task.run(**{**good, field: value})


def test_a_platform_that_asks_for_silence_is_left_alone(
    mode: str, fed: FedImport, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A connection of its own: what the platform asks for holds for a connection as long as the process lives.
    monkeypatch.setenv("AIRFLOW_CONN_HELD_BACK", fed.emulator.connection_json())
    fed.upload()
    fed.emulator.fault("rate_limited", retry_after=100_000)
    with pytest.raises(TryLater):
        SensorTask(mode, fed.id, soft_fail=True, mediarithmics_conn_id="held_back").run()
