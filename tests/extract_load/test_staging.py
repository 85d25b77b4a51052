"""Records between tasks: local files and an object store."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from s3_server import BUCKET, S3Server

from airflow_bulk.runs.extract_load.staging import read_records, write_records

RECORDS = [
    {"Id": str(number), "name": "ü" * 100, "at": datetime(2013, 1, 1, tzinfo=UTC)} for number in range(20_000)
]


@pytest.fixture(scope="module")
def server():
    with S3Server() as server:  # one for all: Airflow keeps the file system of a connection id
        yield server


@pytest.fixture(params=["local", "s3"])
def staging(request, tmp_path, monkeypatch, server):
    if request.param == "local":
        return str(tmp_path / "a" / "b+c:d")
    monkeypatch.setenv("AIRFLOW_CONN_STAGING_STORE", server.connection_json())
    return f"s3://staging_store@{BUCKET}/staging/manual__2026-01-01T00:00:00+00:00"


def test_records_come_back_as_they_went(staging):
    uri, count = write_records(staging, "extract_Account", iter(RECORDS))
    assert count == len(RECORDS)
    back = list(read_records(uri))
    assert [record["Id"] for record in back] == [record["Id"] for record in RECORDS]
    assert back[0] == {"Id": "0", "name": "ü" * 100, "at": "2013-01-01T00:00:00Z"}


def test_each_writing_is_a_file_of_its_own(staging):
    first, _ = write_records(staging, "x", [{"n": 1}])
    second, _ = write_records(staging, "x", [{"n": Decimal("1.50")}])
    assert first != second
    assert list(read_records(first)) == [{"n": 1}]
    assert list(read_records(second)) == [{"n": "1.50"}]


def test_no_record_is_an_empty_file(staging):
    uri, count = write_records(staging, "x", [])
    assert (count, list(read_records(uri))) == (0, [])
