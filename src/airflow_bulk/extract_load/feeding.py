"""Which extracts feed which load: the mappings of the definition and of the DAG are matched with the jobs.

An extract that feeds a load, but that the load does not require, is dangerous on the server (extract_load.md section
2.3): its data may be missing when the load runs, and then the records that it would have matched look like orphans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_bulk.extract_load.definition import DefinedBatch, LoadJob
from airflow_bulk.extract_load.mapping import LoadMapping, default_feeds, read_mapping
from airflow_bulk.extract_load.problems import Faults, Names


def resolve_mappings(
    batch: DefinedBatch,
    loads: Mapping[str, LoadJob],
    given: Mapping[str, Any] | None,
    read_only: frozenset[str],
    faults: Faults,
) -> dict[str, LoadMapping]:
    """Return load object -> its mapping with `feeds` filled in; loads with unknown feeds are left out.

    :param given: the DAG's mappings, which replace those of the definition; with ``None`` a load without a mapping is
        no problem.
    """
    raw = {**batch.mappings, **(given or {})}
    extracts, load_names = Names(job.object for job in batch.extracts), Names(loads)
    for name in sorted(set(map(str, raw)) - set(loads)):
        near = load_names.near(name)
        message = f"mapping {name!r}: no load job has this object" + _hint(near, load_names, "load")
        faults.add("mapping", message, kind="mappings", name=name, near=near)
    mappings: dict[str, LoadMapping] = {}
    for name, job in loads.items():
        try:
            mapping = read_mapping(raw[name]) if name in raw else LoadMapping()
        except ValueError as error:
            faults.add("mapping", f"load {name}: its mapping: {error}", job.index, kind="mappings", name=name)
            continue
        feeds = () if name in read_only else _feeds(job, mapping, extracts, faults)
        _check_references(job, mapping, load_names, faults)
        if feeds is not None:
            mappings[name] = replace(mapping, feeds=feeds)
        elif given is not None:
            message = (
                f"load {name}: nothing says which of its extracts ({', '.join(job.extract)}) feed it: give"
                f' mappings={{"{name}": LoadMapping(feeds=[...])}}'
            )
            faults.add("mapping", message, job.index, kind="mappings", name=name)
    return mappings


def _feeds(job: LoadJob, mapping: LoadMapping, extracts: Names, faults: Faults) -> tuple[str, ...] | None:
    if mapping.feeding is None:
        feeds = default_feeds(job.object, job.extract)
        return None if feeds is None else tuple(name for name in feeds if name in extracts)
    for name in mapping.feeding:
        if name not in extracts:
            near = extracts.near(name)
            message = (
                f"load {job.object}: its mapping's feeds name {name!r}, but no extract job has this object"
            )
            message += _hint(near, extracts, "extract")
            faults.add("mapping", message, job.index, kind="feeds", name=name, near=near)
    return mapping.feeding


def _check_references(job: LoadJob, mapping: LoadMapping, loads: Names, faults: Faults) -> None:
    """A reference is looked up in the result or the snapshot of the other load, so the batch must have that load."""
    there = {job.object, *job.load, *job.load_result}
    for field, name in mapping.references.items():
        if name in there:
            continue
        near = None if name in loads else loads.near(name)
        message = f"load {job.object}: its mapping's reference {field} -> {name!r} "
        if name in loads:
            message += f"needs {name!r} in required_objects.load_result (or .load) of this job"
        else:
            message += "names no load job" + _hint(near, loads, "load")
        faults.add("mapping", message, job.index, kind="references", name=name, near=near)


def warn_of_missing_feeds(
    batch: DefinedBatch,
    loads: Mapping[str, LoadJob],
    mappings: Mapping[str, LoadMapping],
    read_only: frozenset[str],
    faults: Faults,
) -> None:
    """Warn of extracts that feed a load which does not require them, and of loads that no extract feeds."""
    present = {job.object for job in batch.extracts}
    for job in sorted(loads.values(), key=lambda job: job.index):
        if job.object in read_only or job.object not in mappings:
            continue
        feeds = mappings[job.object].feeding or ()
        if missing := [name for name in feeds if name in present and name not in job.extract]:
            names = ", ".join(missing)
            faults.warn(
                f"load {job.object} is fed by {names}, but does not require it: its records are not used, and deletions"
                " are refused; add it to required_objects.extract",
                job.index,
            )
        elif not feeds:
            faults.warn(
                f"load {job.object} is fed by no extract of this batch: its apply changes nothing", job.index
            )


def _hint(near: str | None, names: Names, kind: str) -> str:
    return f"; did you mean {near!r}?" if near else f"; {kind} jobs are: {names}"
