"""A hash of a whole file as it is stored: what tells a file that was only touched from one that changed."""

from __future__ import annotations

from pathlib import Path

import xxhash

from airflow_bulk.documents.source.contents import (
    PACKED_WINDOW,
    PlainContents,
    RemoteContents,
    open_stored,
)
from airflow_bulk.documents.source.files import FoundFile

#: Bytes that are read at a time.
BLOCK = 1 << 20


def content_hash(found: FoundFile) -> str:
    """Return the xxh3-128 of a file's stored bytes, hexadecimal; a compressed file is not unpacked. Memory stays flat.

    :raises SourceChanged: size or version differ from the record.
    :raises SourceError: it cannot be read to its end.
    """
    contents: PlainContents | RemoteContents
    if isinstance(found.path, str | Path):
        contents, block = open_stored(found.record, found.path), BLOCK
    else:
        contents, block = RemoteContents(found.record, found.path, PACKED_WINDOW), PACKED_WINDOW
    state = xxhash.xxh3_128()
    offset = 0
    try:
        while data := contents.read_at(block, offset):
            state.update(data)
            offset += len(data)
    finally:
        contents.close()
    return state.hexdigest()
