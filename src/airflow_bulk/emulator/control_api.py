"""``/_emulator``: how tests drive the emulator. Not part of any platform; no fault strikes here."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from airflow_bulk.emulator import bodies
from airflow_bulk.emulator.connections import Connections
from airflow_bulk.emulator.document_imports_api import DocumentImportService, service_of
from airflow_bulk.emulator.envelopes import Page, Refused, json_object
from airflow_bulk.emulator.executions import FATES
from airflow_bulk.emulator.faults import KINDS
from airflow_bulk.emulator.world import authorised, world_of

router = APIRouter(prefix="/_emulator", dependencies=[Depends(authorised)])

LINES_AT_ONCE = 5_000
EVERYTHING = Page(0, -1)


@router.get("")
async def about(request: Request) -> JSONResponse:
    """Say what this is and what it can do."""
    world = world_of(request)
    return JSONResponse(
        {
            "emulator": "airflow-provider-bulk",
            "clock": world.clock.state(),
            "settings": dataclasses.asdict(world.settings),
            "datamarts": world.account.datamarts,
            "organisation_id": world.account.organisation_id,
            "seed": world.seed,
            "faults": {name: kind.about for name, kind in KINDS.items()},
        }
    )


@router.get("/clock")
async def read_clock(request: Request) -> JSONResponse:
    """Read the clock."""
    return JSONResponse(world_of(request).clock.state())


@router.post("/clock")
async def drive_clock(request: Request) -> JSONResponse:
    """Drive the clock: ``{"do": "advance", "seconds": 60}``, ``{"do": "freeze"}``, ``{"do": "resume"}``."""
    clock = world_of(request).clock
    body = await json_object(request)
    try:
        if body.get("do") == "advance":
            clock.advance(float(body.get("seconds", 0)))
        elif body.get("do") == "freeze":
            clock.freeze()
        elif body.get("do") == "resume":
            clock.resume()
        else:
            raise ValueError("do is advance, freeze or resume")
    except (TypeError, ValueError) as error:
        raise Refused(400, str(error)) from None
    return JSONResponse(clock.state())


@router.get("/settings")
async def read_settings(request: Request) -> JSONResponse:
    """Read the settings."""
    return JSONResponse(dataclasses.asdict(world_of(request).settings))


@router.patch("/settings")
async def change_settings(request: Request) -> JSONResponse:
    """Change some settings."""
    world = world_of(request)
    body = await json_object(request)
    try:
        world.change_settings(body)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    return JSONResponse(dataclasses.asdict(world.settings))


@router.get("/faults")
async def list_faults(request: Request) -> JSONResponse:
    """List the faults as they stand."""
    return JSONResponse(world_of(request).faults.listed())


@router.post("/faults")
async def add_fault(request: Request) -> JSONResponse:
    """Ask for a fault: ``{"name": ..., "path"?, "method"?, "probability"?, "times"?, "skip"?, params}``."""
    body = await json_object(request)
    name = str(body.pop("name", ""))
    try:
        fault = world_of(request).faults.add(name, body)
    except (TypeError, ValueError) as error:
        raise Refused(400, str(error)) from None
    return JSONResponse(dataclasses.asdict(fault))


@router.delete("/faults")
async def clear_faults(request: Request) -> JSONResponse:
    """Take back all faults."""
    world_of(request).faults.clear()
    return JSONResponse({})


@router.delete("/faults/{number}")
async def clear_fault(request: Request, number: int) -> JSONResponse:
    """Take back one fault."""
    if not world_of(request).faults.clear(number):
        raise Refused(404, f"there is no fault {number}")
    return JSONResponse({})


@router.get("/requests")
async def list_requests(request: Request) -> JSONResponse:
    """List the calls, oldest first; those under way last."""
    return JSONResponse(world_of(request).log.listed())


@router.delete("/requests")
async def clear_requests(request: Request) -> JSONResponse:
    """Forget the finished calls."""
    world_of(request).log.clear()
    return JSONResponse({})


@router.get("/imports")
async def list_imports(request: Request) -> JSONResponse:
    """List all imports, deleted ones included."""
    return JSONResponse(service_of(request).imports.everything())


@router.get("/imports/{import_id}/executions")
async def list_executions(request: Request, import_id: int) -> JSONResponse:
    """List the visible executions of an import, oldest first."""
    service = service_of(request)
    rows, _ = service.executions.page(str(import_id), EVERYTHING)
    return JSONResponse(await service.show(rows[::-1]))


@router.post("/executions/{number}")
async def change_execution(request: Request, number: int) -> JSONResponse:
    """Change an execution's course: ``{"fate"?: ..., "start"?: true, "end"?: true}``."""
    service = service_of(request)
    body = await json_object(request)
    fate = body.get("fate")
    if fate is not None and fate not in FATES:
        raise Refused(400, f"fate is one of {', '.join(FATES)}")
    service.executions.change(number, fate=fate, start=bool(body.get("start")), end=bool(body.get("end")))
    row = service.executions.row(number)
    if row is None:
        raise Refused(404, f"there is no execution {number}")
    return JSONResponse((await service.show([row]))[0])


@router.get("/held")
async def held(request: Request, import_id: int | None = None) -> StreamingResponse:
    """Give back every line held, one a line, as often as it was imported. Order means nothing."""
    service = service_of(request)
    rows = await _held_rows(service, import_id)

    def blocks() -> Iterator[bytes]:
        lines = _lines(service, rows)
        while block := list(itertools.islice(lines, LINES_AT_ONCE)):
            yield b"\n".join(block) + b"\n"

    return StreamingResponse(blocks(), media_type="application/x-ndjson")


@router.get("/held/totals")
async def held_totals(request: Request, import_id: int | None = None) -> JSONResponse:
    """Count the lines held: in all, different ones, and those held more than once."""
    service = service_of(request)
    rows = await _held_rows(service, import_id)
    return JSONResponse(await run_in_threadpool(_totals, service, rows))


@router.post("/reset")
async def reset(request: Request) -> JSONResponse:
    """Forget everything but the id counters; calls under way are cut."""
    world = world_of(request)
    connections: Connections = request.app.state.connections
    for client in world.log.forget_under_way():
        connections.cut(client, reset=True)
    await service_of(request).checks.wait_for_all()
    world.reset()
    return JSONResponse({})


async def _held_rows(service: DocumentImportService, import_id: int | None) -> list[sqlite3.Row]:
    rows = service.executions.started(import_id)
    await service.checks.wait(row["id"] for row in rows)
    return rows


def _lines(service: DocumentImportService, rows: list[sqlite3.Row]) -> Iterator[bytes]:
    for row in rows:
        body, errors = service.checks.paths(row)
        yield from bodies.good_lines(body, errors, is_csv=row["mime_type"] == "TEXT_CSV", taken=row["taken"])


def _totals(service: DocumentImportService, rows: list[sqlite3.Row]) -> dict[str, Any]:
    counts = Counter(_lines(service, rows))
    return {
        "lines": counts.total(),
        "different": len(counts),
        "more_than_once": sum(1 for times in counts.values() if times > 1),
        "executions": len(rows),
    }
