"""``/v1/integration_batch_instances`` and its executions (mediarithmics.md sections 8 and 9)."""

from __future__ import annotations

import sqlite3

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.batch_executions import BatchExecutions
from airflow_bulk.emulator.batch_instances import BatchInstances
from airflow_bulk.emulator.document_imports_api import FATE_FAULTS
from airflow_bulk.emulator.envelopes import Refused, asked_page, json_object, listing, ok
from airflow_bulk.emulator.world import authorised, struck, world_of

INSTANCES = "/v1/integration_batch_instances"


async def caught_up(request: Request) -> None:
    """Let the crons fire up to now before anybody looks (router dependency)."""
    executions_of(request).catch_up()


def instances_of(request: Request) -> BatchInstances:
    """Return the instances of the world that this request came to."""
    return BatchInstances(world_of(request))


def executions_of(request: Request) -> BatchExecutions:
    """Return the batch executions of the world that this request came to."""
    return BatchExecutions(world_of(request))


router = APIRouter(dependencies=[Depends(authorised), Depends(caught_up)])


@router.get(INSTANCES + ".executions")
async def list_organisation_executions(request: Request) -> JSONResponse:
    """List the executions of all instances of an organisation; the dot is part of the path."""
    organisation = request.query_params.get("organisation_id", "")
    world_of(request).require_organisation(organisation)
    page = asked_page(request, world_of(request).settings)
    executions = executions_of(request)
    rows, total = executions.page(page, organisation_id=organisation)
    return listing([executions.shown(row) for row in rows], total, page)


@router.post(INSTANCES)
async def create_instance(request: Request) -> JSONResponse:
    """Create an instance."""
    return ok(instances_of(request).create(await json_object(request)))


@router.get(INSTANCES)
async def list_instances(request: Request) -> JSONResponse:
    """List an organisation's instances."""
    world_of(request).require_organisation(request.query_params.get("organisation_id", ""))
    page = asked_page(request, world_of(request).settings)
    found, total = instances_of(request).page(dict(request.query_params), page)
    return listing(found, total, page)


@router.get(INSTANCES + "/{instance_id}")
async def get_instance(request: Request, instance_id: str) -> JSONResponse:
    """Get an instance."""
    return ok(instances_of(request).get(instance_id))


@router.put(INSTANCES + "/{instance_id}")
async def update_instance(request: Request, instance_id: str) -> JSONResponse:
    """Put a whole instance."""
    return ok(instances_of(request).update(instance_id, await json_object(request)))


@router.delete(INSTANCES + "/{instance_id}")
async def delete_instance(request: Request, instance_id: str) -> JSONResponse:
    """Delete an instance."""
    return ok(instances_of(request).delete(instance_id))


@router.get(INSTANCES + "/{instance_id}/properties")
async def list_properties(request: Request, instance_id: str) -> JSONResponse:
    """List the properties of an instance."""
    page = asked_page(request, world_of(request).settings)
    found = instances_of(request).properties(instance_id)
    return listing(found[page.first : page.first + page.size], len(found), page)


@router.put(INSTANCES + "/{instance_id}/properties/technical_name={name}")
async def update_property(request: Request, instance_id: str, name: str) -> JSONResponse:
    """Put a whole property of an instance."""
    body = await json_object(request)
    return ok(instances_of(request).put_property(instance_id, name, body))


@router.post(INSTANCES + "/{instance_id}/executions")
async def create_execution(request: Request, instance_id: str) -> JSONResponse:
    """Create an execution; one of an archived instance is refused."""
    body = await json_object(request)
    instance = instances_of(request).row(instance_id)
    if instance["archived"]:
        raise Refused(409, f"Integration batch instance {instance_id} is archived")
    executions = executions_of(request)
    kind, expected = executions.check(body)
    organisation = str(body.get("organisation_id") or instance["organisation_id"])
    world_of(request).require_organisation(organisation)
    late = struck(request, "late")
    fate = next((fate for name, fate in FATE_FAULTS.items() if struck(request, name)), "succeeded")
    created = world_of(request).clock.now() + int(float(late.params["seconds"]) * 1000 if late else 0)
    number = executions.create(instance["id"], organisation, kind, expected, created=created, fate=fate)
    row = executions.row(number)
    if row is None:
        raise Refused(500, "the execution was not kept")
    return ok(executions.shown(row, as_created=True))


@router.get(INSTANCES + "/{instance_id}/executions")
async def list_executions(request: Request, instance_id: str) -> JSONResponse:
    """List an instance's executions, newest first."""
    instances_of(request).row(instance_id)
    page = asked_page(request, world_of(request).settings)
    executions = executions_of(request)
    rows, total = executions.page(page, instance_id=instance_id)
    return listing([executions.shown(row) for row in rows], total, page)


@router.get(INSTANCES + "/{instance_id}/executions/{execution_id}")
async def get_execution(request: Request, instance_id: str, execution_id: str) -> JSONResponse:
    """Get an execution."""
    executions = executions_of(request)
    return ok(executions.shown(executions.find(instance_id, execution_id)))


@router.put(INSTANCES + "/{instance_id}/executions/{execution_id}")
async def update_execution(request: Request, instance_id: str, execution_id: str) -> JSONResponse:
    """Put an execution: ``status: CANCELED`` cancels it, another expected start moves it; only while PENDING."""
    body = await json_object(request)
    executions = executions_of(request)
    row = executions.find(instance_id, execution_id)
    if body.get("status") in ("CANCELED", "CANCELLED"):
        if _may_cancel(request, row):
            executions.cancel(row["id"])
    elif executions.status(row) == "PENDING":
        executions.move(row, executions.check(body)[1])
    else:
        raise Refused(409, f"Execution {execution_id} is {executions.status(row)}")
    return ok(executions.shown(executions.find(instance_id, execution_id)))


@router.post(INSTANCES + "/{instance_id}/executions/{execution_id}/action")
async def act_on_execution(request: Request, instance_id: str, execution_id: str) -> JSONResponse:
    """Cancel an execution as a document import's (section 9 [assumed])."""
    if await json_object(request) != {"action": "CANCEL"}:
        raise Refused(400, 'the body must be {"action": "CANCEL"}')
    executions = executions_of(request)
    row = executions.find(instance_id, execution_id)
    if _may_cancel(request, row):
        executions.cancel(row["id"])
    return ok(executions.shown(executions.find(instance_id, execution_id)))


@router.delete(INSTANCES + "/{instance_id}/executions/{execution_id}")
async def delete_execution(request: Request, instance_id: str, execution_id: str) -> JSONResponse:
    """Delete an execution; only while PENDING."""
    executions = executions_of(request)
    row = executions.find(instance_id, execution_id)
    shown = executions.shown(row)
    if _may_cancel(request, row):
        executions.delete(row["id"])
    return ok(shown)


def _may_cancel(request: Request, row: sqlite3.Row) -> bool:
    """Whether a cancel is carried out: only from PENDING, and unless a fault refuses it.

    :raises Refused: a refusal that is told by its status; else the unchanged execution is the answer.
    """
    world = world_of(request)
    status = executions_of(request).status(row)
    refusal = struck(request, "refuse_cancel")
    if refusal is None and status == "PENDING":
        return True
    answer = int(refusal.params["status"]) if refusal else world.settings.refused_cancel_status
    if answer != 200:
        raise Refused(answer, f"Execution {row['id']} is {status}: only PENDING can be cancelled")
    return False
