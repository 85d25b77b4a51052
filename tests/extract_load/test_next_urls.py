"""The URL of a next page comes from an answer: where it leads, who gets what, and what is told of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paged_reading import TOKEN, read, things
from paged_server import Answer, PagedServer, Request, fixed, numbered, serving

from airflow_bulk.hooks.extract_load_endpoints import ActiveCellDestination
from airflow_bulk.platforms.errors import Forbidden, WrongAnswer
from airflow_bulk.platforms.paging import whole_url

URL = {"paging": "url"}


@pytest.mark.parametrize(
    "named",
    [
        "http://[::1",
        "http://127.0.0.1:99999/things",
        "http://127.0.0.1:hunter2/things",
        "http://hunter2\u2100b/things",
        f"http://{'hunter2' * 12}/things",
        "http://hunter2 b/things",
        "http://hunter2\\b/things",
        "http://hunter2..b/things",
        "https:hunter2",
        "ftp://hunter2/things",
        "javascript:hunter2",
    ],
)
def test_what_is_no_url_fails_at_once_and_is_not_told(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer([], fixed({"data": things(2), "next": named}))) as server:
        with pytest.raises(WrongAnswer, match="no URL of http or https") as error:
            read(server, monkeypatch, **URL)
        assert len(server.requests) == 1
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None
    assert "hunter2" not in str(error.value.__context__)


def naming(other: PagedServer) -> Any:
    """Pages whose next one is at another server."""
    return numbered(
        named=lambda server, number: f"{other.url}/things?page={number}&per_page=100",
        next_key="next",
    )


def test_another_host_gets_no_cookies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies know no ports, and those of a domain go to all its hosts: a session is worth as much as a token."""
    with serving(PagedServer(things(250), numbered(next_key="next"))) as other:
        plain = other.style = naming(other)

        def style(server: PagedServer, request: Request) -> Answer:
            answer = plain(server, request)
            answer.headers["Set-Cookie"] = "session=hunter2; Path=/"
            return answer

        with serving(PagedServer(things(250), style)) as server:
            assert read(server, monkeypatch, **URL)[0] == list(range(1, 251))
        assert "session=hunter2" in server.requests[-1].headers["cookie"]
    assert len(other.requests) == 4
    for request in other.requests:
        assert not {"cookie", "authorization", "proxy-authorization"} & set(request.headers)


def test_another_place_is_told_once_a_reading(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(PagedServer(things(250), numbered(next_key="next"))) as other:
        other.style = naming(other)
        with serving(PagedServer(things(250), naming(other))) as server:
            read(server, monkeypatch, **URL)
    told = [line for line in "".join(capsys.readouterr()).splitlines() if "another place" in line]
    assert len(told) == 2  # the list is read twice
    assert all(f"The next page is at {other.url}, another place" in line for line in told)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_another_place_names_the_reason(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual cause: a server behind a proxy that names itself http:// or by its own port."""
    with serving(PagedServer([], lambda *asked: Answer({"error": "who are you"}, status))) as other:
        with serving(PagedServer(things(250), naming(other))) as server:
            with pytest.raises(Forbidden) as error:
                read(server, monkeypatch, **URL)
            told = str(error.value)
            assert f"{other.url} answered {status}" in told
            assert f"another place than the connection's, {server.url}" in told
            assert "A retry cannot help" in told
        assert len(other.requests) == 1


def test_the_token_of_a_query_stays_at_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """ActiveCell takes its token in the query; a next page elsewhere gets none."""

    def first(server: PagedServer, request: Request) -> Answer:
        links = f'<{other.url}/things?page=2&per_page=2>; rel="next"'
        return Answer(server.records[:2], headers={"Link": links})

    def second(server: PagedServer, request: Request) -> Answer:
        return Answer(server.records[2:], headers={"Link": '<?page=1>; rel="first"'})

    with serving(PagedServer(things(3), second)) as other, serving(PagedServer(things(3), first)) as server:
        given = {"conn_type": "extract_load", "host": server.url, "password": TOKEN}
        monkeypatch.setenv("AIRFLOW_CONN_CELL", json.dumps(given))
        assert [record["id"] for record in ActiveCellDestination("cell").snapshot("things")] == [1, 2, 3]
    assert all(request.query["token"] == TOKEN for request in server.requests)
    assert all(TOKEN not in str(request) for request in other.requests)


PIECE = st.text("aé1.:/\\@?#[]%;&= \t\n\u2100\uff0f-_~", max_size=12)


@given(
    st.sampled_from(["http://", "https://", "HTTP://", "//", "/", "?", "http:/", "http:\\\\"]), PIECE, PIECE
)
def test_who_compares_and_who_connects_read_the_same_host(scheme: str, host: str, rest: str) -> None:
    from urllib3.util import parse_url

    url = whole_url("https://api.example.com:8443/v1/things", f"{scheme}{host}api.example.com:8443{rest}")
    if url is None:
        return
    ours, theirs = urlsplit(url), parse_url(url)
    assert "@" not in ours.netloc
    assert (ours.scheme, ours.hostname, ours.port) == (
        theirs.scheme,
        (theirs.host or "").strip("[]"),
        theirs.port,
    )
