"""The plugins and batches of a running emulator, for tests, demos and notebooks. Standard library only."""

from __future__ import annotations

from typing import Any

from airflow_bulk.emulator.handle import Emulator


class IntegrationBatchEmulator:
    """Instances and their executions; the clock is the emulator's.

    :param emulator: the emulator.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    def add(self, name: str = "batch", **fields: Any) -> str:
        """Add an instance, and its plugin with version 1.0.0 where they are missing; return its id.

        :param fields: ``cron``, ``cron_status``, sizes, ``archived``.
        """
        return str(self.emulator.control("POST", "/batches/instances", {"name": name, **fields})["id"])

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances, oldest first, as the API shows them."""
        found: list[dict[str, Any]] = self.emulator.control("GET", "/batches/instances")
        return found

    def executions(self, instance_id: str) -> list[dict[str, Any]]:
        """Return the visible executions of an instance, oldest first, as the API shows them."""
        path = f"/batches/instances/{instance_id}/executions"
        found: list[dict[str, Any]] = self.emulator.control("GET", path)
        return found

    def change_execution(self, execution_id: str, **changes: Any) -> dict[str, Any]:
        """Change an execution's course.

        :param changes: ``fate`` (``succeeded``, ``failed``, ``lost``, ``stuck``), ``start=True``, ``end=True``,
            ``tasks`` and ``erroneous`` (counts).
        """
        changed: dict[str, Any] = self.emulator.control(
            "POST", f"/batches/executions/{execution_id}", changes
        )
        return changed

    def release(self, version_row_id: str) -> None:
        """Release a DRAFT version."""
        self.emulator.control("POST", f"/batches/versions/{version_row_id}/release", {})
