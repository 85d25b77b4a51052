"""Create an import exactly once over all tries: its name ends in a random word from the intent.

The platform has no idempotency key, so the name carries ours and the look-up is exact (design section 5.1).
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from airflow_bulk.runs.reconcile import create_once

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.runs.document_import.arguments import ImportDefinition
    from airflow_bulk.runs.record import Record

log = logging.getLogger(__name__)


def find_or_create(
    definition: ImportDefinition,
    hook: MediarithmicsHook,
    record: Record,
    datamart_id: str,
    *,
    marked: bool,
    settle: float,
) -> str:
    """Return the id of this generation's import: recorded, found by its marker, or created now.

    :param marked: end the name in the marker; without it nothing can be looked up.
    :param settle: seconds to wait for an import to show after an answer was lost.
    :raises NotReconciled: an earlier creation may have been carried out and cannot be told.
    """

    def intent() -> dict[str, Any]:
        marker = secrets.token_hex(5)
        name = f"{definition.name} [{marker}]" if marked else definition.name
        return {"name": name, "marker": marker, "conn_id": hook.conn_id, "datamart_id": datamart_id}

    def create(stored: dict[str, Any]) -> str:
        made = hook.create_document_import(
            document_type=definition.document_type,
            name=stored["name"],
            mime_type=definition.mime_type,
            encoding=definition.encoding,
            datamart_id=datamart_id,
            **definition.optional,
        )
        log.info("Created document import %s, %r.", made.id, stored["name"])
        return made.id

    def look(stored: dict[str, Any]) -> list[str]:
        found = hook.list_document_imports(datamart_id, keywords=stored["marker"])
        return [one.id for one in found if one.name.endswith(f"[{stored['marker']}]")]

    import_id, _ = create_once(record, "import", intent, create, look if marked else None, settle=settle)
    return import_id
