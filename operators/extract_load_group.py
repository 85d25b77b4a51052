"""An extract/load batch as a task group: the definition's graph, one task a node (extract_load.md section 6).

Building the group uses no network and no connection. A bad definition raises ONE error with all its faults, which
Airflow shows as the DAG file's import error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, TaskGroup

from airflow_bulk.extract_load import BatchDefinitionError, BatchGraph, Problem, compile_batch
from airflow_bulk.extract_load.deletions import read_deletions
from airflow_bulk.extract_load.endpoints import Destination, Source
from airflow_bulk.extract_load.graph import READ_ONLY
from airflow_bulk.extract_load.task_ids import task_ids
from airflow_bulk.extract_load.times import DEFAULT_OVERLAP, WATERMARK
from airflow_bulk.extract_load.writing import read_at_once
from airflow_bulk.operators.base import with_record
from airflow_bulk.operators.extract_load_documents import ApplyDocumentsOperator, DocumentImportDestination
from airflow_bulk.operators.extract_load_steps import (
    ApplyOperator,
    ExtractOperator,
    SnapshotOperator,
    WatermarkOperator,
)

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

log = logging.getLogger(__name__)
WATERMARK_TASK = "watermark"
_INHERIT: Any = object()
#: How long staged files stay after the last one of their run was written.
KEEP_STAGED = timedelta(days=7)


class ExtractLoadTaskGroup(TaskGroup):
    """Run the jobs of a batch as tasks, in the order that the required objects of the jobs demand.

    Give the DAG ``max_active_runs=1``. Without it nothing is created twice either, since each apply then reads the
    destination again first. But of two runs at once the one that applies last wins, even if it read the source first.

    :param group_id: the group's id; together with the DAG's id it names the asset of the watermarks.
    :param definition: the batch: ``load_definition("file.yaml")`` or a dict.
    :param source: connection id or source object for all extracts, unless *connections* knows the definition's own.
    :param destination: connection id or destination object for all loads, likewise.
    :param connections: the server's connection id (``source_connection_id`` ...) -> connection id or object here.
    :param mappings: load object -> :class:`airflow_bulk.extract_load.LoadMapping`, over those in the definition.
    :param staging: folder for the records between tasks, reachable from every worker; may hold templates.
    :param keep_staged: how long the staged files of a run stay after the last of them was written. The first task of each
        run removes those of the group's older runs, once they are over; None removes none.
    :param since: replaces the batch's ``since``; a job's own still wins.
    :param updated_since: replaces the batch's ``updated_since``; ``"watermark"``: since the last success.
    :param overlap: how long before the watermark an extract begins.
    :param window: length of ``"window"`` where the run's data interval has no length.
    :param deletions: ``"off"``, a share such as ``"10%"``, a number such as 25, or ``"all"``.
    :param writes_at_once: how many records an apply writes at once, from 1 to 64: a number for all loads, or load object ->
        number, where a load that is not named writes one at a time. An import of documents knows no such thing.
    :param read_only: load objects that are never written.
    :param strict: a part of the definition that has no effect is a fault, not a warning.
    :param group_arguments: further arguments of ``TaskGroup``.
    """

    def __init__(
        self,
        group_id: str,
        *,
        definition: Mapping[str, Any],
        staging: str,
        source: str | Source | None = None,
        destination: str | Destination | DocumentImportDestination | None = None,
        connections: Mapping[str, Any] | None = None,
        mappings: Mapping[str, Any] | None = None,
        since: Any = _INHERIT,
        updated_since: Any = _INHERIT,
        overlap: timedelta = DEFAULT_OVERLAP,
        window: timedelta | None = None,
        deletions: Any = "off",
        writes_at_once: int | Mapping[str, int] = 1,
        read_only: Iterable[str] = READ_ONLY,
        strict: bool = False,
        keep_staged: timedelta | None = KEEP_STAGED,
        **group_arguments: Any,
    ) -> None:
        if keep_staged is not None and keep_staged <= timedelta(0):
            raise ValueError(f"keep_staged must be above zero, and is {keep_staged}.")
        bounds = {"since": since, "updated_since": updated_since}
        given = {key: value for key, value in bounds.items() if value is not _INHERIT}
        graph = _compile(definition, given, read_only, mappings or {}, deletions, strict)
        found = {
            "source": _endpoint("source", graph, source, connections),
            "destination": _endpoint("destination", graph, destination, connections),
        }
        ends = {side: end for side, (end, _) in found.items()}
        _check_declared(graph, ends, deletions, getattr(definition, "source", None))
        at_once = _writes_at_once(graph, writes_at_once, getattr(definition, "source", None))
        super().__init__(group_id=group_id, **group_arguments)
        self.graph = graph
        self.warnings = (*graph.warnings, *(warning for _, warning in found.values() if warning))
        for warning in self.warnings:
            log.warning("Task group %s: %s", group_id, warning)
        with self:
            self.tasks_by_node = _Tasks(
                self, graph, staging, keep_staged, ends, overlap, window, deletions, at_once
            ).build()


def _compile(
    definition: Mapping[str, Any],
    bounds: Mapping[str, Any],
    read_only: Iterable[str],
    mappings: Mapping[str, Any],
    deletions: Any,
    strict: bool,
) -> BatchGraph:
    problems: list[Problem] = []
    try:
        read_deletions(deletions)
    except ValueError as error:
        problems.append(Problem("option", str(error), kind="deletions"))
    source = getattr(definition, "source", None)
    try:
        merged = {**definition, **bounds} if bounds and isinstance(definition, Mapping) else definition
        graph = compile_batch(merged, read_only, mappings=mappings, strict=strict)
    except BatchDefinitionError as error:
        raise BatchDefinitionError([*error.problems, *problems], source) from None
    if problems:
        raise BatchDefinitionError(problems, source)
    return graph


def _check_declared(graph: BatchGraph, ends: Mapping[str, Any], deletions: Any, file: str | None) -> None:
    """Find the objects that an end does not declare, where the end knows its objects (SQL, document import)."""
    problems: list[Problem] = []
    if (undeclared := getattr(ends["source"], "undeclared", None)) is not None:
        problems += [
            Problem(
                "undeclared", f"extract {job.object}: {missing}", (job.index,), kind="source", name=job.object
            )
            for job in sorted(graph.extracts.values(), key=lambda job: job.index)
            if (missing := undeclared(job.object, job.grain)) is not None
        ]
    problems += _unproven(graph, ends["source"], deletions)
    if isinstance(documents := ends["destination"], DocumentImportDestination):
        for job in sorted(graph.loads.values(), key=lambda job: job.index):
            if job.object in graph.read_only:
                continue
            try:
                documents.arguments(job.object)
            except ValueError as error:
                problems.append(
                    Problem("undeclared", str(error), (job.index,), kind="destination", name=job.object)
                )
        if not read_deletions(deletions).off:
            message = "a document import deletes nothing: deletions must be off"
            problems.append(Problem("option", message, kind="deletions"))
    if problems:
        raise BatchDefinitionError(problems, file)


def _unproven(graph: BatchGraph, source: Any, deletions: Any) -> list[Problem]:
    """Find the extracts whose readings never show that they are complete, where a load that deletes is fed by them."""
    unproven = getattr(source, "unproven", None)
    if unproven is None or read_deletions(deletions).off:
        return []
    feeding = {
        feed
        for name, one in graph.mappings.items()
        if name not in graph.read_only
        for feed in one.feeding or ()
    }
    return [
        Problem(
            "unproven",
            f"extract {job.object}: deletions={deletions} needs complete readings, but {why}",
            (job.index,),
            kind="source",
            name=job.object,
        )
        for job in sorted(graph.extracts.values(), key=lambda job: job.index)
        if job.object in feeding and (why := unproven(job.object)) is not None
    ]


def _writes_at_once(graph: BatchGraph, given: int | Mapping[str, int], file: str | None) -> Mapping[str, int]:
    """Return load object -> how many records its apply writes at once."""
    by_load = given if isinstance(given, Mapping) else dict.fromkeys(graph.loads, given)
    problems: list[Problem] = []
    for name, number in by_load.items():
        try:
            read_at_once(number)
        except ValueError as error:
            problems.append(Problem("option", str(error), kind="writes_at_once", name=str(name)))
        if name not in graph.loads:
            message = f"writes_at_once names {name}, which is no load of this batch"
            problems.append(Problem("option", message, kind="writes_at_once", name=str(name)))
    if problems:
        raise BatchDefinitionError(problems, file)
    return by_load


def _endpoint(
    side: str, graph: BatchGraph, given: Any, connections: Mapping[str, Any] | None
) -> tuple[Any, str]:
    """Return what stands here for the definition's connection id; else what the DAG names, and a warning."""
    remote = getattr(graph.batch, f"{side}_connection_id")
    if remote is not None and remote in (connections or {}):
        return _checked(side, (connections or {})[remote]), ""
    if given is None:
        hint = f' or connections={{"{remote}": ...}}' if remote else ""
        raise ValueError(f"no {side}: give {side}=...{hint}")
    _checked(side, given)
    if remote is None:
        return given, ""
    return (
        given,
        f"connections={{...}} does not know the {side} connection {remote} of the definition; {side}= is used",
    )


def _checked(side: str, end: Any) -> Any:
    protocol = Source if side == "source" else Destination
    if not isinstance(end, str | protocol) and not (
        side == "destination" and isinstance(end, DocumentImportDestination)
    ):
        raise TypeError(
            f"{side}={end!r:.80}: give a connection id, or an object with the methods of {protocol.__name__}"
        )
    return end


class _Tasks:
    """Makes the tasks of one group."""

    def __init__(
        self,
        group: TaskGroup,
        graph: BatchGraph,
        staging: str,
        keep_staged: timedelta | None,
        ends: Mapping[str, Any],
        overlap: timedelta,
        window: timedelta | None,
        deletions: Any,
        writes_at_once: Mapping[str, int],
    ) -> None:
        self._group = group
        self._graph = graph
        self._staging = staging
        self._keep_staged = keep_staged
        self._ends = ends
        self._overlap = overlap
        self._window = window
        self._deletions = deletions
        self._writes_at_once = writes_at_once
        self._ids = task_ids(graph.nodes)
        self._nodes_of: dict[str, list[str]] = {}
        for node, job in sorted(graph.extracts.items()):
            self._nodes_of.setdefault(job.object, []).append(node)
        self._watermark = self._watermark_asset()

    def build(self) -> dict[str, BaseOperator]:
        """Make all tasks and their edges; return them by logical name."""
        tasks: dict[str, BaseOperator] = {}
        for node in self._graph.extracts:
            tasks[node] = self._extract(node)
        for name, job in self._graph.loads.items():
            tasks[job.snapshot] = self._snapshot(name)
            tasks[job.apply] = self._apply(name)
        upstream: dict[str, list[BaseOperator]] = {}
        for before, after in sorted(self._graph.edges):
            upstream.setdefault(after, []).append(tasks[before])
        for after, before_all in upstream.items():
            tasks[after].set_upstream(before_all)
        if self._watermark is not None:
            self._watermark_task(tasks)
        self._show(tasks)
        return tasks

    def _show(self, tasks: Mapping[str, BaseOperator]) -> None:
        """Have the task that comes first tell the page of the group, and remove what older runs have staged."""
        from airflow_bulk.runs.extract_load.shown import group_shown
        from airflow_bulk.runs.extract_load.staging import old_files_removed

        place = {node: number for number, node in enumerate(self._graph.order)}
        before: dict[str, list[int]] = {node: [] for node in place}
        for first, then in sorted(self._graph.edges):
            before[then].append(place[first])
        jobs = [(node, self._full_id(node), before[node]) for node in self._graph.order]
        lead = tasks[self._graph.order[0]]
        lead.inlets = with_record(lead.inlets)
        given = lead.on_execute_callback or ()
        group_id, keep = str(self._group.group_id), self._keep_staged
        lead.on_execute_callback = [
            *(given if isinstance(given, Sequence) else [given]),
            group_shown(group_id, jobs),
            *([] if keep is None else [old_files_removed(self._staging, keep, group_id)]),
        ]

    def _extract(self, node: str) -> ExtractOperator:
        job = self._graph.extracts[node]
        return ExtractOperator(
            task_id=self._ids[node],
            source=self._ends["source"],
            object_name=job.object,
            grain=job.grain,
            since=job.since,
            updated_since=job.updated_since,
            watermark=self._watermark if job.updated_since == WATERMARK else None,
            overlap=self._overlap,
            window=self._window,
            staging=self._staging,
            doc_md=self._doc(node),
        )

    def _snapshot(self, name: str) -> SnapshotOperator:
        node = self._graph.loads[name].snapshot
        return SnapshotOperator(
            task_id=self._ids[node],
            destination=self._ends["destination"],
            object_name=name,
            staging=self._staging,
            doc_md=self._doc(node),
        )

    def _apply(self, name: str) -> BaseOperator:
        job, mapping = self._graph.loads[name], self._graph.mappings[name]
        feeds = [feed for feed in mapping.feeding or () if feed in self._nodes_of]
        required = [node for feed in feeds if feed in job.extract for node in self._nodes_of[feed]]
        read_only = name in self._graph.read_only
        if not read_only and isinstance(documents := self._ends["destination"], DocumentImportDestination):
            return ApplyDocumentsOperator(
                task_id=self._ids[job.apply],
                object_name=name,
                mapping=mapping,
                extracts=[self._full_id(node) for node in required],
                staging=self._staging,
                doc_md=self._doc(job.apply),
                **documents.arguments(name),
            )
        others = sorted(set(mapping.references.values()) - {name})
        return ApplyOperator(
            task_id=self._ids[job.apply],
            destination=self._ends["destination"],
            object_name=name,
            mapping=mapping,
            extracts=[self._full_id(node) for node in required],
            snapshot=self._full_id(job.snapshot),
            references={other: self._reference_task(name, other) for other in others},
            reference_matches={other: self._graph.mappings[other].match_fields[0] for other in others},
            deletions=self._deletions,
            unrequired=[feed for feed in feeds if feed not in job.extract],
            read_only=read_only,
            writes_at_once=self._writes_at_once.get(name, 1),
            staging=self._staging,
            doc_md=self._doc(job.apply),
        )

    def _reference_task(self, name: str, other: str) -> str:
        """The other load's result if this one waits for it, else its snapshot (section 2.2 f)."""
        job = self._graph.loads[other]
        waits_for_result = other in self._graph.loads[name].load_result
        return self._full_id(job.apply if waits_for_result else job.snapshot)

    def _watermark_asset(self) -> Asset | None:
        if all(job.updated_since != WATERMARK for job in self._graph.extracts.values()):
            return None
        dag_id = self._group.dag.dag_id if self._group.dag is not None else ""
        return Asset(name=f"extract_load:{dag_id}.{self._group.group_id}"[:250])

    def _watermark_task(self, tasks: dict[str, BaseOperator]) -> None:
        assert self._watermark is not None  # noqa: S101 - asked before
        needed_by: dict[str, list[str]] = {
            self._full_id(node): []
            for node, job in self._graph.extracts.items()
            if job.updated_since == WATERMARK
        }
        for before, after in sorted(self._graph.edges):
            if (task := self._full_id(before)) in needed_by:
                needed_by[task].append(self._full_id(after))
        last = WatermarkOperator(task_id=WATERMARK_TASK, asset=self._watermark, extracts=needed_by)
        last.set_upstream([task for task in tasks.values() if not task.downstream_task_ids])

    def _full_id(self, node: str) -> str:
        return str(self._group.child_id(self._ids[node]))

    def _doc(self, node: str) -> str:
        tenant = self._graph.batch.tenant_id
        return f"`{node}`" + (f" of tenant `{tenant}`" if tenant else "")
