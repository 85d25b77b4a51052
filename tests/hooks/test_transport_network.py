"""What goes over the wire and whom we trust, through ``send`` and ``asend``: headers, redirects, proxies, TLS, secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.hooks.retry_after import parse_retry_after
from airflow_bulk.platforms.mediarithmics import document_import_calls as calls
from both_ways import WAYS, Connected, Outcome, by_send
from scripted_server import ScriptedServer

pytestmark = pytest.mark.parametrize("way", WAYS)

#: Neither digits nor twelve letters in a row, so that no reduction of messages hides it by chance.
TOKEN = "Canary-Token-Never-Told"
PAGE = (200, {"Content-Type": "application/json"}, b'{"status": "ok", "data": [], "count": 0}')
LIST = calls.list_document_imports("3300")
CREATE = calls.create_document_import("3300", {"name": "n"})

Way = Callable[..., Outcome]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Connected:
    """Connections that lead nowhere until a test gives them a host."""
    connection = {"conn_type": "mediarithmics", "password": TOKEN, "extra": {"datamart_id": "3300"}}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "NETRC", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return Connected(monkeypatch, json.dumps(connection))


# Headers.


@pytest.mark.parametrize("prefix", ["", "api:"])
def test_the_token_goes_into_one_header(way: Way, bare: Connected, prefix: str) -> None:
    with ScriptedServer(PAGE) as server:
        assert way(bare.hook(host=server.url, token_prefix=prefix), LIST).kind is None
    (asked,) = server.asked
    assert asked.headers["authorization"] == prefix + TOKEN
    assert TOKEN not in asked.target
    assert [name for name, value in asked.headers.items() if TOKEN in value] == ["authorization"]


def test_a_netrc_file_overrides_nothing(
    way: Way, bare: Connected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(PAGE) as server:
        assert way(bare.hook(host=server.url), LIST).kind is None
    assert [one.headers["authorization"] for one in server.asked] == [TOKEN]


def test_fields_nobody_knows_never_become_headers(way: Way, bare: Connected) -> None:
    more = {"region": "eu", "X-Forwarded-For": "10.0.0.1", "headers": {"A": "b"}, "stream": True}
    with ScriptedServer(PAGE) as server:
        assert way(bare.hook(host=server.url, **more), LIST).kind is None
    (asked,) = server.asked
    assert set(asked.headers) <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
        "authorization",
    }


def test_query_and_body_arrive_as_they_are(way: Way, bare: Connected) -> None:
    call = calls.data_file("mics://data_file/a b&c=d/+ä_errors.csv")
    with ScriptedServer((200, {}, b"line_number\n")) as server:
        assert way(bare.hook(host=server.url), call).record == b"line_number\n"
    from urllib.parse import parse_qs, urlsplit

    assert parse_qs(urlsplit(server.asked[0].target).query) == {
        "uri": ["mics://data_file/a b&c=d/+ä_errors.csv"]
    }
    with ScriptedServer((200, {}, b'{"status": "ok", "data": {"id": "7"}}')) as server:
        assert way(bare.hook(host=server.url), CREATE).record.id == "7"
    assert json.loads(server.asked[0].body) == {"name": "n"}
    assert server.asked[0].headers["content-type"] == "application/json"


# Answers.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [LIST, CREATE], ids=["get", "post"])
def test_a_redirect_is_never_followed(way: Way, bare: Connected, call: Any, status: int) -> None:
    with (
        ScriptedServer(PAGE) as other,
        ScriptedServer((status, {"Location": other.url + "/v1"}, b"")) as server,
    ):
        outcome = way(bare.hook(host=server.url), call)
    assert outcome.kind == "Refused"
    assert "a redirect, which is never followed with credentials: check the base URL" in outcome.message
    assert (len(server.asked), other.asked) == (1, [])


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "error": "Something broke", "error_code": "BROKEN", "error_id": "e-1"},
        {"data": {"id": "7", "name": "x" * 5000}, "error": "Something broke", "status": "error"},
        {"status": "error", "error": {"message": "Something broke"}},
        {"status": "error"},
    ],
    ids=["plain", "late in a long answer", "an object", "bare"],
)
@pytest.mark.parametrize("call", [LIST, CREATE], ids=["get", "post"])
def test_an_error_under_200_is_an_error(way: Way, bare: Connected, call: Any, body: dict[str, Any]) -> None:
    with ScriptedServer((200, {"Content-Type": "application/json"}, json.dumps(body).encode())) as server:
        outcome = way(bare.hook(host=server.url), call)
    assert (outcome.kind, outcome.status) == ("Refused", 200)
    if "error" in body and isinstance(body["error"], str):
        assert "Something broke" in outcome.message
    assert len(server.asked) == 1


def test_the_word_error_in_good_data_is_no_error(way: Way, bare: Connected) -> None:
    body = b'{"status": "ok", "data": [{"id": "7", "name": "error", "error": null}], "count": 1}'
    with ScriptedServer((200, {}, body)) as server:
        assert way(bare.hook(host=server.url), LIST).record.data[0].name == "error"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"\xff\xfe\x00", b"[1]", b'"text"', b"{"])
def test_no_error_page_breaks_the_error_path(way: Way, bare: Connected, status: int, content: bytes) -> None:
    with ScriptedServer((status, {}, content)) as server:
        outcome = way(bare.hook(host=server.url), LIST, tries=1)
    assert outcome.status == status
    assert str(status) in outcome.message
    assert "html" not in outcome.message


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_may_be_a_date(way: Way, bare: Connected, status: int) -> None:
    far = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    with ScriptedServer((status, {"Retry-After": far}, b"")) as server:
        hook = bare.hook(host=server.url)
        outcome = way(hook, LIST)
        assert outcome.kind == "TryLater"
        assert outcome.retry_after is not None and 7000 < outcome.retry_after <= 7200
        # It holds for the next call, too.
        assert way(type(hook)(hook.conn_id), LIST).kind == "TryLater"
    assert len(server.asked) == 1


def test_a_date_that_has_passed_is_no_wait(way: Way, bare: Connected) -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    with ScriptedServer((429, {"Retry-After": past}, b""), PAGE) as server:
        assert way(bare.hook(host=server.url), LIST).kind is None
    assert len(server.asked) == 2


@pytest.mark.parametrize("value", ["soon", "", "-5", "nan", "inf"])
def test_a_retry_after_that_says_nothing(way: Way, bare: Connected, value: str) -> None:
    assert not parse_retry_after(value)
    with ScriptedServer((429, {"Retry-After": value}, b""), PAGE) as server:
        assert way(bare.hook(host=server.url), LIST).kind is None


# Secrets.


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 503])
@pytest.mark.parametrize("prefix", ["", "api:", "Bearer ", "key"])
@pytest.mark.parametrize("call", [LIST, CREATE], ids=["get", "post"])
def test_a_platform_that_quotes_the_token_is_not_repeated(
    way: Way, bare: Connected, caplog: pytest.LogCaptureFixture, call: Any, status: int, prefix: str
) -> None:
    said = json.dumps({"status": "error", "error": f"token {TOKEN} or {prefix}{TOKEN}?", "error_code": TOKEN})
    caplog.set_level(logging.DEBUG)
    with ScriptedServer((status, {}, said.encode())) as server:
        hook = bare.hook(host=server.url, token_prefix=prefix)
        outcome = way(hook, call, tries=2)
        # The handle of the connection shows none either.
        assert TOKEN not in repr(hook.endpoint) and TOKEN not in repr(hook)
    assert outcome.kind is not None
    assert TOKEN not in outcome.message
    assert TOKEN not in caplog.text


def test_a_token_that_is_quoted_as_json_writes_it_is_not_repeated(way: Way, bare: Connected) -> None:
    token = 'Canary/To"ken+x='
    said = json.dumps({"status": "error", "error": f"token {token}"}).replace("/", "\\/")
    with ScriptedServer((400, {}, said.encode())) as server:
        message = way(bare.hook(host=server.url, password=token), LIST).message
    assert "token *" in message and "Canary" not in message


def test_no_token_when_nobody_answers(way: Way, bare: Connected, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    call = calls.data_file("mics://x", access_token=TOKEN)
    assert TOKEN not in way(bare.hook(host="http://127.0.0.1:1"), call, tries=2).message
    assert TOKEN not in caplog.text


# Proxies.


def test_the_proxy_of_the_connection(way: Way, bare: Connected) -> None:
    with ScriptedServer(PAGE) as proxy:
        hook = bare.hook(host="http://platform.invalid", proxies={"http": proxy.url})
        assert way(hook, LIST).kind is None
    assert proxy.asked[0].target.startswith("http://platform.invalid/v1/datamarts/3300/document_imports?")


@pytest.mark.parametrize("key", ["all", "http://platform.invalid"])
def test_proxies_are_spelled_as_requests_spells_them(way: Way, bare: Connected, key: str) -> None:
    with ScriptedServer(PAGE) as proxy:
        assert way(bare.hook(host="http://platform.invalid", proxies={key: proxy.url}), LIST).kind is None
    assert len(proxy.asked) == 1


def test_the_proxy_of_the_environment_and_its_exceptions(
    way: Way, bare: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(PAGE) as proxy, ScriptedServer(PAGE) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert way(bare.hook(host="http://platform.invalid"), LIST).kind is None
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert way(bare.hook(host=server.url), LIST).kind is None
    assert (len(proxy.asked), len(server.asked)) == (1, 1)


def test_the_connection_knows_better_than_the_environment(
    way: Way, bare: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(PAGE) as proxy, ScriptedServer(PAGE) as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("http_proxy", other.url)
        assert way(bare.hook(host="http://platform.invalid", proxies={"http": proxy.url}), LIST).kind is None
    assert (len(proxy.asked), len(other.asked)) == (1, 0)


@pytest.mark.parametrize("call", [LIST, CREATE], ids=["get", "post"])
@pytest.mark.parametrize("base", ["http://platform.invalid", "https://platform.invalid"])
def test_a_proxy_that_is_not_there_is_no_lost_answer(way: Way, bare: Connected, call: Any, base: str) -> None:
    hook = bare.hook(host=base, proxies={"all": "http://127.0.0.1:1"})
    outcome = way(hook, call, tries=1)
    assert outcome.kind == "TryLater"
    assert "nothing was sent" in outcome.message


def test_a_proxy_that_refuses_the_way_is_no_lost_answer(way: Way, bare: Connected) -> None:
    with ScriptedServer((407, {}, b"")) as proxy:
        hook = bare.hook(host="https://platform.invalid", proxies={"https": proxy.url})
        outcome = way(hook, CREATE, tries=1)
    assert outcome.kind == "TryLater"
    assert "nothing was sent" in outcome.message


# TLS.


@pytest.fixture(scope="module")
def tls_emulator(certificate: tuple[Path, Path]) -> Iterator[Emulator]:
    cert, key = certificate
    with Emulator.start(certfile=str(cert), keyfile=str(key)) as emulator:
        yield emulator


@pytest.fixture
def secure(tls_emulator: Emulator, bare: Connected, monkeypatch: pytest.MonkeyPatch) -> Connected:
    tls_emulator.reset()
    return Connected(monkeypatch, tls_emulator.connection_json())


@pytest.mark.parametrize("call", [LIST, CREATE], ids=["get", "post"])
def test_a_certificate_nobody_signed_is_refused_once(
    way: Way, secure: Connected, tls_emulator: Emulator, call: Any
) -> None:
    outcome = way(secure.hook(ca_path=None), call)
    assert outcome.kind == "TryLater"
    assert "the certificate of the server was refused, so nothing was sent" in outcome.message
    assert "verify and ca_path of the connection" in outcome.message
    assert outcome.message.endswith("It cannot help before that.")
    assert not outcome.passing
    assert tls_emulator.requests() == []


def test_our_own_authority_is_trusted(way: Way, secure: Connected) -> None:
    assert way(secure.hook(), LIST).kind is None


def test_a_folder_of_authorities(
    way: Way, secure: Connected, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    named = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(certificate[0])],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (tmp_path / f"{named}.0").write_bytes(certificate[0].read_bytes())
    assert way(secure.hook(ca_path=str(tmp_path)), LIST).kind is None


@pytest.mark.parametrize("verify", [False, "false", "False"])
def test_verification_can_be_turned_off(way: Way, secure: Connected, verify: bool | str) -> None:
    assert way(secure.hook(verify=verify, ca_path=None), LIST).kind is None


def test_the_bundle_of_the_environment(
    way: Way, secure: Connected, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    assert way(secure.hook(ca_path=None), LIST).kind is None


def test_the_connection_is_stricter_than_the_environment(
    way: Way, secure: Connected, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from certifi import where

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    assert way(secure.hook(ca_path=where()), LIST).kind == "TryLater"


def test_an_authority_file_that_is_missing_is_named(way: Way, secure: Connected) -> None:
    with pytest.raises(ConnectionFieldError, match=r"there is no file ca_path=.*A retry cannot help"):
        way(secure.hook(ca_path="/nowhere/ca.pem"), LIST)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_one_connection_serves_many_calls(
    way: Way, bare: Connected, certificate: tuple[Path, Path], tls: bool
) -> None:
    with ScriptedServer(PAGE, certificate=certificate if tls else None) as server:
        hook = bare.hook(host=server.url, ca_path=str(certificate[0]))
        if way is by_send:
            for _ in range(3):
                hook.send(LIST)
            hook.close()
        else:

            async def thrice() -> None:
                for _ in range(3):
                    await hook.asend(LIST)
                await hook.aclose()

            asyncio.run(thrice())
    assert (len(server.asked), server.connections) == (3, 1)
