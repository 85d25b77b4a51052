"""Bounds and times of the sources: by which field a source filters, and when a record was changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_bulk.extract_load.endpoints import UnfilterableBound
from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.times import read_time


def bound_fields(
    source: Any, name: str, since: datetime | None, updated_since: datetime | None
) -> Mapping[str, datetime | None]:
    """Return field -> bound of a source that names a field for each.

    :raises UnfilterableBound: a bound was given without its field: never a silent full read.
    """
    bounds: dict[str, datetime | None] = {}
    for bound, field, option in (
        (since, source.since_field, "since_field"),
        (updated_since, source.updated_field, "updated_field"),
    ):
        if bound is not None and not field:
            raise unfilterable(
                name, option.removesuffix("_field").replace("updated", "updated_since"), option
            )
        if field and bound is not None:
            bounds[field] = max(bound, bounds[field]) if bounds.get(field) else bound  # type: ignore[type-var]
    return bounds


def unfilterable(name: str, bound: str, option: str) -> UnfilterableBound:
    """The error for a bound that a source has no field for."""
    return UnfilterableBound(
        f"extract {name}: {bound} is set, but the source has no {option} to filter by, and reading everything instead"
        f" would not be what was asked for. Name {option} at the source, or lift the bound with {bound}: null. Nothing was"
        " read; a retry cannot help before that."
    )


def time_in(record: Record, field: str | None) -> datetime | None:
    """Return the time in a field of a record; dots reach inside; ``None`` if there is none."""
    value: Any = record
    for step in (field or "").split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    try:
        return read_time(value)
    except ValueError:
        return None
