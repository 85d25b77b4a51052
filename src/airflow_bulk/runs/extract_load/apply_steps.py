"""What the steps do that write: an apply compares what was read and writes, and lines for a document import are made.

The operators are thin; the rules are in ``airflow_bulk.extract_load``. This is where the two meet Airflow's context and stores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.extract_load.applying import Applied, BadAnswer, Outcome, carry_out
from airflow_bulk.extract_load.bulk_creates import RecordsNotCreated
from airflow_bulk.extract_load.deletions import Feed, read_deletions, refusal
from airflow_bulk.extract_load.endpoints import Destination
from airflow_bulk.extract_load.mapping import LoadMapping, Record, read_mapping
from airflow_bulk.extract_load.planning import ReferenceTables, make_plan, reference_table
from airflow_bulk.extract_load.transforming import MappingFailed, made_records, wanted_records
from airflow_bulk.extract_load.work_file import WorkFile
from airflow_bulk.hooks.extract_load_endpoints import destination_of
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.runs.extract_load.applies import ApplyShown, WritePermit
from airflow_bulk.runs.extract_load.reading_steps import ended_runs, snapshot_taken
from airflow_bulk.runs.extract_load.staging import (
    StagedFileGone,
    is_there,
    read_records,
    staged_name,
    write_records,
)
from airflow_bulk.runs.extract_load.step import Step, told
from airflow_bulk.runs.failures import say_kinds
from airflow_bulk.runs.record import Record as TaskRecord
from airflow_bulk.runs.skeleton import ends_with_supervisor

if TYPE_CHECKING:
    from airflow.sdk import Context


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


def apply(task: ApplyStep, context: Context) -> dict[str, Any]:
    """Plan all changes, write them, and return the counts and the reference to the result."""
    with told(), ends_with_supervisor():
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
        applied = outcome.applied
        task.log.info("%s: %s", task.object_name, applied.as_dict())
        if applied.would_delete and not read_deletions(task.deletions).off:
            task.log.warning(
                "%s: %s without a counterpart stay at the destination: %s.",
                task.object_name,
                how_many(applied.would_delete, "record"),
                applied.deletions_refused,
            )
        return {"object": task.object_name, "uri": uri, "records": count, **applied.as_dict()}


def _passed_on(task: ApplyStep, context: Context) -> dict[str, Any]:
    """Write nothing: what the destination holds is the result (extract_load.md section 6.8)."""
    if task.snapshot is not None:
        found = _reference(context, task.snapshot)
    else:
        found = snapshot_taken(task, context, destination_of(task.destination))
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
    with told():
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
    return _read(snapshot_taken(task, context, destination))


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
    if ended is not None and ended_runs(context, task.dag_id) != ended:
        return "Another run has ended since the snapshot"
    return None


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
