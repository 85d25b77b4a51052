"""A file of the platform that is only measured: a body that was cut short is measured anew."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest
import xxhash

from airflow_bulk.platforms.mediarithmics.document_import_calls import data_file
from airflow_bulk.runs.upload.verifying import HashedFile
from both_ways import Connected
from scripted_server import ScriptedServer


def test_a_body_that_is_cut_short_does_not_count(connected: Connected) -> None:
    content = bytes(range(256)) * 3000
    short = (200, {"Content-Length": str(len(content)), "Connection": "close"}, content[:1000])
    with ScriptedServer(short, (200, {}, content)) as server:
        file = HashedFile()
        size = connected.hook(host=server.url).download(
            data_file("mics://data_file/x"), cast("BinaryIO", file), len(content) + 1
        )
    assert size == file.size == len(content)
    assert file.digest == xxhash.xxh3_128_hexdigest(content)
    assert len(server.asked) == 2


def test_only_the_beginning_can_be_sought() -> None:
    file = HashedFile()
    file.write(b"abc")
    with pytest.raises(io.UnsupportedOperation):
        file.seek(1)
    assert (file.tell(), file.seek(0), file.tell()) == (3, 0, 0)
