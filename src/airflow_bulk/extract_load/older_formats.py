"""Convert older batch formats into the newest; a part that cannot be converted is a problem that says what to write.

extract_load.md section 1.3: jobs that nest one ``extract`` and one ``load``, a single ``required_object``,
``required_objects`` as a plain list, connections written ``source.connection.id``. Nothing is
dropped here: a faulty part is passed on as it was written, so that its reader reports it under the job's own index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_bulk.extract_load.problems import Faults

_SIDES = {"extract": "source", "load": "destination"}
#: Keys of a part that must not stand beside the two parts: it would not be clear for which part they are meant.
_PART_KEYS = ("object", "grain", "since", "updated_since", "connection_id", "allowDelete")
_NESTED_KEYS = (*_SIDES, "required_objects", "required_object")


@dataclass(frozen=True, slots=True)
class WrittenJob:
    """One job in the newest format.

    :param index: 0-based index in the definition as written.
    :param fields: the job's fields.
    :param required: everything that was written as its ``required_objects``, in the newest form, or unchanged where it
        is faulty; the job requires all objects that they name.
    :param nested: the job was part of a nested job; several of those may name one object.
    """

    index: int
    fields: Mapping[str, Any]
    required: tuple[Any, ...] = ()
    nested: bool = False


def current_jobs(
    definition: Mapping[str, Any], faults: Faults
) -> tuple[dict[str, Any], Iterator[WrittenJob]]:
    """Return the batch without its jobs, and its jobs in the newest format."""
    batch = _without_old_connections(definition)
    jobs = list(_job_dicts(batch.pop("jobs", None), faults))
    nested = {index: job for index, job in jobs if _is_nested(job)}
    _take_connections(batch, definition, nested, faults)
    if nested:
        where = ", ".join(map(str, list(nested)[:20]))
        faults.warn(f"older format (extract and load nested in one job) was converted: jobs {where}")
    return batch, _written(jobs, nested, faults)


def _job_dicts(jobs: object, faults: Faults) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if jobs is None or not isinstance(jobs, list | tuple):
        found = "is missing" if jobs is None else f"must be a list, but is {jobs!r}"
        faults.add("no-jobs", f"`jobs` {found}", kind="jobs")
        return
    if not jobs:
        faults.warn("`jobs` is empty: the batch does nothing")
    for index, job in enumerate(jobs):
        if isinstance(job, Mapping):
            yield index, job
        else:
            faults.add("not-a-job", f"must be an object, but is {job!r}", index)


def _is_nested(job: Mapping[str, Any]) -> bool:
    return "type" not in job and any(isinstance(job.get(side), Mapping) for side in _SIDES)


def _written(
    jobs: Iterable[tuple[int, Mapping[str, Any]]], nested: Mapping[int, Any], faults: Faults
) -> Iterator[WrittenJob]:
    for index, job in jobs:
        if index in nested:
            yield from _unnested(index, job, faults)
        else:
            fields = {key: value for key, value in job.items() if key != "required_object"}
            yield WrittenJob(index, fields, tuple(_requirements(index, job, faults)))


def _requirements(index: int, part: Mapping[str, Any], faults: Faults) -> Iterator[Any]:
    """Give requirements their newest form; faulty ones are passed on unchanged."""
    single = part.get("required_object")
    if isinstance(single, str) and single:
        faults.warn("older format (required_object) was converted to required_objects.extract", index)
        yield {"extract": [single]}
    elif single is not None and single != "":
        message = (
            f"required_object must be one extract's name, but is {single!r}: write required_objects.extract"
        )
        faults.add("older-format", message, index, kind="required_object")
    required = part.get("required_objects")
    if isinstance(required, list | tuple):
        if required:
            message = "older format (required_objects as a list) was converted to required_objects.extract"
            faults.warn(message, index)
            yield {"extract": required}
    elif required is not None:
        yield required


def _unnested(index: int, job: Mapping[str, Any], faults: Faults) -> Iterator[WrittenJob]:
    """Return one extract job and one load job that requires it."""
    _check_beside(index, job, faults)
    extract, load = job.get("extract"), job.get("load")
    required = tuple(_requirements(index, job, faults))
    if extract is not None:
        part = _part(index, "extract", extract, faults)
        own = tuple(_requirements(index, part, faults))
        yield WrittenJob(index, _fields("extract", part), own if load is not None else own + required, True)
        name = part.get("object")
        if isinstance(name, str) and name.strip():  # else its reader reports what is wrong with it
            required = ({"extract": [name]}, *required)
    if load is not None:
        part = _part(index, "load", load, faults)
        required = (*required, *_requirements(index, part, faults))
        yield WrittenJob(index, _fields("load", part), required, True)
        if "allowDelete" in part:
            message = "allowDelete has no effect: deletions are asked for with the task group's `deletions`"
            faults.warn(message, index)


def _check_beside(index: int, job: Mapping[str, Any], faults: Faults) -> None:
    """Report what stands beside the two parts: it must not get lost."""
    beside = _without_old_connections(job)
    for key in _PART_KEYS:
        if key in beside:
            del beside[key]
            message = (
                f"older format: {key} stands beside extract and load; to convert, write it inside one of them"
            )
            faults.add("older-format", message, index, kind=key)
    connections = tuple(f"{side}_connection_id" for side in _SIDES.values())
    faults.check_keys(beside, (*_NESTED_KEYS, *connections), "the nested job", index)


def _part(index: int, kind: str, part: object, faults: Faults) -> Mapping[str, Any]:
    if not isinstance(part, Mapping):
        message = f"{kind} of a nested job must be an object with its `object`, but is {part!r}"
        faults.add("not-an-object", message, index, kind=kind)
        return {"object": part} if isinstance(part, str) else {}
    if part.get("type", kind) != kind:
        message = f"{kind} of a nested job has the type {part['type']!r}: leave the type out"
        faults.add("older-format", message, index, kind="type", name=str(part["type"]))
    return part


def _fields(kind: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a part, without those that another function here converts."""
    side = _SIDES[kind]
    fields = _without_old_connections(part)
    for key in ("required_object", f"{side}_connection_id", *(["allowDelete"] if kind == "load" else [])):
        fields.pop(key, None)
    if _inner(part, "connection", "id") is not None:
        del fields["connection"]
    return {**fields, "type": kind}


def _take_connections(
    batch: dict[str, Any], definition: Mapping[str, Any], nested: Mapping[int, Any], faults: Faults
) -> None:
    """Find the one connection of each side, wherever the older formats wrote it."""
    for kind, side in _SIDES.items():
        key = f"{side}_connection_id"
        plain = definition.get(key)  # its reader reports it if it is no text
        found: dict[str, list[int]] = {plain: []} if isinstance(plain, str) and plain else {}
        places: list[tuple[tuple[int, ...], Any]] = [((), _path(definition, side))]
        for index, job in nested.items():
            part = job.get(kind)
            inside = part if isinstance(part, Mapping) else {}
            places += [
                ((index,), job.get(key)),
                ((index,), _path(job, side)),
                ((index,), _path(inside, side)),
            ]
            places += [((index,), identifier) for identifier in _own(inside, key)]
        for indexes, identifier in places:
            if isinstance(identifier, str) and identifier:
                found.setdefault(identifier, []).extend(indexes)
            elif identifier is not None and identifier != "":
                message = f"older format: the id of a {side} connection must be text, but is {identifier!r}"
                faults.add("not-text", message, *indexes, kind=key, name=str(identifier))
        if len(found) == 1 and batch.get(key) in (None, ""):
            batch[key] = next(iter(found))
        if len(found) > 1:
            message = (
                f"older format: jobs use {len(found)} {side} connections ({', '.join(sorted(found))}), but a batch has"
                " one; to convert, make one batch for each pair of connections"
            )
            jobs = sorted({index for indexes in found.values() for index in indexes})
            faults.add("older-format", message, *jobs, kind=key)


def _without_old_connections(place: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without the older forms of a connection's id; a form that cannot be read stays."""
    old = {f"{side}.connection.id" for side in _SIDES.values()}
    old |= {side for side in _SIDES.values() if _inner(place, side, "connection", "id") is not None}
    return {key: value for key, value in place.items() if key not in old}


def _path(place: Mapping[str, Any], side: str) -> Any:
    """Read ``source.connection.id``, nested or written as one key."""
    value = place.get(f"{side}.connection.id")
    return _inner(place, side, "connection", "id") if value is None else value


def _own(part: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    return part.get("connection_id"), part.get(key), _inner(part, "connection", "id")


def _inner(place: Any, *steps: str) -> Any:
    for step in steps:
        place = place.get(step) if isinstance(place, Mapping) else None
    return place
