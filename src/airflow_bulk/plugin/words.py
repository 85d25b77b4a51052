"""Numbers and times as a person reads them on the page. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from airflow_bulk.runs.upload.progress import gigabytes

NOT_KNOWN = "\N{EN DASH}"


def say_number(value: float | None) -> str:
    """A count with commas."""
    return NOT_KNOWN if value is None else f"{value:,.0f}"


def say_seconds(value: float | None) -> str:
    """A duration: ``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def say_bytes(value: float | None) -> str:
    """A size in the unit that fits."""
    return NOT_KNOWN if value is None else gigabytes(value)


def say_time(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return NOT_KNOWN if value is None else value.strftime("%Y-%m-%d %H:%M:%S")


def say_day(value: datetime | None) -> str:
    """The day of a time."""
    return say_time(value).partition(" ")[0]


def say_clock(value: datetime | None) -> str:
    """The time of day; empty where there is none."""
    return say_time(value).partition(" ")[2]


def say_state(value: str) -> str:
    """A state with a sign of its own, so that no colour is needed to tell it."""
    signs = {
        "success": "✓",
        "failed": "✕",
        "upstream_failed": "✕",
        "running": "▶",
        "deferred": "◔",
        "skipped": "↷",
    }
    return f"{signs.get(value, '•')} {value.replace('_', ' ') or 'no state'}"


def quoted(value: Any) -> str:
    """A text as a piece of a URL: a run id holds ``+`` and ``:``, and may hold ``/``."""
    return quote(str(value), safe="")


def file_name(value: str) -> str:
    """The last piece of a path or URI."""
    return value.rstrip("/").rpartition("/")[2] or value


def word(value: str) -> str:
    """A state as a piece of a class name."""
    return value if value.isidentifier() else "none"


FILTERS: dict[str, Callable[[Any], str]] = {
    "number": say_number,
    "seconds": say_seconds,
    "bytes": say_bytes,
    "time": say_time,
    "day": say_day,
    "clock": say_clock,
    "state": say_state,
    "quoted": quoted,
    "file_name": file_name,
    "word": word,
}
