"""The emulated destination: one REST resource an object, token in the query, every success 200.

extract_load.md sections 2.2 and 8. Object names are lower-case in paths; ids are integers.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import Refused, json_object
from airflow_bulk.emulator.extract_load_source_api import store_of
from airflow_bulk.emulator.extract_load_store import DESTINATION
from airflow_bulk.emulator.world import world_of


async def with_query_token(request: Request) -> None:
    """Let a call in with ``?token=`` (router dependency)."""
    world_of(request).require_token(request.query_params.get("token"))


router = APIRouter(prefix="/extract_load/destination/api/v1", dependencies=[Depends(with_query_token)])


@router.get("/{name}.json")
async def snapshot(request: Request, name: str) -> JSONResponse:
    """List all records of an object."""
    store = store_of(request)
    store.maybe_fail(side=DESTINATION, object=name, verb="GET")
    store.note("read", side=DESTINATION, object=name)
    return JSONResponse(store.records(DESTINATION, name))


@router.post("/{name}.json")
async def create(request: Request, name: str) -> JSONResponse:
    """Create a record."""
    store, fields = store_of(request), await json_object(request)
    store.maybe_fail(side=DESTINATION, object=name, verb="POST")
    if "id" in fields:
        raise Refused(400, "a new record must not have an id")
    record = store.create_at_destination(name, fields)
    store.note("write", side=DESTINATION, object=name, verb="POST", id=record["id"])
    return JSONResponse(record)


@router.put("/{name}/{record_id}.json")
async def update(request: Request, name: str, record_id: str) -> JSONResponse:
    """Replace a record."""
    store, fields = store_of(request), await json_object(request)
    store.maybe_fail(side=DESTINATION, object=name, verb="PUT")
    old = store.get(DESTINATION, name, record_id)
    record: dict[str, Any] = {**fields, "id": old["id"]}
    store.put(DESTINATION, name, record_id, record)
    store.note("write", side=DESTINATION, object=name, verb="PUT", id=old["id"])
    return JSONResponse(record)


@router.delete("/{name}/{record_id}.json")
async def delete(request: Request, name: str, record_id: str) -> JSONResponse:
    """Delete a record; the answer is the record as it was."""
    store = store_of(request)
    store.maybe_fail(side=DESTINATION, object=name, verb="DELETE")
    old = store.get(DESTINATION, name, record_id)
    store.remove(DESTINATION, name, record_id)
    store.note("write", side=DESTINATION, object=name, verb="DELETE", id=old["id"])
    return JSONResponse(old)
