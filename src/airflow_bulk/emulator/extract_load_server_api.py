"""The emulated batch server: ``/batch``, ``/connection``, ``/tenant`` (extract_load.md sections 1 and 2).

Faithful: nothing of a batch is checked, unknown fields are dropped, no status is stored, POST alone starts a run.
A batch whose loads wait for what never comes hangs for ever. The setting ``extract_load_status`` adds what the real
server lacks.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_bulk.emulator.envelopes import Refused, json_object
from airflow_bulk.emulator.extract_load_engine import Run
from airflow_bulk.emulator.extract_load_source_api import store_of, with_bearer
from airflow_bulk.emulator.extract_load_store import KINDS, ExtractLoadStore, object_id, shown_time
from airflow_bulk.emulator.world import struck

router = APIRouter(prefix="/extract_load/server", dependencies=[Depends(with_bearer)])

BATCH_FIELDS = (
    *("tenant_id", "source_connection_id", "destination_connection_id", "since", "updated_since", "jobs"),
)
JOB_FIELDS = (
    "type",
    "object",
    "grain",
    "since",
    "updated_since",
    "required_objects",
    "connection_id",
    "tenant_id",
)


@router.get("/{kind}")
async def listing(request: Request, kind: str) -> JSONResponse:
    """List documents: a bare array."""
    store = store_of(request)
    documents = [one for one in store.documents(_known(kind)) if _there(store, one)]
    return JSONResponse([_shown(store, kind, document) for document in documents])


@router.get("/{kind}/{identifier}")
async def read(request: Request, kind: str, identifier: str) -> JSONResponse:
    """Return one document."""
    store = store_of(request)
    document = store.document(_known(kind), identifier)
    if not _there(store, document):
        raise Refused(404, f"{kind} not found")
    return JSONResponse(_shown(store, kind, document))


@router.post("/{kind}")
async def create(request: Request, kind: str) -> JSONResponse:
    """Store a document; of a batch this starts the run."""
    store, body = store_of(request), await json_object(request)
    document = {"id": object_id(), **_kept(_known(kind), body)}
    if kind == "batch":
        document["created_at"] = store.now()
        document["_ends"] = _play(store, document)
        if late := struck(request, "late"):
            document["_shows"] = store.world.clock.now() + int(float(late.params["seconds"]) * 1000)
    store.keep_document(kind, document)
    return JSONResponse(_shown(store, kind, document))


@router.put("/{kind}/{identifier}")
async def replace(request: Request, kind: str, identifier: str) -> JSONResponse:
    """Replace a document; never starts a run."""
    store, body = store_of(request), await json_object(request)
    old = store.document(_known(kind), identifier)
    kept = {
        key: value for key, value in old.items() if key in ("id", "created_at", "_ends", "_errors", "_shows")
    }
    document = {**_kept(kind, body), **kept}
    store.keep_document(kind, document)
    if kind == "batch":
        store.note("batch", id=identifier, err=None, status="update")
    return JSONResponse(_shown(store, kind, document))


@router.delete("/{kind}/{identifier}")
async def delete(request: Request, kind: str, identifier: str) -> JSONResponse:
    """Delete a document; the answer is the document as it was."""
    store = store_of(request)
    document = store.document(_known(kind), identifier)
    store.drop_document(kind, identifier)
    if kind == "batch":
        store.note("batch", id=identifier, err=None, status="destroy")
    return JSONResponse(_shown(store, kind, document))


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise Refused(404, "not found")
    return kind


def _kept(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """The store drops unknown fields silently (section 1.2)."""
    if kind != "batch":
        return {key: value for key, value in body.items() if key not in ("id", "_id")}
    kept = {key: body[key] for key in BATCH_FIELDS if key in body}
    jobs = kept.get("jobs", [])
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise Refused(400, "jobs is not a list of jobs")
    if any(not isinstance(job.get("type"), str) for job in jobs):
        raise Refused(400, "a job has no type")  # the one thing its schema requires (section 1.2)
    kept["jobs"] = [{key: job[key] for key in JOB_FIELDS if key in job} for job in jobs]
    return kept


def _play(store: ExtractLoadStore, batch: dict[str, Any]) -> int | None:
    """Run a batch; return when it ends on the emulator's clock (ms), or ``None`` for never."""
    run = Run(store, batch)
    ended = run.play()
    batch["_errors"] = run.errors
    settings = store.world.settings
    if not ended:
        return None
    return store.world.clock.now() + int((settings.start_delay + settings.run_seconds) * 1000)


def _there(store: ExtractLoadStore, document: dict[str, Any]) -> bool:
    """Whether it shows already: the fault ``late`` has it show later, while it runs."""
    return bool(document.get("_shows", 0) <= store.world.clock.now())


def _shown(store: ExtractLoadStore, kind: str, document: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in document.items() if not key.startswith("_")}
    if kind != "batch":
        return shown
    ends = document.get("_ends")
    over = ends is not None and store.world.clock.now() >= ends
    if over:
        shown["finished_at"] = shown_time(document["_ends"])
    if store.world.settings.extract_load_status:
        errors = document.get("_errors") or {}
        shown["status"] = ("failed" if errors else "complete") if over else "running"
        shown["errors"] = errors
    return shown
