"""``/v1/datamarts/{datamart_id}/document_imports`` (mediarithmics.md sections 2 to 4)."""

from __future__ import annotations

import sqlite3
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.checks import Checks
from airflow_bulk.emulator.document_imports import DocumentImports
from airflow_bulk.emulator.envelopes import Refused, asked_page, json_object, listing, ok
from airflow_bulk.emulator.executions import Executions, Upload, status_of
from airflow_bulk.emulator.uploads import take_in
from airflow_bulk.emulator.world import World, on_own_datamart, struck, world_of

FATE_FAULTS = {"stuck_running": "stuck", "forced_failed": "failed", "lost_status": "lost"}


class DocumentImportService:
    """The stores of this API, and the waiting for line checks that joins them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.imports = DocumentImports(world)
        self.executions = Executions(world)
        self.checks = Checks(world)

    async def show(self, rows: list[sqlite3.Row]) -> list[dict[str, Any]]:
        """Return executions as the platform shows them, once their lines are checked."""
        now = self.world.clock.now()
        waiting = [row["id"] for row in rows if row["lines"] is None and status_of(row, now) != "PENDING"]
        await self.checks.wait(waiting)
        fresh = [self.executions.row(row["id"]) if row["id"] in waiting else row for row in rows]
        return [self.executions.shown(row) for row in fresh if row is not None]


def service_of(request: Request) -> DocumentImportService:
    """Return the service that this request came to."""
    service: DocumentImportService = request.app.state.document_imports
    return service


router = APIRouter(
    prefix="/v1/datamarts/{datamart_id}/document_imports", dependencies=[Depends(on_own_datamart)]
)


@router.post("")
async def create_import(request: Request, datamart_id: str) -> JSONResponse:
    """Create an import."""
    body = await json_object(request)
    late = struck(request, "late")
    seconds = float(late.params["seconds"]) if late else 0.0
    return ok(service_of(request).imports.create(datamart_id, body, seconds))


@router.get("")
async def list_imports(request: Request, datamart_id: str) -> JSONResponse:
    """List imports."""
    page = asked_page(request, world_of(request).settings)
    found, total = service_of(request).imports.page(datamart_id, dict(request.query_params), page)
    return listing(found, total, page)


@router.get("/{import_id}")
async def get_import(request: Request, datamart_id: str, import_id: str) -> JSONResponse:
    """Get an import."""
    return ok(service_of(request).imports.get(datamart_id, import_id))


@router.put("/{import_id}")
async def update_import(request: Request, datamart_id: str, import_id: str) -> JSONResponse:
    """Update an import with a whole or partial object."""
    body = await json_object(request)
    return ok(service_of(request).imports.update(datamart_id, import_id, body))


@router.delete("/{import_id}")
async def delete_import(request: Request, datamart_id: str, import_id: str) -> JSONResponse:
    """Delete an import; strict: 409 while executions are PENDING or RUNNING (section 12, row 16)."""
    service = service_of(request)
    service.imports.get(datamart_id, import_id)
    if service.world.settings.strict and service.executions.unfinished(import_id):
        raise Refused(409, f"Document import {import_id} has executions that are not over")
    return ok(service.imports.delete(datamart_id, import_id))


@router.post("/{import_id}/executions")
async def create_execution(request: Request, datamart_id: str, import_id: str) -> JSONResponse:
    """Upload a file: one call, one file, one execution."""
    service = service_of(request)
    parent = service.imports.get(datamart_id, import_id)
    taken = await take_in(request, service.world, parent["mime_type"])
    # The upload may have lasted: the import must still be there.
    service.imports.get(datamart_id, import_id)
    fate, share = "succeeded", 1.0
    for name, wanted in FATE_FAULTS.items():
        fault = struck(request, name)
        if fault is not None:
            fate, share = wanted, float(fault.params.get("taken", 1.0))
    late, miscount = struck(request, "late"), struck(request, "miscount")
    failing = struck(request, "failing_lines")
    number = service.executions.create(
        datamart_id,
        import_id,
        Upload(
            document_type=parent["document_type"],
            mime_type=parent["mime_type"],
            body=taken.path.name,
            body_bytes=taken.size,
            file_name=service.world.settings.input_file_name or taken.file_name,
            late_by=float(late.params["seconds"]) if late else 0.0,
            fate=fate,
            taken=share,
            miscounted=int(miscount.params["by"]) if miscount else 0,
            fail_every=int(failing.params["every"]) if failing else 0,
        ),
    )
    row = service.executions.row(number)
    if row is None:
        raise Refused(500, "the execution was not kept")
    service.checks.begin(row)
    return ok(service.executions.shown(row, as_created=True))


@router.get("/{import_id}/executions")
async def list_executions(request: Request, datamart_id: str, import_id: str) -> JSONResponse:
    """List executions, newest first. No status filter is documented."""
    service = service_of(request)
    service.imports.get(datamart_id, import_id)
    page = asked_page(request, service.world.settings)
    rows, total = service.executions.page(import_id, page)
    return listing(await service.show(rows), total, page)


@router.get("/{import_id}/executions/{execution_id}")
async def get_execution(
    request: Request, datamart_id: str, import_id: str, execution_id: str
) -> JSONResponse:
    """Get an execution."""
    service = service_of(request)
    service.imports.get(datamart_id, import_id)
    return ok((await service.show([service.executions.find(import_id, execution_id)]))[0])


@router.post("/{import_id}/executions/{execution_id}/action")
async def act_on_execution(
    request: Request, datamart_id: str, import_id: str, execution_id: str
) -> JSONResponse:
    """Cancel an execution: works only while it is PENDING (section 4.7)."""
    service = service_of(request)
    service.imports.get(datamart_id, import_id)
    body = await json_object(request)
    if body != {"action": "CANCEL"}:
        raise Refused(400, 'the body must be {"action": "CANCEL"}')
    row = service.executions.find(import_id, execution_id)
    refusal = struck(request, "refuse_cancel")
    if refusal is not None and refusal.params["start"]:
        service.executions.change(row["id"], start=True)
        row = service.executions.find(import_id, execution_id)
    status = status_of(row, service.world.clock.now())
    answer = int(refusal.params["status"]) if refusal else service.world.settings.refused_cancel_status
    if refusal is None and status == "PENDING":
        service.executions.cancel(row["id"])
    elif answer != 200:
        raise Refused(answer, f"Execution {execution_id} is {status}: only PENDING can be cancelled")
    return ok((await service.show([service.executions.find(import_id, execution_id)]))[0])
