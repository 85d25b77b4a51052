"""Kinds of run that no other test kills at its writes: with bad lines, resent, known across runs, applied, waited for by a sensor.

They speak to the package by what a DAG author may say, so that they run beside an older version, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from delegating import GOOD, ids, store_another
from killed_runs import Kind, MortalTask
from killed_world import World
from loading import accounts, loading
from one_task import AssetState, Task, importing, profile, write_profiles

from airflow_bulk.arguments import SendingOptions

SENDING = SendingOptions(max_part_bytes=20_000, settle=0)
#: How a results file and a resend are asked for.
TOLERANT: dict[str, Any] = {"max_failures": "100%", "sending": SENDING}


@dataclass
class SavedKind(Kind):
    """A kind of run whose circumstances are saved with its sample.

    :param state: what other tasks have handed to this one: ids, results of theirs.
    :param files: the state of the asset of known files, where the task uses it.
    :param again: asks for the faults that are still to come; the emulator forgets them when it is brought back.
    """

    state: dict[str, Any] = field(default_factory=dict)
    files: AssetState | None = None
    again: Callable[[], None] = lambda: None


class SkewTask(MortalTask):
    """A task that also sees what Airflow tells of tasks, and the asset of known files where its kind uses it."""

    kind: Kind
    #: What its last try has returned.
    result: Any = None

    def run(self, **params: Any) -> Any:
        self.result = super().run(**params)
        return self.result

    def context(self, **params: Any) -> dict[str, Any]:
        context = super().context(**params)
        files = getattr(self.kind, "files", None)
        start, end = (
            datetime.fromtimestamp(one, UTC)
            for one in getattr(self.kind, "state", {}).get("interval", (0, 1))
        )
        run = {"run_after": end, "data_interval_start": start, "data_interval_end": end}
        context["dag_run"].__dict__.update(run)
        context["ti"].get_task_states = self._states
        if files is not None:
            from airflow_bulk.runs.seen.ledger import files_asset

            context.setdefault("asset_state_store", {})[files_asset()] = files
        return context

    def _states(self, dag_id: str, run_ids: list[str] | None = None, **asked: Any) -> dict[str, Any]:
        """This task over all its runs; the one on Monday has ended."""
        mine = self.task_states(map_index=asked.get("map_index") or -1, task_ids=asked.get("task_ids"))
        found = {"monday": {self.task_id: "success"}, **mine}
        return {run_id: states for run_id, states in found.items() if run_ids is None or run_id in run_ids}

    def resume(self, event: dict[str, Any]) -> Any:
        """Go on in the same try, as a worker does with a trigger's event."""
        make = self.make

        def made() -> Any:
            operator = make()
            execute = operator.execute

            def complete(context: Any) -> Any:
                operator.execute = execute
                return operator.execute_complete(context, event)

            operator.execute = complete
            return operator

        self.make = made
        self.try_number -= 1
        try:
            return self.run()
        finally:
            self.make = make


# Imports.


def _counted(world: World, **counts: int) -> Any:
    def check(times: int) -> None:
        totals = world.emulator.held_totals()
        assert {name: totals[name] for name in counts} == counts, totals
        assert totals["more_than_once"] == 0

    return check


def results(world: World) -> Kind:
    """Two lines are refused here, three on the platform; all stand in the results file."""
    source = world.folder / "profiles.ndjson"
    write_profiles(source, 300, bad=(7, 200))

    def fail_lines_of_the_first_part() -> None:
        emulator = world.emulator
        if not any(emulator.executions(one["id"]) for one in emulator.imports()):
            emulator.fault("failing_lines", every=49, times=1)

    fail_lines_of_the_first_part()
    make = importing(source, rejects_path=str(world.folder / "bad"), **TOLERANT)
    (world.folder / "bad").mkdir()
    held = _counted(world, lines=298 - 3)

    def check(times: int) -> None:
        held(times)
        (told,) = (world.folder / "bad").glob("*results.ndjson")
        assert len(told.read_text().splitlines()) == 2 + 3

    # The fault stays: it is what is counted.
    return SavedKind(make, check, heal=world.later, again=fail_lines_of_the_first_part)


def resends(world: World) -> Kind:
    """The failed lines of an import, in two rounds."""
    from airflow_bulk.operators.resend_lines import ResendLinesOperator

    source = world.folder / "profiles.ndjson"
    write_profiles(source, 300)
    world.emulator.fault("failing_lines", every=20, times=1)
    first = Task(importing(source, rejects_path=str(world.folder / "bad"), **TOLERANT), run_id="first")
    state = {"results": first.run()}
    world.emulator.fault("failing_lines", every=3, times=1)

    def make() -> Any:
        return ResendLinesOperator(
            task_id="t", results=state["results"], rounds=3, sending=SENDING, poll_interval=0.1
        )

    return SavedKind(make, _counted(world, lines=300, different=300), heal=world.heal, state=state)


def seen(world: World) -> Kind:
    """Two new files, while a third one is known."""
    files = AssetState()
    _profiles(world, "monday", range(50))
    make = importing(str(world.folder / "*.ndjson"), on_seen="skip", sending=SENDING)
    kind = SavedKind(make, _counted(world, lines=150, different=150), heal=world.heal, files=files)
    monday = SkewTask(make, _no_death(), clears_discard=False)
    monday.kind, monday.run_id = kind, "monday"
    monday.run()
    _profiles(world, "tuesday", range(50, 100))
    _profiles(world, "wednesday", range(100, 150))
    return kind


def _profiles(world: World, name: str, numbers: range) -> None:
    (world.folder / f"{name}.ndjson").write_text("\n".join(map(profile, numbers)) + "\n")


def _no_death() -> Any:
    from killed_runs import Death

    return Death()


# Extract/load.


def applies(world: World) -> Kind:
    """Four staged records, of which the destination refuses the third one at first."""
    from airflow_bulk.operators.extract_load import ApplyOperator
    from airflow_bulk.runs.extract_load.staging import write_records

    records = [{"Id": str(number), "Name": f"a{number}"} for number in range(4)]
    uri, count = write_records(str(world.folder / "staging"), "accounts", iter(records))
    extract = {
        "node": "e",
        "object": "Account",
        "uri": uri,
        "records": count,
        "since": None,
        "updated_since": None,
    }
    state = {"extracts": [extract]}

    def make() -> Any:
        return ApplyOperator(
            task_id="t",
            destination="el_destination",
            object_name="accounts",
            staging=str(world.folder / "staging"),
            extracts=state["extracts"],
        )

    def check(times: int) -> None:
        assert sorted(one["Name"] for one in world.extract_load.destination("accounts")) == [
            f"a{number}" for number in range(4)
        ]

    return SavedKind(make, check, heal=world.heal, state=state)


def _delegated(world: World, **more: Any) -> SavedKind:
    from airflow_bulk.operators.extract_load import ExtractLoadBatchOperator

    def make() -> Any:
        return ExtractLoadBatchOperator(
            task_id="t",
            extract_load_conn_id="el_server",
            definition=GOOD,
            poll_interval=0.1,
            settle=0.05,
            check=False,
            **more,
        )

    def check(times: int) -> None:
        assert len(ids()) == times, ids()

    return SavedKind(make, check, heal=world.heal)


def delegated(world: World) -> Kind:
    return _delegated(world)


def delegated_deferred(world: World) -> Kind:
    world.slow()
    kind = _delegated(world, deferrable=True)
    kind.meanwhile = world.later
    return kind


# Sensors: what they wait for was begun by another party.


def _waited_for(world: World, make: Any, state: dict[str, Any] | None = None) -> SavedKind:
    state = {} if state is None else state
    return SavedKind(make, lambda times: None, meanwhile=world.later, heal=world.heal, state=state)


def document_import_sensor(world: World) -> Kind:
    from airflow_bulk.sensors.document_import import DocumentImportSensor

    source, _ = world.source()
    world.slow()
    given = Task(importing(source, wait_for_completion=False), run_id="first").run()["import_id"]
    return _waited_for(
        world, lambda: DocumentImportSensor(task_id="t", import_id=given, min_executions=2, deferrable=True)
    )


def integration_batch_sensor(world: World) -> Kind:
    """The run that an hourly cron made is under way."""
    from airflow_bulk.sensors.integration_batch import IntegrationBatchSensor

    world.slow()
    instance = world.batches.add("watched", cron="0 * * * *", cron_status="ACTIVE")
    hour = 3600 * (world.emulator.clock.now() // 3_600_000 + 1)
    world.emulator.clock.advance(hour + 60 - world.emulator.clock.now() / 1000)
    state = {"interval": [hour - 1, hour + 1]}
    return _waited_for(
        world, lambda: IntegrationBatchSensor(task_id="t", instance_id=instance, deferrable=True), state
    )


def centrapay_batch_sensor(world: World) -> Kind:
    from airflow_bulk.sensors.centrapay_batch import CentrapayBatchSensor

    world.slow()
    url = world.files.put("/a.jsonl", accounts(3))
    state = {"made": Task(loading(url=url, wait_for_completion=False), run_id="first").run()["batch_id"]}
    return _waited_for(
        world, lambda: CentrapayBatchSensor(task_id="t", batch_id=state["made"], deferrable=True), state
    )


def extract_load_batch_sensor(world: World) -> Kind:
    from airflow_bulk.sensors.extract_load import ExtractLoadBatchSensor

    world.slow()
    state = {"made": store_another()}
    return _waited_for(
        world,
        lambda: ExtractLoadBatchSensor(
            task_id="t", extract_load_conn_id="el_server", batch_id=state["made"], deferrable=True
        ),
        state,
    )
