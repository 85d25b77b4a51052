"""What the steps do that read: a complete reading of a source or a destination goes into a staging file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from airflow_bulk.arguments import optional_text
from airflow_bulk.extract_load.endpoints import Destination, Source
from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.readings import read_again, rests_on
from airflow_bulk.extract_load.times import WATERMARK, WINDOW, read_time, restart_of_grain, to_text
from airflow_bulk.hooks.extract_load_endpoints import destination_of, source_of
from airflow_bulk.judging import how_many
from airflow_bulk.runs.extract_load.staging import (
    staged_name,
    write_records,
)
from airflow_bulk.runs.extract_load.step import Step, told
from airflow_bulk.runs.extract_load.watermark import read_watermark
from airflow_bulk.window import window

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class ExtractStep(Step, Protocol):
    """The arguments of ``ExtractOperator``."""

    source: str | Source
    object_name: str
    grain: str | None
    since: Any
    updated_since: Any
    watermark: Asset | None
    overlap: timedelta
    window: timedelta | None

    @property
    def node(self) -> str:
        """The logical name."""


class SnapshotStep(Step, Protocol):
    """The arguments of ``SnapshotOperator``."""

    destination: str | Destination
    object_name: str


def extract(task: ExtractStep, context: Context) -> dict[str, Any]:
    """Read an object's records into a staging file and return the reference to them."""
    with told():
        started = datetime.now(UTC)
        since = restart_of_grain(_bound(task, context, "since", task.since), task.grain)
        updated_since = _bound(task, context, "updated_since", task.updated_since)
        source = source_of(task.source)
        seen = _LatestChange(source, task.object_name)
        bounds: dict[str, Any] = {"since": since, "updated_since": updated_since, "grain": task.grain}
        found = _read_completely(
            task,
            context,
            task.node,
            lambda: source.extract(task.object_name, **bounds),
            seen.watch,
        )
        task.log.info(
            "%s, since %s, updated since %s", how_many(found["records"], "record"), since, updated_since
        )
        if task.updated_since == WATERMARK and found["records"] and seen.latest is None:
            task.log.warning("No record says when it was changed, so the watermark cannot move.")
        return {
            "node": task.node,
            "object": task.object_name,
            "grain": task.grain,
            **found,
            "since": since and to_text(since),
            "updated_since": updated_since and to_text(updated_since),
            "latest_change": seen.latest and to_text(seen.latest),
            "started_at": to_text(started),
        }


def _read_completely(
    task: Step,
    context: Context,
    what: str,
    read: Callable[[], Iterator[Record]],
    watch: Callable[[Iterator[Record]], Iterator[Record]] = lambda records: records,
    *,
    unproven: str = "it leads to no deletion",
) -> dict[str, Any]:
    """Stage a complete reading, and return where it is, how many records it has, and what it rests on.

    A list that changed while its pages were read is read again, into another file.

    :param what: what is read, for errors and the log.
    :param read: begins a reading.
    :param watch: sees the records as they pass.
    :param unproven: what follows where nothing shows that the reading is complete.
    :raises SourceKeepsChanging: it changed each time.
    """

    def once() -> dict[str, Any]:
        records = read()
        uri, count = write_records(task.staging, staged_name(task, context), watch(records))
        return {"uri": uri, "records": count, "rests_on": rests_on(records)}

    def tell(why: str) -> None:
        task.log.warning("%s: the list changed while its pages were read (%s). It is read again.", what, why)

    found = read_again(once, what, tell)
    if found["rests_on"] is None:
        task.log.warning("%s: nothing shows that this reading is complete, so %s.", what, unproven)
    else:
        task.log.info("%s: the reading rests on %s.", what, found["rests_on"])
    return found


def _bound(task: ExtractStep, context: Context, field: str, value: Any) -> datetime | None:
    if value == WINDOW:
        return window(context, task.window)[0]
    if value == WATERMARK and field == "updated_since" and task.watermark is not None:
        return read_watermark(context, task.watermark, task.node, task.overlap)
    return read_time(optional_text(field, value) if isinstance(value, str) else value)


class _LatestChange:
    """Remembers the largest time of change among the records that pass."""

    def __init__(self, source: Source, name: str) -> None:
        self._source = source
        self._name = name
        self.latest: datetime | None = None

    def watch(self, records: Iterator[Record]) -> Iterator[Record]:
        self.latest = None
        for record in records:
            changed = self._source.changed_at(self._name, record)
            if changed is not None and (self.latest is None or changed > self.latest):
                self.latest = changed
            yield record


def take_snapshot(task: SnapshotStep, context: Context) -> dict[str, Any]:
    """Read what the destination holds into a staging file and return the reference to it."""
    with told():
        ended = ended_runs(context, task.dag_id)  # before the reading: a run that ends meanwhile counts
        destination = destination_of(task.destination)
        return {
            "object": task.object_name,
            **snapshot_taken(task, context, destination),
            "ended_runs": ended,
        }


def snapshot_taken(task: SnapshotStep, context: Context, destination: Destination) -> dict[str, Any]:
    """Stage what the destination holds: one that is cut short would lead to creates of what exists already."""
    what = f"snapshot {task.object_name}"
    return _read_completely(
        task,
        context,
        what,
        lambda: destination.snapshot(task.object_name),
        unproven="a record that it lacks is created again",
    )


def ended_runs(context: Context, dag_id: str) -> int:
    """Return how many runs of a DAG have ended."""
    return int(context["ti"].get_dr_count(dag_id=dag_id, states=["success", "failed"]))
