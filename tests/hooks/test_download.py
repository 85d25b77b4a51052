"""A file of the platform comes block by block into an open file: with a bound, whole, with the token in the header."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.download import Download
from airflow_bulk.platforms.errors import Forbidden, NotFound, Refused, TooLarge, TryLater
from airflow_bulk.platforms.mediarithmics.document_import_calls import DocumentImports, data_file
from both_ways import Connected, attempts
from scripted_server import ScriptedServer

URI = "mics://data_file/a b&c=d_errors.csv"


def test_the_bytes_as_they_are_behind_what_the_file_holds(connected: Connected) -> None:
    content = bytes(range(256)) * 5000
    with ScriptedServer((200, {}, content)) as server:
        into = io.BytesIO(b"before and a rest that must go")
        into.seek(6)
        hook = connected.hook(host=server.url)
        assert hook.download_data_file(URI, into, len(content)) == len(content)
    assert into.getvalue() == b"before" + content
    (asked,) = server.asked
    assert asked.target.startswith("/v1/data_file/data?uri=mics") and "access_token" not in asked.target
    assert asked.headers["authorization"] and asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("told", [True, False], ids=["length told", "length not told"])
def test_a_file_that_is_too_large_is_refused_and_not_asked_for_again(
    connected: Connected, told: bool
) -> None:
    content = b"x" * 1000
    headers = {} if told else {"Transfer-Encoding": "chunked", "Content-Length": ""}
    body = content if told else b"3e8\r\n" + content + b"\r\n0\r\n\r\n"
    with ScriptedServer((200, headers, body)) as server:
        hook = connected.hook(host=server.url)
        with pytest.raises(TooLarge, match="at most 999 bytes are read"):
            hook.download_data_file(URI, io.BytesIO(), 999)
        into = io.BytesIO()
        assert hook.download_data_file(URI, into, 1000) == 1000
    assert into.getvalue() == content
    assert len(server.asked) == 2


def test_a_body_that_is_cut_short_is_asked_for_again_from_its_beginning(connected: Connected) -> None:
    short = (200, {"Content-Length": "10", "Connection": "close"}, b"wrong")
    with ScriptedServer(short, (200, {}, b"right")) as server:
        into = io.BytesIO()
        assert connected.hook(host=server.url).download_data_file(URI, into, 100) == 5
    assert into.getvalue() == b"right"
    assert len(server.asked) == 2


def test_a_body_that_is_always_cut_short_passes_by_itself(connected: Connected) -> None:
    short = (200, {"Content-Length": "10", "Connection": "close"}, b"wrong")
    with ScriptedServer(short) as server, pytest.raises(TryLater) as caught:
        connected.hook(host=server.url).send(data_file(URI), tries=2, into=Download(io.BytesIO(), 100))
    assert caught.value.passing and len(server.asked) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_platform_is_asked_again(connected: Connected, status: int) -> None:
    with ScriptedServer((status, {}, b"busy"), (200, {}, b"file")) as server:
        into = io.BytesIO()
        connected.hook(host=server.url).download_data_file(URI, into, 100)
    assert into.getvalue() == b"file"


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (404, NotFound), (302, Refused)])
def test_what_is_refused_writes_nothing(connected: Connected, status: int, error: type[Exception]) -> None:
    with ScriptedServer((status, {"Location": "http://127.0.0.1:9/"}, b"x" * 100_000)) as server:
        into = io.BytesIO(b"kept")
        with pytest.raises(error, match="fetch a data file"):
            connected.hook(host=server.url).download_data_file(URI, into, 10)
    assert into.getvalue() == b"kept" and len(server.asked) == 1


def test_an_answer_that_the_emulator_cuts(connected: Connected, bulk_emulator: Emulator) -> None:
    fed = FedImport(bulk_emulator)
    execution = fed.upload(good=1, bad=50)
    fed.end(execution)
    hook = connected.hook()
    result = hook.get_execution(fed.id, execution).result
    assert result is not None and result.error_file_uri is not None
    bulk_emulator.fault("half_answer", method="GET", path="data_file", times=1)
    bulk_emulator.clear_requests()
    with tempfile.TemporaryFile() as into:
        size = hook.download_data_file(result.error_file_uri, into, 1 << 20)
        into.seek(0)
        assert into.read() == hook.fetch_error_file(result.error_file_uri)
        assert size == into.tell()
    assert len(attempts(bulk_emulator)) == 3


def test_memory_is_flat() -> None:
    """A file of 400 MB takes no more memory than one of a single byte."""
    script = Path(__file__).with_name("download_script.py")
    peaks = [
        int(subprocess.run([sys.executable, script, str(size)], capture_output=True, check=True).stdout)
        for size in (1, 400 << 20)
    ]
    assert peaks[1] < peaks[0] + (20 << 10), f"kB: {peaks}"


def test_the_port_has_the_call() -> None:
    call = DocumentImports("3300").data_file(URI)
    assert call.parameters() == {"uri": URI} and call.repeatable
