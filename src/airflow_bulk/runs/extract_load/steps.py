"""What the steps of an expanded batch do when they run: bounds, staging files, matching, writing.

The operators are thin; the rules are in ``batches``. This is where the two meet Airflow's context and stores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.arguments import optional_text
from airflow_bulk.extract_load.applying import Applied, BadAnswer, Outcome, OutsideScope, carry_out
from airflow_bulk.extract_load.bulk_creates import RecordsNotCreated
from airflow_bulk.extract_load.deletions import Feed, TooManyDeletions, read_deletions, refusal
from airflow_bulk.extract_load.endpoints import Destination, Source, UnfilterableBound
from airflow_bulk.extract_load.mapping import LoadMapping, Record, read_mapping
from airflow_bulk.extract_load.planning import ReferenceTables, make_plan, reference_table
from airflow_bulk.extract_load.readings import SourceKeepsChanging, read_again, rests_on
from airflow_bulk.extract_load.times import WATERMARK, WINDOW, read_time, restart_of_grain, to_text
from airflow_bulk.extract_load.transforming import MappingFailed, made_records, wanted_records
from airflow_bulk.extract_load.work_file import WorkFile, WorkFileFailed
from airflow_bulk.hooks.extract_load_endpoints import destination_of, source_of
from airflow_bulk.hooks.sql_reading import QueryRefused, SqlReadingFailed
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.runs.extract_load.applies import ApplyShown, WritePermit
from airflow_bulk.runs.extract_load.staging import (
    StagedFileGone,
    is_there,
    read_records,
    staged_name,
    write_records,
)
from airflow_bulk.runs.extract_load.watermark import read_watermark
from airflow_bulk.runs.failures import TryFailed, as_airflow_errors, say_kinds
from airflow_bulk.runs.record import Record as TaskRecord
from airflow_bulk.runs.skeleton import ends_with_supervisor
from airflow_bulk.window import window

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class Step(Protocol):
    """What every step is: a task with a staging folder, whose arguments Airflow has rendered.

    :param staging: folder for the records.
    """

    task_id: str
    staging: str

    @property
    def log(self) -> Any:
        """The task's log."""

    @property
    def dag_id(self) -> str:
        """The DAG's id."""

    @property
    def dag(self) -> Any:
        """The DAG."""


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


class ApplyStep(Step, Protocol):
    """The arguments of ``ApplyOperator``; ``stopped`` once a person has stopped the task."""

    destination: str | Destination
    object_name: str
    mapping: LoadMapping | Mapping[str, Any] | None
    extracts: Sequence[Any]
    snapshot: Any
    references: dict[str, Any]
    reference_matches: dict[str, str]
    deletions: Any
    unrequired: Sequence[str]
    read_only: bool
    settle: float
    writes_at_once: int
    stopped: bool


class ApplyDocumentsStep(Step, Protocol):
    """The arguments of ``ApplyDocumentsOperator`` that make its lines."""

    object_name: str
    mapping: LoadMapping | Mapping[str, Any] | None
    extracts: Sequence[Any]


_FOR_GOOD = (OutsideScope, QueryRefused, TooManyDeletions, UnfilterableBound, StagedFileGone)


@contextmanager
def _told() -> Iterator[None]:
    """Our errors as Airflow's: what the same records would bring again, or twice, fails for good."""
    with as_airflow_errors():
        try:
            yield
        except (SourceKeepsChanging, SqlReadingFailed, WorkFileFailed) as error:
            raise TryFailed(error) from None
        except MappingFailed as error:
            raise AirflowFailException(
                f"{error}. Nothing was written. A retry would find the same: change it, and clear this task."
            ) from None
        except _FOR_GOOD as error:  # before as_airflow_errors: it takes a ValueError for one that may pass
            raise AirflowFailException(str(error)) from None


def extract(task: ExtractStep, context: Context) -> dict[str, Any]:
    """Read an object's records into a staging file and return the reference to them."""
    with _told():
        started = datetime.now(UTC)
        since = restart_of_grain(_bound(task, context, "since", task.since), task.grain)
        updated_since = _bound(task, context, "updated_since", task.updated_since)
        source = source_of(task.source)
        seen = _LatestChange(source, task.object_name)
        bounds: dict[str, Any] = {"since": since, "updated_since": updated_since, "grain": task.grain}
        found = _read_completely(
            task,
            context,
            f"extract {task.node}",
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
    with _told():
        ended = _ended_runs(context, task.dag_id)  # before the reading: a run that ends meanwhile counts
        destination = destination_of(task.destination)
        return {
            "object": task.object_name,
            **_snapshot_taken(task, context, destination),
            "ended_runs": ended,
        }


def _snapshot_taken(
    task: SnapshotStep | ApplyStep, context: Context, destination: Destination
) -> dict[str, Any]:
    """Stage what the destination holds: one that is cut short would lead to creates of what exists already."""
    what = f"snapshot {task.object_name}"
    return _read_completely(
        task,
        context,
        what,
        lambda: destination.snapshot(task.object_name),
        unproven="a record that it lacks is created again",
    )


def apply(task: ApplyStep, context: Context) -> dict[str, Any]:
    """Plan all changes, write them, and return the counts and the reference to the result."""
    with _told(), ends_with_supervisor():
        if task.read_only:
            return _passed_on(task, context)
        with WorkFile() as work:
            try:
                outcome = _outcome(task, context, work)
            except BadAnswer as error:
                raise AirflowException(f"{error}. A retry reads the destination again.") from None
            except RecordsNotCreated as error:
                raise _not_created(error) from None
            uri, count = write_records(task.staging, staged_name(task, context), outcome.records)
        task.log.info("%s: %s", task.object_name, outcome.applied.as_dict())
        return {"object": task.object_name, "uri": uri, "records": count, **outcome.applied.as_dict()}


def _passed_on(task: ApplyStep, context: Context) -> dict[str, Any]:
    """Write nothing: what the destination holds is the result (extract_load.md section 6.8)."""
    if task.snapshot is not None:
        found = _reference(context, task.snapshot)
    else:
        found = _snapshot_taken(task, context, destination_of(task.destination))
    uri, count = found["uri"], found["records"]
    counts = Applied(unchanged=count).as_dict()
    return {"object": task.object_name, "uri": uri, "records": count, **counts, "read_only": True}


def _outcome(task: ApplyStep, context: Context, work: WorkFile) -> Outcome:
    destination = destination_of(task.destination)
    mapping = read_mapping(task.mapping or LoadMapping())
    limit = read_deletions(task.deletions)
    extracts = [_reference(context, given) for given in task.extracts]
    extracted: dict[str, Iterator[Record]] = {}
    for one in extracts:
        extracted[_name(one)] = chain(extracted.get(_name(one), ()), _read(one))
    feeds = [
        # One that an older version has read does not say what it rests on.
        Feed(one["node"], one["records"], bool(one["since"] or one["updated_since"]), one.get("rests_on"))
        for one in extracts
    ]
    refused = refusal(limit, feeds, task.unrequired)
    plan = make_plan(
        task.object_name,
        mapping,
        wanted_records(task.object_name, mapping, extracted, work),
        _current(task, context, destination),
        _tables(task, context, mapping),
        deleting=refused is None,
    )
    with ApplyShown(context, task) as shown:
        return carry_out(
            task.object_name,
            mapping,
            plan,
            destination,
            limit=limit,
            refused=refused,
            permit=WritePermit(context, task),
            writes_at_once=task.writes_at_once,
            told=shown.told,
        )


def _not_created(error: RecordsNotCreated) -> AirflowException:
    """The failure that records lead to which a bulk destination has not created."""
    found = f"{error}.{say_kinds(map(reduce_message, error.reasons))} The others that were sent are there."
    if error.passing:
        return AirflowException(f"{found} A retry reads the destination again and creates what is missing.")
    return AirflowFailException(
        f"{found} A retry would send the same records: mend them at the source, or the mapping, and clear this task."
    )


def write_lines(task: ApplyDocumentsStep, context: Context) -> str:
    """Make the lines of an import, or find those that an earlier try made of the same records; return where they are."""
    with _told():
        mapping = read_mapping(task.mapping or LoadMapping())
        extracts = [_reference(context, given) for given in task.extracts]
        # The same records, the same lines: an import that was begun must not change under a retry.
        key = "lines." + hashlib.sha256(" ".join(one["uri"] for one in extracts).encode()).hexdigest()[:16]
        # A clear after weeks must not make other lines for the same import, whatever generation its work is in.
        record = TaskRecord.of(context, ends=False)
        if (kept := record.kept(key)) is not None:
            if not is_there(str(kept)):  # the import needs it no more, or says so
                task.log.warning("%s", StagedFileGone(f"load {task.object_name}", str(kept)))
            return str(kept)

        def lines() -> Iterator[Record]:
            for one in extracts:
                for _, _, line in made_records(task.object_name, mapping, _name(one), _read(one)):
                    yield line

        uri, count = write_records(task.staging, staged_name(task, context, ".lines"), lines())
        task.log.info("%s", how_many(count, "line"))
        record.keep(key, uri)
        return uri


def _name(reference: Mapping[str, Any]) -> str:
    grain = reference.get("grain")
    return f"{reference['object']}@{grain}" if grain else str(reference["object"])


def _current(task: ApplyStep, context: Context, destination: Destination) -> Iterator[Record]:
    """Return what is there: the snapshot, unless another apply may have written since it was taken.

    That may have been an earlier try, or one of another run of the DAG. Then the destination is read again: applies of
    one object never overlap (``max_active_tis_per_dag=1``), so nobody creates meanwhile (extract_load.md section 6.9).
    """
    reason = "A later try" if context["ti"].try_number > 1 else None
    if task.snapshot is not None and reason is None:
        found = _reference(context, task.snapshot)
        if (reason := _other_runs(task, context, found.get("ended_runs"))) is None:
            return _read(found)
    if reason is not None:
        task.log.info("%s: the destination is read again, after %.1f s", reason, task.settle)
        time.sleep(task.settle)
    return _read(_snapshot_taken(task, context, destination))


def _other_runs(task: ApplyStep, context: Context, ended: int | None) -> str | None:
    """Why another run of the DAG may have written since the snapshot; ``None`` if none can have.

    :param ended: runs that had ended when the snapshot was taken; ``None`` where that is not known.
    """
    if task.dag.max_active_runs != 1:
        return "Other runs may be active (the DAG's max_active_runs is not 1)"
    # A backfill's runs have a limit of their own and run beside the DAG's other runs.
    if context["dag_run"].run_type == "backfill":
        return "Other runs may be active (a backfill)"
    if context["ti"].get_dr_count(dag_id=task.dag_id, states=["running"]) > 1:
        return "Another run is active"
    # One that was active beside this run may be over by now: its apply is what this one waited for.
    if ended is not None and _ended_runs(context, task.dag_id) != ended:
        return "Another run has ended since the snapshot"
    return None


def _ended_runs(context: Context, dag_id: str) -> int:
    return int(context["ti"].get_dr_count(dag_id=dag_id, states=["success", "failed"]))


def _tables(task: ApplyStep, context: Context, mapping: LoadMapping) -> ReferenceTables:
    tables: dict[str, Iterator[tuple[str, Any]]] = {}
    for name in set(mapping.references.values()) - {task.object_name}:
        if name not in task.references:
            raise MappingFailed(f"load {task.object_name} refers to {name}, but references={{...}} lacks it")
        match = LoadMapping(match_on=task.reference_matches.get(name, LoadMapping().match_fields[0]))
        tables[name] = reference_table(match, _read(_reference(context, task.references[name])))
    return tables


def _read(reference: Mapping[str, Any]) -> Iterator[Record]:
    """Read the records of a reference."""
    return read_records(str(reference["uri"]), str(reference.get("node") or reference.get("object")))


def _reference(context: Context, given: Any) -> dict[str, Any]:
    """Return the reference that *given* is, or that the task of this id returned."""
    found = context["ti"].xcom_pull(task_ids=given) if isinstance(given, str) else given
    if isinstance(found, Mapping) and "uri" in found:
        return dict(found)
    raise MappingFailed(
        f"task {given} returned no reference to records"
        if isinstance(given, str)
        else "no reference to records"
    )
