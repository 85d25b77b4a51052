"""``airflow bulk import --record``: which file is a record, and of which import."""

import json

import pytest
from one_task import once, write_profiles

from airflow_bulk.emulator.handle import Emulator

TYPE = ("--document-type", "USER_PROFILE", "--name", "n")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 100)
    return path


@pytest.fixture
def record(tmp_path):
    return tmp_path / "record"


@pytest.fixture
def words(source, record):
    """The same command at each run."""
    return ("import", source, *TYPE, "--yes", "--json", "--record", record)


# The platform.


def test_another_platform_is_another_import(bulk, emulator, words, source, record, monkeypatch):
    assert bulk(*words).code == 0
    with Emulator.start() as other:
        connection = json.loads(other.connection_json())
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
        said = bulk(*words, "--conn-id", "other")
        assert said.code == 2
        assert said.document["error"] == (
            f"--record {record}: it is the record of an import on {emulator.url}, and this connection leads to "
            f"{other.url}. Nothing was sent. Name another file to begin an import there."
        )
        assert other.imports() == []
        assert bulk(*words[:-1], f"{record}-of-other", "--conn-id", "other").code == 0
        assert other.held() == once(source.read_text().splitlines())


def test_a_password_in_the_address_is_in_no_record(bulk, emulator, words, record, monkeypatch):
    connection = json.loads(emulator.connection_json())
    scheme, _, place = emulator.url.partition("://")
    connection["host"] = f"{scheme}://ada:hidden-word@{place}"
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", json.dumps(connection))
    said = bulk(*words)
    assert b"hidden-word" not in record.read_bytes()
    assert emulator.url.encode() in record.read_bytes(), said.err
