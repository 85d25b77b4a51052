"""``/_emulator/batches``: how tests drive plugins and batches. Not part of any platform; no fault strikes here."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import Page, Refused, json_object
from airflow_bulk.emulator.executions import FATES
from airflow_bulk.emulator.integration_batches_api import caught_up, executions_of, instances_of
from airflow_bulk.emulator.plugins_api import plugins_of
from airflow_bulk.emulator.world import authorised, world_of

router = APIRouter(prefix="/_emulator/batches", dependencies=[Depends(authorised), Depends(caught_up)])
EVERYTHING = Page(0, -1)


def _static(name: str, value: str) -> dict[str, object]:
    return {
        "technical_name": name,
        "property_type": "STRING",
        "origin": "PLUGIN_STATIC",
        "writable": False,
        "value": {"value": value},
    }


@router.post("/instances")
async def add_instance(request: Request) -> JSONResponse:
    """Add an instance, and its plugin with version 1.0.0 where they are missing: ``{"name", "cron"?, ...}``."""
    body = await json_object(request)
    plugins = plugins_of(request)
    organisation = world_of(request).account.organisation_id
    names = {"group_id": "com.example.batch", "artifact_id": str(body.get("name") or "batch")}
    found, _ = plugins.page(names, EVERYTHING)
    plugin = (
        found[0]
        if found
        else plugins.create({"organisation_id": organisation, "plugin_type": "INTEGRATION_BATCH", **names})
    )
    if not plugins.versions(plugin["id"]):
        properties = [_static("provider", "example"), _static("name", "first")]
        plugins.create_version(plugin["id"], {"version_id": "1.0.0", "plugin_properties": properties})
    made = instances_of(request).create(
        {"organisation_id": organisation, "version_id": "1.0.0", **names, **body}
    )
    return JSONResponse(made)


@router.get("/instances")
async def list_instances(request: Request) -> JSONResponse:
    """List all instances, oldest first."""
    return JSONResponse(instances_of(request).page({}, EVERYTHING)[0])


@router.get("/instances/{instance_id}/executions")
async def list_executions(request: Request, instance_id: str) -> JSONResponse:
    """List the visible executions of an instance, oldest first."""
    executions = executions_of(request)
    rows, _ = executions.page(EVERYTHING, instance_id=instance_id)
    return JSONResponse([executions.shown(row) for row in rows[::-1]])


@router.post("/executions/{number}")
async def change_execution(request: Request, number: int) -> JSONResponse:
    """Change an execution's course: ``{"fate"?, "start"?, "end"?, "tasks"?, "erroneous"?}``."""
    body = await json_object(request)
    if body.get("fate") is not None and body["fate"] not in FATES:
        raise Refused(400, f"fate is one of {', '.join(FATES)}")
    executions = executions_of(request)
    row = executions.row(number)
    if row is None:
        raise Refused(404, f"there is no execution {number}")
    executions.change(row, body)
    changed = executions.row(number)
    return JSONResponse(executions.shown(changed or row))


@router.post("/versions/{row_id}/release")
async def release_version(request: Request, row_id: str) -> JSONResponse:
    """Release a DRAFT version, as a person does in the console."""
    return JSONResponse(plugins_of(request).release(row_id))
