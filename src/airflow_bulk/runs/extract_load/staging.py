"""Records between tasks: files under a staging folder that every worker reaches. XCom carries their names alone.

Each writing makes a file of its own: what an older try still writes is never what a newer one refers to. Records are
personal data: local files are readable by their owner only, and nothing here logs them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from airflow_bulk.extract_load.mapping import Record

_BLOCK = 1 << 20
_LONGEST_NAME = 150


def write_records(staging: str, name: str, records: Iterable[Record]) -> tuple[str, int]:
    """Write records as NDJSON, one a line, as they come; nothing is gathered in memory.

    :param staging: folder: a path, or the URL of an object store as ``ObjectStoragePath`` takes it.
    :param name: beginning of the file's name.
    :return: where they are, and how many.
    """
    from airflow.sdk import ObjectStoragePath

    folder = ObjectStoragePath(staging)
    path = folder / f"{name[:_LONGEST_NAME]}-{uuid.uuid4().hex}.ndjson"
    if _is_local(folder):  # a folder of an object store is no thing of its own
        folder.mkdir(parents=True, exist_ok=True)
    count = 0
    encode = msgspec.json.Encoder().encode
    with _open(path) as file:
        block = bytearray()
        for record in records:
            block += encode(record)
            block += b"\n"
            count += 1
            if len(block) >= _BLOCK:
                file.write(bytes(block))
                block.clear()
        file.write(bytes(block))
    return str(path), count


def read_records(uri: str) -> Iterator[Record]:
    """Read records back, one at a time."""
    from airflow.sdk import ObjectStoragePath

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with ObjectStoragePath(uri).open("rb") as file:
        for line in file:
            yield decode(line)


def _open(path: Any) -> IO[bytes]:
    if _is_local(path):
        descriptor = os.open(Path(path.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return os.fdopen(descriptor, "wb")
    opened: IO[bytes] = path.open("wb")
    return opened


def _is_local(path: Any) -> bool:
    return path.protocol in ("", "file", "local")
