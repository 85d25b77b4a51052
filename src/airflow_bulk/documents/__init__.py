"""Documents: lines, commands, parts and rejects. Pure but for reading the source; no Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_bulk.documents.lines.checking import check_line

__all__ = ["check_line"]


def __getattr__(name: str) -> Any:
    # The rules load when they are used: operators import this room while DAG files are parsed.
    if name == "check_line":
        from airflow_bulk.documents.lines.checking import check_line

        return check_line
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
