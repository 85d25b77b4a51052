"""Reads from a paged server as a step does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from paged_server import PagedServer, Records, cursor, keyed, linked, numbered, offset, one_answer

from airflow_bulk.extract_load.readings import read_again
from airflow_bulk.hooks.extract_load_endpoints import JsonSource

CONN = "AIRFLOW_CONN_PAGED"
TOKEN = "se-cret-token"

#: Each way of paging: how a server gives its list, and the options that read it.
STYLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "number": (numbered(), {}),
    "number until empty": (numbered(next_key=None), {"next_key": None}),
    "number and total": (numbered(next_key=None, total=True), {"next_key": None, "total_key": "total"}),
    "offset": (offset(), {"paging": "offset"}),
    "cursor": (cursor, {"paging": "cursor"}),
    "relative url": (
        numbered(named=lambda server, number: f"?page={number}&per_page=100", next_key="next"),
        {"paging": "url"},
    ),
    "whole url": (
        numbered(
            named=lambda server, number: f"{server.url}/things?page={number}&per_page=100", next_key="next"
        ),
        {"paging": "url"},
    ),
    "link": (linked, {"paging": "link", "records_key": None}),
    "key": (keyed, {"paging": "key"}),
    "none": (one_answer, {"paging": "none", "total_key": "total"}),
}


def things(count: int) -> Records:
    """So many records with ids from 1 on."""
    return [{"id": number, "name": f"n{number}"} for number in range(1, count + 1)]


def connection(server: PagedServer, **extra: Any) -> str:
    """A connection to the server, with a token."""
    return json.dumps({"conn_type": "extract_load", "host": server.url, "password": TOKEN, "extra": extra})


def read_records(
    server: PagedServer, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Records, str | None]:
    """Read as a step does; the records, and what the reading rests on."""
    monkeypatch.setenv(CONN, connection(server))
    source = JsonSource("paged", **{"path": "/things", "page_size": 100, **options})

    def once() -> tuple[Records, str | None]:
        reading = source.extract("things", since=None, updated_since=None, grain=None)
        return list(reading), reading.rests_on

    return read_again(once, "extract things")


def read(
    server: PagedServer, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[Any], str | None]:
    """Read as a step does; the ids, and what the reading rests on."""
    records, rests_on = read_records(server, monkeypatch, **options)
    return [record["id"] for record in records], rests_on
