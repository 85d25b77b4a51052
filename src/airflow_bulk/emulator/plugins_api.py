"""``/v1/plugins`` (mediarithmics.md section 7)."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import asked_page, json_object, listing, ok
from airflow_bulk.emulator.plugins import Plugins
from airflow_bulk.emulator.world import authorised, world_of

router = APIRouter(prefix="/v1/plugins", dependencies=[Depends(authorised)])


def plugins_of(request: Request) -> Plugins:
    """Return the plugins of the world that this request came to."""
    return Plugins(world_of(request))


@router.post("")
async def create_plugin(request: Request) -> JSONResponse:
    """Create a plugin."""
    return ok(plugins_of(request).create(await json_object(request)))


@router.get("")
async def list_plugins(request: Request) -> JSONResponse:
    """List plugins."""
    page = asked_page(request, world_of(request).settings)
    found, total = plugins_of(request).page(dict(request.query_params), page)
    return listing(found, total, page)


@router.get("/version/{row_id}")
async def get_plugin_of_version(request: Request, row_id: str) -> JSONResponse:
    """Get the plugin that owns a version."""
    return ok(plugins_of(request).owner(row_id))


@router.get("/{plugin_id}")
async def get_plugin(request: Request, plugin_id: str) -> JSONResponse:
    """Get a plugin."""
    return ok(plugins_of(request).get(plugin_id))


@router.post("/{plugin_id}/versions")
async def create_version(request: Request, plugin_id: str) -> JSONResponse:
    """Create a version: a DRAFT."""
    return ok(plugins_of(request).create_version(plugin_id, await json_object(request)))


@router.get("/{plugin_id}/versions")
async def list_versions(request: Request, plugin_id: str) -> JSONResponse:
    """List a plugin's versions."""
    page = asked_page(request, world_of(request).settings)
    found = plugins_of(request).versions(plugin_id)
    return listing(found[page.first : page.first + page.size], len(found), page)


@router.get("/{plugin_id}/versions/{row_id}")
async def get_version(request: Request, plugin_id: str, row_id: str) -> JSONResponse:
    """Get a version by its row id."""
    return ok(plugins_of(request).version(plugin_id, row_id))


@router.get("/{plugin_id}/versions/{row_id}/properties")
async def list_version_properties(request: Request, plugin_id: str, row_id: str) -> JSONResponse:
    """List the properties of a version."""
    plugins = plugins_of(request)
    plugins.version(plugin_id, row_id)
    page = asked_page(request, world_of(request).settings)
    found = plugins.properties(row_id)
    return listing(found[page.first : page.first + page.size], len(found), page)
