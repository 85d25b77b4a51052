"""``/_emulator/centrapay``: how tests drive the emulated Centrapay. No fault strikes here."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.centrapay_api import store_of
from airflow_bulk.emulator.envelopes import Refused, json_object
from airflow_bulk.emulator.world import authorised

router = APIRouter(prefix="/_emulator/centrapay", dependencies=[Depends(authorised)])


@router.patch("/settings")
async def change_settings(request: Request) -> JSONResponse:
    """Change some settings, and return all of them."""
    try:
        settings = store_of(request).change_settings(await json_object(request))
    except (TypeError, ValueError) as error:
        raise Refused(400, str(error)) from None
    return JSONResponse(dataclasses.asdict(settings))


@router.get("/batches")
async def list_batches(request: Request) -> JSONResponse:
    """List all batches, oldest first."""
    store = store_of(request)
    await store.catch_up()
    return JSONResponse([store.shown(row) for row in store.rows()])


@router.post("/batches/{batch_id}/shown")
async def show_as(request: Request, batch_id: str) -> JSONResponse:
    """Show a batch with other values than it has."""
    store_of(request).show_as(batch_id, await json_object(request))
    return JSONResponse({})


@router.get("/assets")
async def list_assets(request: Request) -> JSONResponse:
    """List all assets."""
    store = store_of(request)
    await store.catch_up()
    return JSONResponse(store.assets())
