"""What tests ask of the emulated extract/load systems: put records there, look at them, read what happened."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import Refused, json_object
from airflow_bulk.emulator.extract_load_source_api import store_of
from airflow_bulk.emulator.extract_load_store import DESTINATION, SOURCE
from airflow_bulk.emulator.world import authorised

router = APIRouter(prefix="/_emulator/extract_load", dependencies=[Depends(authorised)])


@router.post("/source/{name}")
async def put_records(request: Request, name: str) -> JSONResponse:
    """Put records into the source by ``Id``: ``{"records": [...]}``; times that are missing are now."""
    store, body = store_of(request), await json_object(request)
    for record in body["records"]:
        meta: dict[str, Any] = record.setdefault("MetaData", {})
        meta.setdefault("CreateTime", store.now())
        meta.setdefault("LastUpdatedTime", store.now())
        store.put(SOURCE, name, str(record["Id"]), record)
    return JSONResponse({"records": len(store.records(SOURCE, name))})


@router.delete("/source/{name}/{record_id}")
async def remove_record(request: Request, name: str, record_id: str) -> JSONResponse:
    """Remove a record from the source."""
    store_of(request).remove(SOURCE, name, record_id)
    return JSONResponse({})


@router.post("/destination/{name}")
async def create_records(request: Request, name: str) -> JSONResponse:
    """Put records into the destination: ``{"records": [...]}``; ids are given out."""
    store, body = store_of(request), await json_object(request)
    return JSONResponse([store.create_at_destination(name, record) for record in body["records"]])


@router.get("/records/{side}")
async def records(request: Request, side: str) -> JSONResponse:
    """Return all records of a side, by object."""
    if side not in (SOURCE, DESTINATION):
        raise Refused(404, f"a side is {SOURCE} or {DESTINATION}")
    store = store_of(request)
    return JSONResponse({name: store.records(side, name) for name in store.names(side)})


@router.get("/events")
async def events(request: Request) -> JSONResponse:
    """Return what happened, in order."""
    return JSONResponse(store_of(request).events())


@router.post("/failures")
async def ask_failure(request: Request) -> JSONResponse:
    """Let calls fail: ``side``, ``object``, ``verb`` or ``page``, with ``status`` and ``times``."""
    body = await json_object(request)
    if unknown := sorted(set(body) - {"side", "object", "verb", "page", "status", "times"}):
        raise Refused(400, f"unknown field {unknown[0]}")
    store_of(request).ask_failure(body)
    return JSONResponse({})


@router.delete("/failures")
async def forget_failures(request: Request) -> JSONResponse:
    """Let nothing fail any more."""
    store_of(request).forget_failures()
    return JSONResponse({})
