"""``POST /v1/authentication/access_tokens`` (mediarithmics.md section 1.2): a token for an hour."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import Refused, json_object, ok
from airflow_bulk.emulator.world import ACCESS_TOKEN_SECONDS, world_of

router = APIRouter(prefix="/v1/authentication")


@router.post("/access_tokens")
async def create_access_token(request: Request) -> JSONResponse:
    """Give a temporary token to the account: any ``email``, and the API token as ``password`` [assumed]."""
    world, body = world_of(request), await json_object(request)
    for name in ("email", "password"):
        if not isinstance(body.get(name), str) or not body[name].strip():
            raise Refused(400, f"{name} is missing")
    if not world.is_api_token(body["password"]):
        raise Refused(401, "the password is not known; the emulator's is its API token")
    token = world.access_token()
    return ok({"access_token": token, "expires_in": ACCESS_TOKEN_SECONDS, "refresh_token": None})
