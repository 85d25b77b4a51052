"""A redirect never takes the token anywhere: neither to another host, nor another port, nor another path of the same server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.platforms.mediarithmics import document_import_calls as calls
from both_ways import WAYS, Connected, Outcome
from scripted_server import ScriptedServer

TOKEN = "Canary-Token-Never-Told"
LIST = calls.list_document_imports("3300")
PAGE = (200, {"Content-Type": "application/json"}, b'{"status": "ok", "data": [], "count": 0}')
EMPTY = (200, {}, b"{}")
Way = Callable[..., Outcome]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Connected:
    """Connections that lead nowhere until a test gives them a host."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    connection = {"conn_type": "mediarithmics", "password": TOKEN, "extra": {"datamart_id": "3300"}}
    return Connected(monkeypatch, json.dumps(connection))


def on_localhost(url: str) -> str:
    return url.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "spelled",
    [
        lambda url: on_localhost(url) + "/v1",
        lambda url: on_localhost(url).removeprefix("http:") + "/v1",
        lambda url: url.replace("//", "//me:word@") + "/v1?a=b",
    ],
    ids=["another name", "without a scheme", "with a login"],
)
def test_another_server_is_never_asked(way: Way, bare: Connected, spelled: Callable[[str], str]) -> None:
    with (
        ScriptedServer(PAGE) as other,
        ScriptedServer((307, {"Location": spelled(other.url)}, b"")) as server,
    ):
        outcome = way(bare.hook(host=server.url), LIST)
    assert (outcome.kind, outcome.status) == ("Refused", 307)
    # Nor does the message say where to: a Location may hold a secret of the server's own.
    assert "localhost" not in outcome.message and "word" not in outcome.message
    assert (len(server.asked), other.asked, other.connections) == (1, [], 0)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_server_is_not_asked_again_either(way: Way, bare: Connected) -> None:
    with ScriptedServer((302, {"Location": "/elsewhere"}, b""), PAGE) as server:
        assert way(bare.hook(host=server.url), LIST).kind == "Refused"
    assert len(server.asked) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_from_tls_to_plain_is_not_followed(
    way: Way, bare: Connected, certificate: tuple[object, object]
) -> None:
    with (
        ScriptedServer(PAGE) as other,
        ScriptedServer((308, {"Location": other.url}, b""), certificate=certificate) as server,  # type: ignore[arg-type]
    ):
        outcome = way(bare.hook(host=server.url, ca_path=str(certificate[0])), LIST)
    assert (outcome.kind, other.connections) == ("Refused", 0)


@pytest.mark.parametrize("make", [MediarithmicsHook, CentrapayHook], ids=["Authorization", "X-Api-Key"])
def test_a_session_of_ones_own_leaves_the_token_behind(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """``get_conn`` is public: its session follows redirects, and would take a header that is not ``Authorization`` along."""
    with ScriptedServer(EMPTY) as other:
        moved = (307, {"Location": on_localhost(other.url)}, b"")
        with ScriptedServer(moved) as server:
            connection = {"conn_type": make.conn_type, "host": server.url, "password": TOKEN}
            monkeypatch.setenv("AIRFLOW_CONN_MOVED", json.dumps(connection))
            make("moved").get_conn().get(server.url)
    assert len(server.asked) == len(other.asked) == 1
    assert TOKEN in str(server.asked[0].headers)
    assert TOKEN not in str(other.asked[0].headers)


@pytest.mark.parametrize("way", WAYS)
def test_a_certificate_for_another_name_is_refused(
    way: Way, bare: Connected, certificate: tuple[object, object]
) -> None:
    """The authority is trusted, but its certificate is for ``localhost`` and 127.0.0.1."""
    cert, key = map(str, certificate)
    with Emulator.start(host="127.0.0.2", certfile=cert, keyfile=key) as emulator:
        outcome = way(bare.hook(host=emulator.url, ca_path=cert), LIST)
        assert outcome.kind == "TryLater"
        assert "the certificate of the server was refused, so nothing was sent" in outcome.message
