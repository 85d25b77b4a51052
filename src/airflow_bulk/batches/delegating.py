"""A definition as the batch server takes it: its own fields alone, times as ISO text.

What only the expanded mode knows (mappings, ``window``, ``watermark``) has no meaning there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bulk.batches.times import WATERMARK, WINDOW, read_time, to_text

#: Fields of a batch that a client may send (extract_load.md section 1.1).
_BATCH_FIELDS = (
    *("tenant_id", "source_connection_id", "destination_connection_id", "since", "updated_since", "jobs"),
)
_BOUNDS = ("since", "updated_since")


def server_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch to send.

    :param definition: templates rendered.
    :raises ValueError: an id, which the server assigns; a bound that no server knows; a value that is no time.
    """
    if definition.get("id") or definition.get("_id"):
        raise ValueError("a new batch must not have an id: the server assigns it")
    batch = {key: definition[key] for key in _BATCH_FIELDS if key in definition}
    jobs = batch.get("jobs")
    sent = [
        _with_text_bounds(job, f"job {index}")
        for index, job in enumerate(jobs if isinstance(jobs, list) else [])
    ]
    return {**_with_text_bounds(batch, "the batch"), "jobs": sent}


def _with_text_bounds(part: Any, where: str) -> Any:
    if not isinstance(part, Mapping):
        return part
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
