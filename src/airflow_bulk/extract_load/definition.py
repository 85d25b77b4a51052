"""Read a batch definition job by job; every fault is noted with the index of its job.

Facts: extract_load.md sections 1.1, 1.2, 5 and 6.7. Where the server ignores a part without an error, this
module reports an error if that part could change what runs, else a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_bulk.extract_load.older_formats import WrittenJob, current_jobs
from airflow_bulk.extract_load.problems import Faults, Names, meant
from airflow_bulk.extract_load.times import WATERMARK, WINDOW, normal_bound, odd_digits

REQUIREMENTS = ("extract", "load", "load_result")
JOB_TYPES = ("extract", "load")
_BOUND_WORDS = {"since": frozenset({WINDOW}), "updated_since": frozenset({WINDOW, WATERMARK})}
_JOB_KEYS = ("type", "object", "grain", "since", "updated_since", "required_objects", "connection_id")
_BATCH_KEYS = (
    *(
        "name",
        "tenant_id",
        "source_connection_id",
        "destination_connection_id",
        "since",
        "updated_since",
        "jobs",
    ),
    "mappings",
)


@dataclass(frozen=True, slots=True)
class ExtractJob:
    """One extract job; bounds that it does not give come from the batch.

    :param index: 0-based index in the definition as written.
    :param since: lower bound of time in the data: ISO text, a template, ``window``, or ``None``.
    :param updated_since: lower bound of the time of change: as *since*, or ``watermark``.
    :param nested: the job was part of a nested job of the older format; several of those may name one extract.
    """

    index: int
    object: str
    grain: str | None = None
    since: str | None = None
    updated_since: str | None = None
    nested: bool = False

    @property
    def node(self) -> str:
        """The logical name of its node, e.g. ``extract:ProfitAndLoss@daily``."""
        return f"extract:{self.object}@{self.grain}" if self.grain else f"extract:{self.object}"


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One load job; *extract*, *load* and *load_result* are the names it requires, each once.

    :param nested: the job was part of a nested job of the older format; several of those may name one load.
    """

    index: int
    object: str
    extract: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    load_result: tuple[str, ...] = ()
    nested: bool = False

    @property
    def snapshot(self) -> str:
        """The logical name of the node that reads what is there now."""
        return f"snapshot:{self.object}"

    @property
    def apply(self) -> str:
        """The logical name of the node that writes."""
        return f"apply:{self.object}"

    @property
    def requires(self) -> bool:
        """Whether it requires anything."""
        return bool(self.extract or self.load or self.load_result)


@dataclass(frozen=True, slots=True)
class DefinedBatch:
    """A definition as read, with its jobs in the order of the file; that order has no meaning."""

    extracts: tuple[ExtractJob, ...] = ()
    loads: tuple[LoadJob, ...] = ()
    name: str | None = None
    tenant_id: str | None = None
    source_connection_id: str | None = None
    destination_connection_id: str | None = None
    mappings: Mapping[str, Any] = field(default_factory=dict)


def read_batch(definition: Mapping[str, Any], faults: Faults) -> DefinedBatch:
    """Return the batch that *definition* describes; a part that cannot be read is noted in *faults* and left out."""
    batch, jobs = current_jobs(definition, faults)
    faults.check_keys(batch, _BATCH_KEYS, "the batch")
    inherited = {key: _bound(batch, key, "the batch", faults) for key in _BOUND_WORDS}
    extracts: list[ExtractJob] = []
    loads: list[LoadJob] = []
    for job in jobs:
        kind = _type(job.fields, job.index, faults)
        name = _object(job.fields, job.index, kind, faults)
        faults.check_keys(job.fields, _JOB_KEYS, "the job", job.index)
        if kind == "extract":
            extract = _extract(job, name, inherited, faults)
            if name:
                extracts.append(extract)
        elif kind == "load":
            load = _load(job, name, faults)
            if name:
                loads.append(load)
    mappings = batch.get("mappings") or {}
    if not isinstance(mappings, Mapping):
        faults.add("not-a-dict", "mappings must be a dict: load object -> mapping", kind="mappings")
        mappings = {}
    return DefinedBatch(
        extracts=tuple(extracts),
        loads=tuple(loads),
        mappings=mappings,
        **{key: _text(batch, key, faults) for key in _BATCH_KEYS[:4]},
    )


def _type(job: Mapping[str, Any], index: int, faults: Faults) -> str | None:
    kind = job.get("type")
    allowed = " or ".join(JOB_TYPES)
    if kind is None or kind == "":
        faults.add("missing-type", f"has no `type`: it must be {allowed}", index, kind="type")
        return None
    if kind in JOB_TYPES:
        return str(kind)
    near = Names(JOB_TYPES).near(str(kind))
    message = f"unknown type {kind!r}: it must be {allowed}{meant(near)}"
    faults.add("unknown-type", message, index, kind="type", name=str(kind), near=near)
    return None


def _object(job: Mapping[str, Any], index: int, kind: str | None, faults: Faults) -> str:
    name = job.get("object")
    if isinstance(name, str) and name.strip():
        return name
    what = f"the {kind} job" if kind else "it"
    if name is None or isinstance(name, str):
        faults.add("missing-object", f"{what} has no `object`", index, kind="object")
    else:
        message = f"`object` must be text, but is {name!r} ({type(name).__name__}; quote it in YAML)"
        faults.add("missing-object", message, index, kind="object", name=str(name))
    return ""


def _extract(job: WrittenJob, name: str, inherited: Mapping[str, str | None], faults: Faults) -> ExtractJob:
    if any(job.required):
        message = "required_objects of an extract job has no effect: an extract never waits"
        parts = {"kind": "required_objects", "name": name or None}
        faults.ignored("ignored-requirements", message, job.index, **parts)
    bounds = {
        key: _bound(job.fields, key, f"extract {name}", faults, job.index)
        if key in job.fields
        else inherited[key]
        for key in _BOUND_WORDS
    }
    grain = _text(job.fields, "grain", faults, job.index)
    return ExtractJob(job.index, name, grain, **bounds, nested=job.nested)


def _load(job: WrittenJob, name: str, faults: Faults) -> LoadJob:
    for key in _BOUND_WORDS:  # no loader uses them, but a value that is no time is a slip
        _bound(job.fields, key, f"load {name}", faults, job.index)
    names: dict[str, dict[str, None]] = {key: {} for key in REQUIREMENTS}
    for required in job.required:
        if not isinstance(required, Mapping):
            message = f"required_objects must be an object with the lists {', '.join(REQUIREMENTS)}, but is {_shape(required)}"
            faults.add("not-an-object", message, job.index, kind="required_objects")
            continue
        for key, value in required.items():
            if key in REQUIREMENTS:
                names[key].update(dict.fromkeys(_names(value, job.index, name, key, faults)))
                continue
            near = Names(REQUIREMENTS).near(str(key))
            message = (
                f"load {name}: unknown requirement {key!r}: there are {', '.join(REQUIREMENTS)}{meant(near)}"
            )
            faults.add("unknown-requirement", message, job.index, kind=str(key), name=str(key), near=near)
    return LoadJob(job.index, name, **{key: tuple(names[key]) for key in REQUIREMENTS}, nested=job.nested)


def _names(value: object, index: int, load: str, key: str, faults: Faults) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        message = f"load {load}: required_objects.{key} must be a list of names, but is {_shape(value)}"
        faults.add("not-a-list", message, index, kind=key, name=value if isinstance(value, str) else None)
        return ()
    names: list[str] = []
    for entry in value:
        if isinstance(entry, str) and entry.strip():
            names.append(entry)
        else:
            message = f"load {load}: required_objects.{key} holds {entry!r}, which is no name"
            faults.add("not-a-name", message, index, kind=key, name=str(entry))
    return tuple(names)


def _bound(part: Mapping[str, Any], key: str, where: str, faults: Faults, *index: int) -> str | None:
    value = part.get(key)
    if (warning := odd_digits(value)) is not None:
        faults.warn(f"{where}: {key}: {warning}", *index)
    try:
        return normal_bound(value, words=_BOUND_WORDS[key])
    except ValueError as error:
        words = " or ".join(sorted(_BOUND_WORDS[key]))
        faults.add("not-a-time", f"{where}: {key}: {error} (or {words})", *index, kind=key, name=str(value))
        return None


def _text(part: Mapping[str, Any], key: str, faults: Faults, *index: int) -> str | None:
    value = part.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        faults.add(
            "not-text", f"{key} must be text, but is {_shape(value)}", *index, kind=key, name=str(value)
        )
        return None
    return value


def _shape(value: object) -> str:
    if isinstance(value, str):
        return f"the text {value!r}"
    return f"the list {value!r}" if isinstance(value, list) else f"{value!r}"
