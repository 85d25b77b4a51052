"""Turn a definition into what the batch server takes: only its own fields, the newest format, times as ISO text.

Mappings, ``window`` and ``watermark`` have a meaning only where the batch runs as tasks. The server would ignore the
fields of older formats (extract_load.md section 1.3), and its loads would not wait for their extracts, so this module
converts them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from airflow_bulk.extract_load.definition import REQUIREMENTS
from airflow_bulk.extract_load.older_formats import WrittenJob, current_jobs
from airflow_bulk.extract_load.problems import BatchDefinitionError, Faults
from airflow_bulk.extract_load.times import WATERMARK, WINDOW, read_time, to_text

#: Fields of a batch that a client may send (extract_load.md section 1.1).
_BATCH_FIELDS = (
    *("tenant_id", "source_connection_id", "destination_connection_id", "since", "updated_since", "jobs"),
)
_BOUNDS = ("since", "updated_since")


def server_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch to send.

    :param definition: the definition, its templates rendered.
    :raises ValueError: an id, which the server assigns; a bound that no server knows; a value that is no time; an
        older format that cannot be converted.
    """
    if definition.get("id") or definition.get("_id"):
        raise ValueError("a new batch must not have an id: the server assigns it")
    faults = Faults()
    given, written = current_jobs(definition, faults)
    batch = _with_text_bounds({key: given[key] for key in _BATCH_FIELDS if key in given}, "the batch")
    jobs = _merged(written, batch)
    if faults.problems:
        raise BatchDefinitionError(faults.problems, getattr(definition, "source", None))
    return {**batch, "jobs": jobs}


def _merged(written: Iterable[WrittenJob], batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jobs; nested ones that name one object become one job."""
    jobs: dict[Hashable, dict[str, Any]] = {}
    for number, job in enumerate(written):
        fields = {key: value for key, value in job.fields.items() if key != "required_objects"}
        fields = _with_text_bounds(fields, f"job {job.index}")
        is_load = fields.get("type") == "load"
        identity = (is_load, str(fields.get("object")), is_load or str(fields.get("grain") or ""))
        first = jobs.setdefault(identity if job.nested else number, fields)
        if not is_load and any(
            first.get(key, batch.get(key)) != fields.get(key, batch.get(key)) for key in _BOUNDS
        ):
            message = f"older format: extract {fields.get('object')} has different bounds in several jobs; give all the same"
            raise ValueError(f"job {job.index}: {message}")
        before = [first["required_objects"]] if "required_objects" in first else []
        if required := [*before, *job.required]:
            first["required_objects"] = _united(required, job.index)
    return list(jobs.values())


def _united(required: list[Any], index: int) -> Any:
    """Return requirements with all names of all *required*; a single value is returned unchanged."""
    if len(required) == 1:
        return required[0]
    names: dict[str, list[Any]] = {}
    for part in required:
        parts = part.items() if isinstance(part, Mapping) else [("", part)]
        for key, value in parts:
            if key not in REQUIREMENTS or not isinstance(value, list | tuple):
                raise ValueError(
                    f"job {index}: required_objects: {part!r} cannot be converted; write lists of names"
                )
            names[key] = [*names.get(key, []), *(name for name in value if name not in names.get(key, []))]
    return names


def _with_text_bounds(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    result = dict(part)
    for key in _BOUNDS:
        if key not in part:
            continue
        if part[key] in (WINDOW, WATERMARK):
            raise ValueError(
                f"{where}: {key}: {part[key]!r} is known to tasks alone; give the server a time, or a template of one"
            )
        try:
            instant = read_time(part[key])
        except ValueError as error:
            raise ValueError(f"{where}: {key}: {error}") from None
        result[key] = None if instant is None else to_text(instant)
    return result
