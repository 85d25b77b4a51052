"""Puts the APIs together: one router file per API, all on one :class:`World`.

A new API is a new router file and a line in :data:`ROUTERS`; its stores go on ``app.state``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from airflow_bulk.emulator import (
    access_tokens_api,
    centrapay_api,
    centrapay_control_api,
    control_api,
    data_files_api,
    document_imports_api,
    extract_load_control_api,
    extract_load_destination_api,
    extract_load_server_api,
    extract_load_source_api,
    integration_batches_api,
    integration_batches_control_api,
    plugins_api,
)
from airflow_bulk.emulator.centrapay_store import CentrapayRefused, CentrapayStore
from airflow_bulk.emulator.connections import Connections
from airflow_bulk.emulator.envelopes import Refused, failure
from airflow_bulk.emulator.gateway import Gateway
from airflow_bulk.emulator.world import World

ROUTERS = (
    access_tokens_api.router,
    document_imports_api.router,
    data_files_api.router,
    plugins_api.router,
    integration_batches_api.router,
    integration_batches_control_api.router,
    centrapay_api.router,
    centrapay_control_api.router,
    extract_load_server_api.router,
    extract_load_source_api.router,
    extract_load_destination_api.router,
    extract_load_control_api.router,
    control_api.router,
)


def build(world: World, connections: Connections) -> Gateway:
    """Return the ASGI application of the emulator.

    :param world: the shared state.
    :param connections: the server's open connections, for faults that end them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        checks = app.state.document_imports.checks
        checks.begin_again()
        yield
        checks.stop()
        world.database.close()

    app = FastAPI(
        title="airflow-provider-bulk emulator",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.world = world
    app.state.connections = connections
    app.state.document_imports = document_imports_api.DocumentImportService(world)
    app.state.centrapay = CentrapayStore(world)
    for router in ROUTERS:
        app.include_router(router)
    _answer_errors(app)
    return Gateway(app, world, connections)


def _answer_errors(app: FastAPI) -> None:
    """Answer errors as the platforms do."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return failure(error.status, error.message)

    @app.exception_handler(CentrapayRefused)
    async def centrapay_refused(_: Request, error: CentrapayRefused) -> JSONResponse:
        return centrapay_api.refusal(error.status, error.message)

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> JSONResponse:
        if request.url.path.startswith("/api/"):
            # An unknown route or a wrong method (centrapay.md section 7).
            return centrapay_api.refusal(404, "Not Found")
        return failure(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return failure(400, "the request is not valid")

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        # Nobody is there to read it.
        return Response(status_code=400)
