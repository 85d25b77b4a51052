"""The most memory that this process held, since it was asked to forget."""

from __future__ import annotations

from pathlib import Path


def forget_highest_memory() -> None:
    """Loading Airflow takes more for a moment than it keeps, which would hide what an import takes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def highest_memory() -> int:
    """In kB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])
