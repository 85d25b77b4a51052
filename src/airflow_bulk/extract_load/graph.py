"""A batch as a graph: what runs before what.

extract_load.md section 6: every extract job is one node, every load job two: ``snapshot`` reads what the destination
holds, ``apply`` writes. ``required_objects.load`` waits for snapshots, ``.load_result`` for applies, ``.extract`` for
extracts. Extracts and snapshots never wait, so every cycle consists of applies only.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_bulk.extract_load.cycles import simple_cycles
from airflow_bulk.extract_load.definition import DefinedBatch, ExtractJob, LoadJob, read_batch
from airflow_bulk.extract_load.feeding import resolve_mappings, warn_of_missing_feeds
from airflow_bulk.extract_load.mapping import LoadMapping
from airflow_bulk.extract_load.problems import BatchDefinitionError, Faults, Names, Problem, size_problem

READ_ONLY = frozenset({"periods"})
_CYCLES_SHOWN = 100


@dataclass(frozen=True)
class BatchGraph:
    """A compiled batch.

    :param nodes: logical names, e.g. ``extract:ProfitAndLoss@daily``, ``snapshot:accounts``, ``apply:accounts``.
    :param edges: ``(before, after)`` pairs of logical names.
    :param warnings: sentences about what is allowed but probably a mistake.
    :param order: the nodes, each after all nodes that it waits for; depends only on names, not on the order of jobs.
    :param extracts: extract node -> its job.
    :param loads: load object -> its job.
    :param mappings: load object -> its mapping, where one is known, with `feeds` filled in.
    :param read_only: the load objects of this batch that are never written.
    :param batch: the definition as read.
    """

    nodes: frozenset[str]
    edges: frozenset[tuple[str, str]]
    warnings: tuple[str, ...]
    order: tuple[str, ...]
    extracts: Mapping[str, ExtractJob]
    loads: Mapping[str, LoadJob]
    mappings: Mapping[str, LoadMapping]
    read_only: frozenset[str]
    batch: DefinedBatch

    def upstream(self, node: str) -> frozenset[str]:
        """Return the nodes that *node* waits for."""
        return frozenset(before for before, after in self.edges if after == node)


def compile_batch(
    definition: Mapping[str, Any],
    read_only: Iterable[str] = READ_ONLY,
    *,
    mappings: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> BatchGraph:
    """Turn a batch definition into its graph.

    :param definition: the batch, from :func:`load_definition` or a dict.
    :param read_only: load objects that are read and never written (extract_load.md section 6.8).
    :param mappings: load object -> :class:`LoadMapping` (or dict); these replace the definition's own. When given, even
        if empty, a load with unknown feeds is a problem.
    :param strict: a part that has no effect is a problem, not a warning.
    :raises BatchDefinitionError: with every fault of the definition.
    """
    if not isinstance(definition, Mapping):
        message = f"a definition is a dict or load_definition(FILE), not {type(definition).__name__} {definition!r:.80}"
        raise BatchDefinitionError([Problem("not-a-batch", message)])
    if problem := size_problem([definition, mappings]):
        raise BatchDefinitionError([problem], getattr(definition, "source", None))
    faults = Faults(strict=strict)
    batch = read_batch(definition, faults)
    read_only = frozenset(read_only)
    extracts = _extract_nodes(batch.extracts, faults)
    _check_duplicate_loads(batch.loads, faults)
    jobs = [_effective(job, read_only, faults) for job in batch.loads]
    loads = _united(jobs)
    edges = _edges(jobs, loads, extracts, faults)
    _check_cycles(jobs, faults)
    known = resolve_mappings(batch, loads, mappings, read_only, faults)
    warn_of_missing_feeds(batch, loads, known, read_only, faults)
    if faults.problems:
        raise BatchDefinitionError(faults.problems, getattr(definition, "source", None))
    nodes = frozenset([*extracts, *(node for job in loads.values() for node in (job.snapshot, job.apply))])
    return BatchGraph(
        nodes=nodes,
        edges=frozenset(edges),
        warnings=tuple(faults.warnings),
        order=_topological(nodes, edges),
        extracts=extracts,
        loads=loads,
        mappings=known,
        read_only=read_only & set(loads),
        batch=batch,
    )


def _extract_nodes(jobs: Iterable[ExtractJob], faults: Faults) -> dict[str, ExtractJob]:
    by_node: dict[str, list[ExtractJob]] = defaultdict(list)
    for job in jobs:
        by_node[job.node].append(job)
    for same in by_node.values():
        grain = f" with grain {same[0].grain}" if same[0].grain else ""
        indexes = [job.index for job in same]
        if len(same) > 1 and not all(job.nested and job.grain == same[0].grain for job in same):
            message = f"extract {same[0].object}{grain} is given {len(same)} times: results would overwrite each other"
            faults.add("duplicate-extract", message, *indexes, kind="extract", name=same[0].object)
        elif len({(job.since, job.updated_since) for job in same}) > 1:
            message = (
                f"older format: extract {same[0].object}{grain} has different bounds in {len(same)} jobs, but becomes one"
                f" extract job; to convert, give {'both' if len(same) == 2 else 'all'} the same since and updated_since, or"
                " make a batch for each"
            )
            faults.add("older-format", message, *indexes, kind="extract", name=same[0].object)
    return {node: same[0] for node, same in by_node.items()}


def _check_duplicate_loads(jobs: Iterable[LoadJob], faults: Faults) -> None:
    """Names that differ only in case have the same endpoint (extract_load.md section 6.5): they are duplicates."""
    by_endpoint: dict[str, list[LoadJob]] = defaultdict(list)
    for job in jobs:
        by_endpoint[job.object.lower()].append(job)
    for same in by_endpoint.values():
        if len(same) > 1 and not _are_one_load(same):
            names = " and ".join(sorted({job.object for job in same}))
            verb = (
                "hit the same destination"
                if len({job.object for job in same}) > 1
                else "is given more than once"
            )
            message = f"load {names} {verb}: records would be created twice"
            indexes = [job.index for job in same]
            faults.add("duplicate-load", message, *indexes, kind="load", name=same[0].object)


def _are_one_load(jobs: list[LoadJob]) -> bool:
    """Nested jobs of the older format may name one load object (extract_load.md section 1.3)."""
    return all(job.nested and job.object == jobs[0].object for job in jobs)


def _united(jobs: Iterable[LoadJob]) -> dict[str, LoadJob]:
    """Return the loads by object; nested jobs of one object become one load that requires what they require."""
    loads: dict[str, LoadJob] = {}
    for job in jobs:
        first = loads.setdefault(job.object, job)
        if first is not job and first.nested and job.nested:
            loads[job.object] = replace(
                first,
                extract=tuple(dict.fromkeys([*first.extract, *job.extract])),
                load=tuple(dict.fromkeys([*first.load, *job.load])),
                load_result=tuple(dict.fromkeys([*first.load_result, *job.load_result])),
            )
    return loads


def _effective(job: LoadJob, read_only: frozenset[str], faults: Faults) -> LoadJob:
    """Drop the requirements that a job cannot wait for: all if it is read-only, and always its own result."""
    if job.object in read_only and job.requires:
        faults.ignored(
            "ignored-requirements",
            f"load {job.object} is read-only: its required_objects have no effect",
            *(job.index,),
            kind="required_objects",
            name=job.object,
        )
        return LoadJob(job.index, job.object, nested=job.nested)
    if job.object in job.load_result:
        message = f"load {job.object} cannot wait for its own result (load_result names {job.object})"
        faults.add("own-result", message, job.index, kind="load_result", name=job.object)
    load, load_result = (
        tuple(name for name in names if name != job.object) for names in (job.load, job.load_result)
    )
    return replace(job, load=load, load_result=load_result)


def _edges(
    jobs: Iterable[LoadJob], loads: Mapping[str, LoadJob], extracts: Mapping[str, ExtractJob], faults: Faults
) -> set[tuple[str, str]]:
    by_object: dict[str, list[str]] = defaultdict(list)
    for node, extract in extracts.items():
        by_object[extract.object].append(node)
    extract_names, load_names = Names(by_object), Names(loads)
    edges: set[tuple[str, str]] = set()
    for job in jobs:
        edges.add((job.snapshot, job.apply))
        for name in job.extract:
            if name in by_object:
                edges.update((node, job.apply) for node in by_object[name])
            else:
                _add_missing(job, "extract", name, extract_names, load_names, faults)
        for kind, names in (("load", job.load), ("load_result", job.load_result)):
            for name in names:
                if name in loads:
                    edges.add((loads[name].snapshot if kind == "load" else loads[name].apply, job.apply))
                else:
                    _add_missing(job, kind, name, load_names, extract_names, faults)
    return edges


def _add_missing(job: LoadJob, kind: str, name: str, own: Names, other: Names, faults: Faults) -> None:
    what, elsewhere = ("extract", "load or load_result") if kind == "extract" else ("load", "extract")
    near = own.near(name)
    if name in other:
        hint = f"; {name!r} is the name of {'a load' if kind == 'extract' else 'an extract'} job: is {elsewhere} meant?"
    elif near:
        hint = f"; did you mean {near!r}?"
    else:
        hint = f"; {what} jobs are: {own}"
    message = (
        f"load {job.object}: required_objects.{kind} names {name!r}, but no {what} job has this object{hint}"
    )
    if near or name in other:
        message += f" ({what} jobs are: {own})"
    faults.add("missing", message, job.index, kind=kind, name=name, near=near)


def _check_cycles(jobs: Iterable[LoadJob], faults: Faults) -> None:
    indexes: dict[str, set[int]] = defaultdict(set)
    waiters: dict[str, list[str]] = {job.object: [] for job in jobs}
    for job in sorted(jobs, key=lambda job: job.object):
        indexes[job.object].add(job.index)
        for name in job.load_result:
            if name in waiters and job.object not in waiters[name]:
                waiters[name].append(job.object)
    for number, cycle in enumerate(simple_cycles(waiters)):
        members = sorted(index for name in cycle for index in indexes[name])
        if number == _CYCLES_SHOWN:
            message = f"there are more than {_CYCLES_SHOWN} load_result cycles: mend those above first"
            faults.add("more-cycles", message, kind="load_result")
            return
        closed = (*cycle, cycle[0])
        message = (
            f"load_result cycle {' -> '.join(closed)}: each waits for the result of the one before it, for ever;"
            " perhaps `load` is meant instead of `load_result` in one of them"
        )
        faults.add("cycle", message, *members, kind="load_result", cycle=closed)


def _topological(nodes: frozenset[str], edges: set[tuple[str, str]]) -> tuple[str, ...]:
    waiting = dict.fromkeys(nodes, 0)
    after: dict[str, list[str]] = defaultdict(list)
    for before, node in edges:
        waiting[node] += 1
        after[before].append(node)
    ready = [node for node, count in waiting.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        node = heapq.heappop(ready)
        order.append(node)
        for later in after[node]:
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, later)
    return tuple(order)
