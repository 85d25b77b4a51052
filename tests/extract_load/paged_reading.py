"""Reads from a paged server as a step does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from paged_server import PagedServer, Records

from airflow_bulk.extract_load.readings import read_again
from airflow_bulk.hooks.extract_load_endpoints import JsonSource

CONN = "AIRFLOW_CONN_PAGED"
TOKEN = "se-cret-token"


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
