"""The platform's envelopes (mediarithmics.md sections 1.3 to 1.6) and the reading of JSON bodies."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.settings import Settings

MAX_JSON_BYTES = 1_000_000

CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "RESOURCE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "ILLEGAL_STATE",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "TOO_MANY_REQUESTS",
}

CENTRAPAY_ERRORS = {401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}


class Refused(Exception):
    """A call that ends in an error answer.

    :param status: the HTTP code (section 1.6).
    :param message: the ``error`` field.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclasses.dataclass(frozen=True)
class Page:
    """Which stretch of a list was asked for (section 1.4)."""

    first: int
    size: int


def ok(data: Any) -> JSONResponse:
    """Answer one resource."""
    return JSONResponse({"status": "ok", "data": data})


def listing(data: Sequence[Any], total: int, page: Page) -> JSONResponse:
    """Answer one page of a list, page size in both spellings."""
    return JSONResponse(
        {
            "status": "ok",
            "data": list(data),
            "count": len(data),
            "total": total,
            "first_result": page.first,
            "max_result": page.size,
            "max_results": page.size,
        }
    )


def failure_body(status: int, message: str) -> dict[str, str]:
    """Return the error envelope of section 1.5."""
    code = CODES.get(status, "SERVER_ERROR" if status >= 500 else "ERROR")
    return {"status": "error", "error": message, "error_code": code, "error_id": str(uuid.uuid4())}


def centrapay_failure_body(status: int, message: str) -> dict[str, Any]:
    """Return the error body of Centrapay (centrapay.md section 7); 400 comes without ``error``."""
    name = CENTRAPAY_ERRORS.get(status, "Internal Server Error" if status >= 500 else None)
    named = {} if name is None else {"error": name}
    return {"statusCode": status, **named, "message": message}


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Answer an error."""
    return JSONResponse(failure_body(status, message), status, headers)


def asked_page(request: Request, settings: Settings) -> Page:
    """Read ``first_result`` and ``max_results``.

    :raises Refused: 400 for anything but numbers of 0 or more.
    """

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit():
            raise Refused(400, f"{name} is not a number of 0 or more")
        return int(text)

    size = min(number("max_results", settings.page_size), settings.max_page_size)
    return Page(number("first_result", 0), size)


def media_type(request: Request) -> str:
    """Return the Content-Type without its parameters (section 12, row 20), lower case; "" when missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def json_object(request: Request) -> dict[str, Any]:
    """Read a JSON object.

    :raises Refused: 415 for another Content-Type, 413 when huge, 400 when it is not a JSON object.
    """
    if media_type(request) != "application/json":
        raise Refused(415, "Content-Type must be application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise Refused(413, f"the body is larger than {MAX_JSON_BYTES} bytes")
    try:
        read = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(read, dict):
        raise Refused(400, "the body is not a JSON object")
    return read
