"""Older batch formats, turned into the newest; what cannot be turned is a problem that says how to.

extract_load.md section 1.3: jobs that nest one ``extract`` and one ``load``, a single ``required_object``,
``required_objects`` as a plain list, connections written ``source.connection.id``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_bulk.batches.definition import Faults

Job = dict[str, Any]
_SIDES = {"extract": "source", "load": "destination"}
_EXTRACT_KEYS = ("grain", "since", "updated_since")


def current_jobs(
    definition: Mapping[str, Any], faults: Faults
) -> tuple[dict[str, Any], list[tuple[int, Job]]]:
    """Return the batch without its jobs, and its jobs in the newest format, each with its index as written."""
    batch = {key: value for key, value in definition.items() if not _is_old_connection(key, value)}
    jobs = list(_job_dicts(batch.pop("jobs", None), faults))
    nested = [(index, job) for index, job in jobs if _is_nested(job)]
    flat = [(index, _flat(index, job, faults)) for index, job in jobs if not _is_nested(job)]
    _take_connections(batch, definition, nested, faults)
    if nested:
        where = ", ".join(str(index) for index, _ in nested[:20])
        faults.warn(f"older format (extract and load nested in one job) was converted: jobs {where}")
    return batch, sorted([*flat, *_unnested(nested, faults)], key=lambda entry: entry[0])


def _job_dicts(jobs: object, faults: Faults) -> Iterator[tuple[int, Job]]:
    if jobs is None or not isinstance(jobs, list | tuple):
        found = "is missing" if jobs is None else f"must be a list, but is {jobs!r}"
        faults.add("no-jobs", f"`jobs` {found}", kind="jobs")
        return
    if not jobs:
        faults.warn("`jobs` is empty: the batch does nothing")
    for index, job in enumerate(jobs):
        if isinstance(job, Mapping):
            yield index, dict(job)
        else:
            faults.add("not-a-job", f"must be an object, but is {job!r}", index)


def _is_nested(job: Job) -> bool:
    return "type" not in job and any(isinstance(job.get(side), Mapping) for side in _SIDES)


def _flat(index: int, job: Job, faults: Faults) -> Job:
    """Give a job's requirements their newest form."""
    names: list[Any] = []
    if "required_object" in job:
        single = job.pop("required_object")
        if isinstance(single, str) and single:
            names.append(single)
            faults.warn("older format (required_object) was converted to required_objects.extract", index)
        elif single:
            message = f"required_object must be one extract's name, but is {single!r}: write required_objects.extract"
            faults.add("older-format", message, index, kind="required_object")
    required = job.get("required_objects")
    if isinstance(required, list | tuple):
        names.extend(required)
        required = {}
        if names:
            faults.warn(
                "older format (required_objects as a list) was converted to required_objects.extract", index
            )
        job["required_objects"] = {"extract": names}
    elif names:
        if isinstance(required, Mapping):
            extract = required.get("extract")
            names.extend(extract if isinstance(extract, list | tuple) else [])
        if required is None or isinstance(required, Mapping):
            job["required_objects"] = {**(required or {}), "extract": names}
    return job


def _unnested(nested: list[tuple[int, Job]], faults: Faults) -> Iterator[tuple[int, Job]]:
    """One extract job each, one load job per distinct load object that requires all its extracts."""
    # Keys are texts, since a faulty name may be anything; faults are found when the converted job is read.
    extracts: dict[tuple[str, str], tuple[int, Job]] = {}
    loads: dict[str, tuple[int, Job]] = {}
    for index, job in nested:
        required = list(_flat(index, dict(job), faults).get("required_objects", {}).get("extract", ()))
        extract, load = job.get("extract"), job.get("load")
        if isinstance(extract, Mapping):
            new = {"type": "extract", "object": extract.get("object")}
            new.update({key: extract[key] for key in _EXTRACT_KEYS if key in extract})
            identity = (str(extract.get("object")), str(extract.get("grain") or ""))
            first = extracts.setdefault(identity, (index, new))
            if first[1] != new:
                _refuse_two_bounds(first[0], index, new, faults)
            required.append(extract.get("object"))
        if isinstance(load, Mapping):
            new = {"type": "load", "object": load.get("object"), "required_objects": {"extract": []}}
            _, kept = loads.setdefault(str(load.get("object")), (index, new))
            kept["required_objects"]["extract"].extend(name for name in required if name)
            if "allowDelete" in load:
                message = (
                    "allowDelete has no effect: deletions are asked for with the task group's `deletions`"
                )
                faults.warn(message, index)
    yield from extracts.values()
    yield from loads.values()


def _refuse_two_bounds(first: int, second: int, extract: Job, faults: Faults) -> None:
    name = f"{extract['object']}@{extract['grain']}" if extract.get("grain") else str(extract["object"])
    message = (
        f"older format: extract {name} has different bounds in two jobs, but becomes one extract job; to convert,"
        " give both the same since and updated_since, or make two batches"
    )
    faults.add("older-format", message, first, second, kind="extract", name=name)


def _take_connections(
    batch: dict[str, Any], definition: Mapping[str, Any], nested: list[tuple[int, Job]], faults: Faults
) -> None:
    """Find the one connection of each side, wherever the older formats wrote it."""
    for kind, side in _SIDES.items():
        key = f"{side}_connection_id"
        found: dict[str, list[int]] = {}
        for place, index in [(definition, None), *((job, index) for index, job in nested)]:
            nested_part = None if index is None else place.get(kind)
            part = nested_part if isinstance(nested_part, Mapping) else {}
            for identifier in (place.get(key), _path(place, side), _path(part, side), *_own(part, key)):
                if isinstance(identifier, str) and identifier:
                    found.setdefault(identifier, []).extend([] if index is None else [index])
        if len(found) == 1:
            batch[key] = next(iter(found))
        elif len(found) > 1:
            message = (
                f"older format: jobs use {len(found)} {side} connections ({', '.join(sorted(found))}), but a batch has"
                " one; to convert, make one batch for each pair of connections"
            )
            jobs = sorted({index for indexes in found.values() for index in indexes})
            faults.add("older-format", message, *jobs, kind=key)


def _is_old_connection(key: object, value: object) -> bool:
    sides = _SIDES.values()
    return (key in sides and isinstance(value, Mapping)) or key in {f"{side}.connection.id" for side in sides}


def _path(place: Mapping[str, Any], side: str) -> Any:
    """Read ``source.connection.id``, nested or written as one key."""
    value: Any = place.get(f"{side}.connection.id")
    if value is None:
        value = place.get(side)
        for step in ("connection", "id"):
            value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _own(part: Mapping[str, Any], key: str) -> Iterator[Any]:
    yield part.get("connection_id")
    yield part.get(key)
    connection = part.get("connection")
    yield connection.get("id") if isinstance(connection, Mapping) else None
