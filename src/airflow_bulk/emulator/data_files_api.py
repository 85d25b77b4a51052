"""``GET /v1/data_file/data`` (mediarithmics.md section 4.5): what was uploaded, and the error files."""

from __future__ import annotations

import asyncio
import uuid

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.background import BackgroundTask

from airflow_bulk.emulator.document_imports_api import service_of
from airflow_bulk.emulator.envelopes import Refused
from airflow_bulk.emulator.error_files import NOT_UTF8, write_error_file
from airflow_bulk.emulator.executions import OVER, status_of
from airflow_bulk.emulator.world import struck, world_of

router = APIRouter(prefix="/v1/data_file")
BYTES = "application/octet-stream"


@router.get("/data")
async def download(request: Request) -> Response:
    """Download by ``uri``; the token comes in the header or as ``access_token`` in the query."""
    world = world_of(request)
    query_token = request.query_params.get("access_token")
    world.require_token(request.headers.get("authorization") or query_token)
    uri = request.query_params.get("uri")
    if not uri:
        raise Refused(400, "uri is missing")
    service = service_of(request)
    found = service.executions.by_uri(uri)
    if found is None:
        raise Refused(404, "no file has that uri")
    row, is_errors = found
    world.require_datamart(row["datamart_id"])
    status = status_of(row, world.clock.now())
    if status == "PENDING" or (is_errors and status not in OVER):
        raise Refused(404, "no file has that uri yet")
    body, errors = service.checks.paths(row)
    if is_errors:
        await service.checks.wait([row["id"]])
        if odd := struck(request, "error_file"):
            huge = odd.params["content"] == "huge"
            return StreamingResponse(
                iter([] if huge else [NOT_UTF8]),
                media_type="text/csv",
                headers={"content-length": str(10**13)} if huge else None,
            )
        settings = world.settings
        shown = errors.with_suffix(f".{uuid.uuid4().hex}.shown")
        await asyncio.to_thread(
            write_error_file,
            shown,
            body,
            errors,
            layout=settings.error_file_layout,
            rows=settings.error_file_rows,
            delimiter=row["delimiter"] if row["mime_type"] == "TEXT_CSV" else None,
        )
        return FileResponse(
            shown, media_type="text/csv", background=BackgroundTask(shown.unlink, missing_ok=True)
        )
    if altered := struck(request, "altered_file"):
        return Response(_altered(body.read_bytes(), int(altered.params["by"])), media_type=BYTES)
    return FileResponse(body, media_type=BYTES)


def _altered(content: bytes, by: int) -> bytes:
    if by > 0:
        return content + b" " * by
    if by < 0:
        return content[:by]
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
