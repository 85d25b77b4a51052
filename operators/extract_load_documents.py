"""A document import as the destination of a load: extracted records become lines, which are imported.

A platform that takes documents has no records to list, update or delete. So a load is an import, with everything
accounted for and exactly once (``ImportDocumentsOperator``). The lines are written once and kept, so that every try
imports the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_bulk.operators.document_import import ImportDocumentsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bulk.extract_load.mapping import LoadMapping, Record


@dataclass(frozen=True)
class DocumentImportDestination:
    """Which document import each load object of a batch goes into.

    It is no :class:`~airflow_bulk.extract_load.endpoints.Destination`: documents are imported as a file, and none is updated
    or deleted, since a deletion is a document type of its own.

    :param documents: load object -> arguments of ``ImportDocumentsOperator`` (``document_type``, ``name``,
        ``mediarithmics_conn_id``, ``datamart_id``, ``max_failures`` ...), all but ``source``.
    """

    documents: Mapping[str, Mapping[str, Any]]

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the import's arguments for a load object.

        :raises ValueError: the load object has no arguments.
        """
        if name not in self.documents:
            known = ", ".join(sorted(self.documents)) or "none"
            raise ValueError(f"the document import declares no load object {name!r}; declared are: {known}")
        return dict(self.documents[name])

    def snapshot(self, name: str) -> Iterator[Record]:
        """Read nothing: the platform lists no documents."""
        return iter(())


class ApplyDocumentsOperator(ImportDocumentsOperator):
    """Import extracted records as documents: each record becomes one line.

    Returns what ``ImportDocumentsOperator`` returns, and makes its promises. A batch without any record does not
    fail: ``on_empty`` is ``"ok"`` unless given.

    :param object_name: the load object, for messages.
    :param staging: folder for the lines; every worker must reach it, since a retry reads the lines again.
    :param mapping: how a record becomes a line; only its ``fields`` are used.
    :param extracts: references to the records: the ``.output`` of each ExtractOperator, or task ids, which make no
        edges.
    :param import_arguments: those of ``ImportDocumentsOperator``, all but ``source``.
    """

    template_fields: Sequence[str] = (*ImportDocumentsOperator.template_fields, "staging", "extracts")

    def __init__(
        self,
        *,
        object_name: str,
        staging: str,
        mapping: LoadMapping | Mapping[str, Any] | None = None,
        extracts: Sequence[Any] = (),
        **import_arguments: Any,
    ) -> None:
        import_arguments.setdefault("on_empty", "ok")
        import_arguments.setdefault("name", f"{object_name} {{{{ run_id }}}}")
        super().__init__(source="", **import_arguments)
        self.object_name = object_name
        self.staging = staging
        self.mapping = mapping
        self.extracts = extracts

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the lines, or find those of an earlier try, and import them."""
        from airflow_bulk.runs.extract_load.apply_steps import write_lines

        self.source = write_lines(self, context)
        return super().execute(context)
