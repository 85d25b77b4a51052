"""Wait for an import's executions without a worker, and cancel them when a person stops the deferred task."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from airflow_bulk import judging
from airflow_bulk.hooks.executions import ImportExecutions
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.triggers.executions import ExecutionsTrigger, first_look

__all__ = ["DocumentImportTrigger", "first_look"]


class DocumentImportTrigger(ExecutionsTrigger[RemoteSnapshot]):
    """Fires when an import's executions are over, or the deadline has passed.

    Carries the import and a count, not thousands of ids; its event carries totals only.

    :param datamart_id: the import's datamart.
    :param import_id: the import.
    :param without_canceled: leave cancelled executions out unless nothing else is there, or they are named.
    :param arguments: those of :class:`~airflow_bulk.triggers.executions.ExecutionsTrigger`; ``executions`` names
        ours of an import that others feed, None counts all.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ("datamart_id", "import_id", "without_canceled")

    def __init__(
        self, *, datamart_id: str, import_id: str, without_canceled: bool = False, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.datamart_id = datamart_id
        self.import_id = import_id
        self.without_canceled = without_canceled

    @property
    def what(self) -> str:
        """The import, in words."""
        return f"document import {self.import_id}"

    def _key(self) -> Hashable:
        return (self.datamart_id, self.import_id)

    def _of(self, hook: Any) -> ImportExecutions:
        return ImportExecutions(hook, self.datamart_id, self.import_id)

    def _counting(self, found: Sequence[RemoteSnapshot]) -> list[RemoteSnapshot]:
        return judging.counting(found, self.executions, without_canceled=self.without_canceled)

    def _about(self) -> dict[str, Any]:
        return {"import_id": self.import_id}
