"""The sensor for a batch's own cron: each case in poke, reschedule and deferrable mode, the cron driven by a clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout
from one_sensor import MODES, SensorTask

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.sensors.integration_batch import IntegrationBatchSensor
from airflow_bulk.window import window

HOUR = 3600.0


class Following(SensorTask):
    """A DAG run at a moment of the emulator's clock, whose data interval has no length."""

    def __init__(self, mode: str, instance_id: str, at: float, **arguments: Any) -> None:
        super().__init__(mode, instance_id, **{"window": timedelta(hours=1), **arguments})
        self.at = datetime.fromtimestamp(at, UTC)

    def _sensor(self, arguments: dict[str, Any]) -> IntegrationBatchSensor:
        how: dict[str, Any] = {"deferrable": True} if self.mode == "deferrable" else {"mode": self.mode}
        given = {"instance_id": self.import_id, "poke_interval": 0.05, "timeout": 60, **how, **arguments}
        return IntegrationBatchSensor(task_id="t", **given)

    def context(self, **params: Any) -> dict[str, Any]:
        context = super().context(**params)
        context["dag_run"].__dict__.update(
            run_after=self.at, data_interval_start=self.at, data_interval_end=self.at
        )
        return context


class Clocked:
    """An emulator with a frozen clock, on the minute after a full hour, and instances with crons."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.batches = IntegrationBatchEmulator(emulator)
        emulator.clock.freeze()
        emulator.settings(start_delay=0, run_seconds=60)
        emulator.clock.advance(HOUR - self.now % HOUR + 60)
        self._threads: list[threading.Thread] = []

    @property
    def now(self) -> float:
        return self.emulator.clock.now() / 1000

    def hourly(self, **fields: Any) -> str:
        return self.batches.add(**{"cron": "0 * * * *", "cron_status": "ACTIVE", **fields})

    def looks(self) -> int:
        return sum(one["path"].endswith("/executions") for one in self.emulator.requests())

    def after_a_look(self, act: Callable[[], Any]) -> None:
        """Act once the sensor has looked."""

        def wait() -> None:
            while not self.looks():
                time.sleep(0.02)
            act()

        thread = threading.Thread(target=wait)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def clocked(emulator: Emulator) -> Iterator[Clocked]:
    made = Clocked(emulator)
    yield made
    made.close()


@pytest.mark.parametrize("mode", MODES)
class TestEveryMode:
    def test_waits_for_the_run_of_the_window(self, mode: str, clocked: Clocked) -> None:
        instance = clocked.hourly()
        # The window reaches one hour back from a moment that comes in an hour and a half.
        task = Following(mode, instance, clocked.now + 1.5 * HOUR)
        clocked.after_a_look(lambda: clocked.emulator.clock.advance(1.5 * HOUR))
        result = task.run()
        (first, _) = clocked.batches.executions(instance)
        assert result["execution_ids"] == [first["id"]]
        assert result["runs"][0]["status"] == "SUCCEEDED"
        assert result["runs"][0]["execution_type"] == "CRON"
        assert (task.waits > 0) is (mode != "poke")

    def test_a_run_that_is_over_costs_one_look(self, mode: str, clocked: Clocked) -> None:
        instance = clocked.hourly()
        clocked.emulator.clock.advance(1.5 * HOUR)
        task = Following(mode, instance, clocked.now)
        assert len(task.run()["execution_ids"]) == 1
        assert (task.waits, clocked.looks()) == (0, 1)

    def test_none_in_the_window_is_told_and_waited_for_until_the_timeout(
        self, mode: str, clocked: Clocked, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        instance = clocked.hourly(cron="0 3 1 1 *")
        with pytest.raises(AirflowSensorTimeout, match="No run of its cron from 20"):
            Following(mode, instance, clocked.now, timeout=0.5).run()
        assert f"no run of batch instance {instance}'s cron from 20" in caplog.text

    def test_a_failed_run_fails_the_sensor(self, mode: str, clocked: Clocked) -> None:
        instance = clocked.hourly()
        (coming,) = clocked.batches.executions(instance)
        clocked.batches.change_execution(coming["id"], fate="failed")
        clocked.emulator.clock.advance(1.5 * HOUR)
        with pytest.raises(AirflowFailException, match=f"FAILED: {coming['id']}"):
            Following(mode, instance, clocked.now).run()


def test_runs_of_other_windows_and_other_hands_do_not_count(clocked: Clocked) -> None:
    instance = clocked.hourly()
    clocked.emulator.clock.advance(2.5 * HOUR)
    MediarithmicsHook().create_batch_execution(instance, int(clocked.now * 1000))
    result = Following("poke", instance, clocked.now, window=2 * HOUR).run()
    # Two full hours lie in the window; the MANUAL run and the coming one do not count.
    assert len(result["execution_ids"]) == 2
    assert {one["execution_type"] for one in result["runs"]} == {"CRON"}


def test_the_end_of_a_window_is_the_beginning_of_the_next(clocked: Clocked) -> None:
    instance = clocked.hourly()
    clocked.emulator.clock.advance(3 * HOUR)
    full = clocked.now - clocked.now % HOUR
    (before,) = Following("poke", instance, full).run()["runs"]
    (after,) = Following("poke", instance, full + 1).run()["runs"]
    assert datetime.fromisoformat(before["expected_start_date"]).timestamp() == full - HOUR
    assert datetime.fromisoformat(after["expected_start_date"]).timestamp() == full


def test_failed_tasks_are_judged(clocked: Clocked) -> None:
    instance = clocked.hourly()
    (coming,) = clocked.batches.executions(instance)
    clocked.batches.change_execution(coming["id"], tasks=20, erroneous=3)
    clocked.emulator.clock.advance(1.5 * HOUR)
    with pytest.raises(AirflowFailException, match=r"3 of 20 tasks failed \(15%\)"):
        Following("poke", instance, clocked.now).run()
    result = Following("poke", instance, clocked.now, max_failures="{{ params.limit }}").run(limit="20%")
    assert result["runs"][0]["tasks_failed"] == 3


def test_a_cancelled_run_never_ran(clocked: Clocked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    instance = clocked.hourly()
    (coming,) = clocked.batches.executions(instance)
    MediarithmicsHook().update_batch_instance(instance, {"cron_status": "PAUSED"})
    clocked.emulator.clock.advance(1.5 * HOUR)
    with pytest.raises(AirflowSensorTimeout):
        Following("poke", instance, clocked.now, timeout=0.3).run()
    assert f"cancelled ones, which never ran ({coming['id']})" in caplog.text
    assert "the instance is PAUSED" in caplog.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cron": None, "cron_status": None}, "has no cron, so no run will come"),
        ({"archived": True}, "is archived, so no run will come"),
    ],
)
def test_an_instance_that_will_never_run(clocked: Clocked, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        Following("poke", clocked.hourly(**fields), clocked.now).run()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"instance_id": "777"}, "404"),
        ({"instance_id": "batch"}, "made of digits"),
        ({"instance_id": "١٢"}, "made of digits"),
        ({"window": "long"}, "window must be a number"),
        ({"window": None}, "window cannot be made for this run"),
        ({"max_failures": "some"}, "max_failures must be"),
    ],
)
def test_what_cannot_be_followed_says_why(clocked: Clocked, changed: dict[str, Any], said: str) -> None:
    changed = dict(changed)
    instance = changed.pop("instance_id", None) or clocked.hourly()
    task = Following("poke", instance, clocked.now, **changed)
    context = task.context

    def without_previous(**params: Any) -> dict[str, Any]:
        made = context(**params)
        made["ti"].get_previous_dagrun = lambda: None
        return made

    task.context = without_previous  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match=said):
        task.run()


# The window itself: one rule for everybody.

AT = datetime(2031, 4, 2, 3, tzinfo=UTC)


def run(after: datetime = AT, interval: tuple[Any, Any] = (AT, AT), previous: datetime | None = None) -> Any:
    before = None if previous is None else SimpleNamespace(run_after=previous)
    return {
        "dag_run": SimpleNamespace(
            run_after=after, data_interval_start=interval[0], data_interval_end=interval[1]
        ),
        "ti": SimpleNamespace(get_previous_dagrun=lambda: before),
    }


def test_the_window_of_a_run() -> None:
    day = timedelta(days=1)
    assert window(run(interval=(AT - day, AT))) == (AT - day, AT)
    assert window(run(interval=(AT - day, AT)), timedelta(hours=1)) == (AT - day, AT)
    assert window(run(), timedelta(hours=1)) == (AT - timedelta(hours=1), AT)
    assert window(run(interval=(None, None)), timedelta(hours=1)) == (AT - timedelta(hours=1), AT)
    assert window(run(previous=AT - day)) == (AT - day, AT)
    for none in (run(), run(previous=AT), run(previous=AT + day)):
        with pytest.raises(ValueError, match=r"give window=timedelta"):
            window(none)
