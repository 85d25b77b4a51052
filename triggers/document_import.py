"""Wait for an import's executions without a worker, and cancel them when a person stops the deferred task."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_bulk.platforms.mediarithmics.document_import_calls import DocumentImports
from airflow_bulk.triggers.waiting import UploadTrigger


class DocumentImportTrigger(UploadTrigger):
    """Fires when an import's executions are over, or the deadline has passed.

    :param conn_id: connection of type ``mediarithmics``.
    :param datamart_id: the import's datamart.
    :param arguments: those of :class:`~airflow_bulk.triggers.waiting.UploadTrigger`.
    """

    own_arguments: ClassVar[tuple[str, ...]] = (*UploadTrigger.own_arguments, "datamart_id")

    def __init__(self, *, datamart_id: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.datamart_id = datamart_id

    def port(self) -> DocumentImports:
        """The datamart's imports."""
        return DocumentImports(self.datamart_id)

    def hook(self) -> Any:
        """The mediarithmics hook."""
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

        return MediarithmicsHook(self.conn_id)
