"""Taking in a file body, raw or multipart, straight to disk (mediarithmics.md section 3)."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile

from airflow_bulk.emulator.document_imports import MIME_TYPES
from airflow_bulk.emulator.envelopes import Refused, media_type
from airflow_bulk.emulator.world import World

WRITE_AT_ONCE = 1 << 20


class Taken:
    """A body that came in whole.

    :param path: where it lies.
    :param size: its bytes.
    :param file_name: the platform's name for it.
    """

    def __init__(self, path: Path, size: int, file_name: str) -> None:
        self.path = path
        self.size = size
        self.file_name = file_name


async def take_in(request: Request, world: World, mime_type: str) -> Taken:
    """Read the body of an upload to its end.

    :param mime_type: of the import.
    :raises Refused: 415 for a Content-Type that is not the import's, 413 when strict and too large, 400 for
        a multipart body without a file, or when strict an empty body.
    :raises starlette.requests.ClientDisconnect: the body was cut short; nothing is left of it.
    """
    wanted = MIME_TYPES[mime_type]
    given = media_type(request)
    multipart = given == "multipart/form-data"
    strict = world.settings.strict
    if not given:
        raise Refused(415, "Content-Type is mandatory")
    if strict and not multipart and given != wanted:
        raise Refused(415, f"Content-Type must be {wanted}, the mime_type of the import")
    if strict and request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "Content-Encoding is not supported")
    limit = world.settings.max_body_bytes if strict else None
    declared = request.headers.get("content-length", "")
    if limit is not None and not multipart and declared.isdigit() and int(declared) > limit:
        raise Refused(413, f"the body is larger than {limit} bytes")
    path = world.bodies / f"{uuid.uuid4().hex}.body"
    try:
        with path.open("wb", buffering=WRITE_AT_ONCE) as target:
            if multipart:
                name = await _multipart(request, target, wanted if strict else None)
            else:
                await _raw(request, target, limit)
                name = f"requestBody{world.dice.randrange(10**18, 10**19)}asRaw"
            size = target.tell()
        if limit is not None and size > limit:
            raise Refused(413, f"the body is larger than {limit} bytes")
        if strict and not size:
            raise Refused(400, "the body is empty")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Taken(path, size, name)


async def _raw(request: Request, target: BinaryIO, limit: int | None) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if limit is not None and size > limit:
            raise Refused(413, f"the body is larger than {limit} bytes")
        target.write(chunk)


async def _multipart(request: Request, target: BinaryIO, wanted: str | None) -> str:
    """Take the parts ``file`` and ``type``, as the vendor's console sends them."""
    async with request.form(max_files=1, max_fields=4) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Refused(400, "the multipart body has no part called file")
        given = (file.content_type or "").partition(";")[0].strip().lower()
        if wanted is not None and wanted not in (given, form.get("type")):
            raise Refused(415, f"part file must be {wanted}, the mime_type of the import")
        await file.seek(0)
        await asyncio.to_thread(shutil.copyfileobj, file.file, target, WRITE_AT_ONCE)
        return Path(file.filename or "upload").name
