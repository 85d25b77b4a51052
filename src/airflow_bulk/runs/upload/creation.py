"""Create an import exactly once over all tries: its name ends in a random word from the intent.

The platform has no idempotency key, so the name carries ours and the look-up is exact (ARCHITECTURE.md section 5.1).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_bulk.platforms.call_sequence import run_calls
from airflow_bulk.runs.reconcile import create_once

if TYPE_CHECKING:
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.platforms.upload_port import UploadPort
    from airflow_bulk.runs.record import Record

log = logging.getLogger(__name__)


def find_or_create(
    hook: PlatformHook,
    port: UploadPort,
    record: Record,
    *,
    name: str,
    fields: Mapping[str, Any],
    marked: bool,
    settle: float,
) -> str:
    """Return the id of this generation's import: recorded, found by its marker, or created now.

    :param port: how the platform creates and finds imports.
    :param name: the import's name, before the marker.
    :param fields: what else it is created with.
    :param marked: end the name in the marker; without it nothing can be looked up.
    :param settle: seconds to wait for an import to show after an answer was lost.
    :raises NotReconciled: an earlier creation may have been carried out and cannot be told.
    """

    def intent() -> dict[str, Any]:
        marker = secrets.token_hex(5)
        full = f"{name} [{marker}]" if marked else name
        return {"name": full, "marker": marker, "conn_id": hook.conn_id, **port.place}

    def create(stored: dict[str, Any]) -> str:
        import_id = hook.send(port.create(stored["name"], fields))
        log.info("Created %s %s, %r.", port.noun, import_id, stored["name"])
        return import_id

    def look(stored: dict[str, Any]) -> list[str]:
        return run_calls(port.find(stored["marker"]), hook.send)

    import_id, _ = create_once(record, "import", intent, create, look if marked else None, settle=settle)
    return import_id
