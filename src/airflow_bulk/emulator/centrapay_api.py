"""``/api/batches`` and the asset reads (centrapay.md sections 2 to 4, 7 and 8)."""

from __future__ import annotations

import hmac
import json
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.centrapay_store import CentrapayRefused, CentrapayStore
from airflow_bulk.emulator.envelopes import MAX_JSON_BYTES, centrapay_failure_body, media_type

PAGE = 100


def store_of(request: Request) -> CentrapayStore:
    """Return the emulated Centrapay."""
    store: CentrapayStore = request.app.state.centrapay
    return store


async def known_caller(request: Request) -> None:
    """Let a call in with the API key, or with the user's token for one of the accounts (router dependency).

    :raises CentrapayRefused: 401; 403 for another account.
    """
    store = store_of(request)
    key, user = request.headers.get("x-api-key"), request.headers.get("authorization")
    if not key and not user:
        raise CentrapayRefused(401, "Missing authentication")
    if not hmac.compare_digest((key or user or "").encode(), store.world.account.token.encode()):
        raise CentrapayRefused(401, "Unauthorized")
    account = request.headers.get("x-centrapay-account")
    if user and not key and account not in store.settings.accounts:
        raise CentrapayRefused(403, "Forbidden")
    await store.catch_up()


router = APIRouter(prefix="/api", dependencies=[Depends(known_caller)])


def refusal(status: int, message: str) -> JSONResponse:
    """Answer an error as Centrapay words it."""
    return JSONResponse(centrapay_failure_body(status, message), status)


@router.post("/batches")
async def create_batch(request: Request) -> JSONResponse:
    """Create a batch; HTTP 200 (section 4)."""
    store = store_of(request)
    row = store.create(await _json_object(request))
    return JSONResponse(store.shown(row, new=True))


@router.get("/batches/{batch_id}")
async def get_batch(request: Request, batch_id: str) -> JSONResponse:
    """Get a batch; 403 for an unknown id, not 404 (section 7)."""
    store = store_of(request)
    row = store.row(batch_id)
    if row is None:
        raise CentrapayRefused(403, "Forbidden")
    return JSONResponse(store.shown(row))


@router.get("/assets/{asset_type}/external-id/{external_id}")
async def get_asset_by_external_id(request: Request, asset_type: str, external_id: str) -> JSONResponse:
    """Get an asset by its issuer's id."""
    return _one(request, type=asset_type, externalId=external_id)


@router.get("/assets/{asset_id}")
async def get_asset(request: Request, asset_id: str) -> JSONResponse:
    """Get an asset."""
    return _one(request, id=asset_id)


@router.get("/assets/{asset_id}/summary")
async def get_asset_summary(request: Request, asset_id: str) -> JSONResponse:
    """Get the summary of an asset."""
    return _one(request, id=asset_id)


@router.get("/accounts/{account_id}/assets")
async def list_assets(request: Request, account_id: str) -> JSONResponse:
    """List a page of an account's assets; ``nextPageKey`` is absent on the last one (section 7)."""
    if account_id not in store_of(request).settings.accounts:
        raise CentrapayRefused(403, "Forbidden")
    wanted = request.query_params.get("externalId")
    key = request.query_params.get("pageKey", "0")
    if not key.isdigit():
        raise CentrapayRefused(400, "pageKey is invalid")
    found = [
        one
        for one in store_of(request).assets()
        if one["accountId"] == account_id and wanted in (None, one["externalId"])
    ]
    begin = int(key)
    page: dict[str, Any] = {"items": found[begin : begin + PAGE]}
    if begin + PAGE < len(found):
        page["nextPageKey"] = str(begin + PAGE)
    return JSONResponse(page)


def _one(request: Request, **fields: str) -> JSONResponse:
    for asset in store_of(request).assets():
        if all(asset.get(name) == value for name, value in fields.items()):
            return JSONResponse(asset)
    raise CentrapayRefused(403, "Forbidden")


async def _json_object(request: Request) -> dict[str, Any]:
    if media_type(request) != "application/json":
        raise CentrapayRefused(400, "Content-Type must be application/json")
    body = await request.body()
    try:
        read = json.loads(body) if len(body) <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise CentrapayRefused(400, "Invalid request payload JSON format")
    return read
