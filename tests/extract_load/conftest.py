"""One emulator as source, destination and batch server, and the connections that lead to it."""

from __future__ import annotations

import contextlib
import urllib.parse
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator

CONNECTIONS = {
    "el_server": ("server", {}),
    "el_quickbooks": ("source", {"api": "quickbooks", "realm": "1"}),
    "el_json": ("source", {"api": "json"}),
    "el_destination": ("destination", {"api": "activecell"}),
}


@pytest.fixture
def extract_load(bulk_emulator, monkeypatch) -> ExtractLoadEmulator:
    """The emulated systems, reachable over the connections above."""
    emulated = ExtractLoadEmulator(bulk_emulator)
    for name, (part, extra) in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", emulated.connection_json(part, **extra))
    return emulated


@pytest.fixture
def database(postgres_url, monkeypatch) -> Iterator[Any]:
    """A schema of this test alone, as a psycopg2 connection; the connection id is ``el_postgres``."""
    import psycopg2

    schema = f"bulk_{uuid.uuid4().hex[:8]}"
    with contextlib.closing(psycopg2.connect(postgres_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {schema}")
            cursor.execute(f"SET search_path TO {schema}")
            options = urllib.parse.quote(f"-csearch_path={schema}")
            monkeypatch.setenv("AIRFLOW_CONN_EL_POSTGRES", f"{postgres_url}?options={options}")
            yield cursor
            cursor.execute(f"DROP SCHEMA {schema} CASCADE")
