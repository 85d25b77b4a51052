"""The emulated source: QuickBooks-like queries and plain paged JSON over the same records.

extract_load.md sections 2.1 and 8. Records carry ``Id``, ``MetaData.CreateTime`` and ``MetaData.LastUpdatedTime``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import Refused
from airflow_bulk.emulator.extract_load_store import SOURCE, ExtractLoadStore
from airflow_bulk.emulator.world import world_of

CREATED, UPDATED = "CreateTime", "LastUpdatedTime"
MOST_ROWS = 500
_QUERY = re.compile(
    r"select (?P<what>count\(\*\)|\*, MetaData\.CreateTime) from (?P<object>\w+)"
    r"(?: where (?P<where>.+?))?(?: startposition (?P<start>\d+) maxresults (?P<size>\d+))?"
)
_CONDITION = re.compile(r"MetaData\.(CreateTime|LastUpdatedTime) >= '([^']+)'")


async def with_bearer(request: Request) -> None:
    """Let a call in with ``Authorization: Bearer <token>`` (router dependency)."""
    scheme, _, token = (request.headers.get("authorization") or "").partition(" ")
    world_of(request).require_token(token if scheme == "Bearer" else None)


router = APIRouter(prefix="/extract_load/source", dependencies=[Depends(with_bearer)])


def store_of(request: Request) -> ExtractLoadStore:
    """Return the store that this request came to."""
    return ExtractLoadStore(world_of(request))


@router.get("/v3/company/{realm}/query")
async def query(request: Request, realm: str) -> JSONResponse:
    """Answer the two query shapes of section 2.1."""
    match = _QUERY.fullmatch(request.query_params.get("query", ""))
    if match is None or (match["what"] != "count(*)") != bool(match["start"]):
        raise Refused(400, "the query cannot be parsed")
    store, name = store_of(request), match["object"]
    conditions = [_condition(text) for text in (match["where"] or "").split(" and ") if text]
    found = [record for record in store.records(SOURCE, name) if meets(record, conditions)]
    if match["what"] == "count(*)":
        store.maybe_fail(side=SOURCE, object=name, page=0)
        return _answer(store, {"totalCount": len(found)})
    start, size = int(match["start"]), int(match["size"])
    if not 1 <= size <= MOST_ROWS or start < 1:
        raise Refused(400, f"startposition begins at 1, maxresults is 1 to {MOST_ROWS}")
    store.maybe_fail(side=SOURCE, object=name, page=(start - 1) // size + 1)
    store.note("read", side=SOURCE, object=name, start=start)
    page = found[start - 1 : start - 1 + size]
    return _answer(store, {name: page} if page else {})


@router.get("/{name}")
async def listing(request: Request, name: str) -> JSONResponse:
    """Answer one page of plain JSON: ``page`` from 1, ``per_page``, ``since``, ``updated_since``, ``grain``."""
    store, query = store_of(request), request.query_params
    bounds = [(CREATED, query.get("since")), (UPDATED, query.get("updated_since"))]
    conditions = [(field, time_of(text)) for field, text in bounds if text]
    found = [
        record
        for record in store.records(SOURCE, name)
        if meets(record, conditions) and record.get("grain") in (None, query.get("grain"))
    ]
    page, size = int(query.get("page", "1")), int(query.get("per_page", "100"))
    store.maybe_fail(side=SOURCE, object=name, page=page)
    store.note("read", side=SOURCE, object=name, start=(page - 1) * size + 1)
    more = page * size < len(found)
    rows = [
        {**record, "updated_at": record.get("MetaData", {}).get(UPDATED)}
        for record in found[(page - 1) * size : page * size]
    ]
    return JSONResponse({"data": rows, "next_page": page + 1 if more else None})


def _answer(store: ExtractLoadStore, response: dict[str, Any]) -> JSONResponse:
    return JSONResponse({"QueryResponse": response, "time": store.now()})


def _condition(text: str) -> tuple[str, datetime]:
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise Refused(400, "the query cannot be parsed")
    return match[1], time_of(match[2])


def meets(record: dict[str, Any], conditions: list[tuple[str, datetime]]) -> bool:
    """Whether a record's times are at or after all bounds: field of ``MetaData`` and bound."""
    return all(time_of(record["MetaData"][field]) >= bound for field, bound in conditions)


def time_of(text: str) -> datetime:
    """Read a time; without a zone UTC is meant.

    :raises Refused: 400, it is not ISO 8601.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, "a time is ISO 8601") from None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read
