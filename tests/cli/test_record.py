"""``airflow bulk import --record``: which file is a record, and of which import."""

import contextlib
import json
import sqlite3
import stat

import pytest
from one_task import once, write_profiles

from airflow_bulk.cli.record_file import TABLE
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


# The source.


def test_a_finished_import_says_that_it_was_imported_before(bulk, emulator, words):
    first = bulk(*words)
    assert "already" not in first.document
    again = bulk(*words)
    assert again.document == {"already": True, **first.document}
    assert "Imported before, by this record; nothing was sent now." in again.err.splitlines()
    assert len(emulator.imports()) == 1


@pytest.mark.parametrize("on_change", ["fail", "restart"])
def test_another_source_under_the_same_name_was_not_imported(
    bulk, emulator, words, source, record, on_change
):
    assert bulk(*words).code == 0
    write_profiles(source, 50)
    said = bulk(*words, "--on-source-change", on_change)
    assert said.code == 1
    assert said.document["error"] == (
        f"--record {record}: the source is not the one that was sent by this record ({source}). Nothing was sent now. "
        "To import it as it is now, name a record file that is not there yet."
    )
    source.unlink()
    assert "no such file" in bulk(*words).document["error"]
    assert len(emulator.imports()) == 1


def test_another_source_while_the_first_is_waited_for_is_refused(bulk, emulator, words, source):
    emulator.settings(run_seconds=1000)
    late = bulk(*words, "--timeout", "1").document["error"]
    assert "Still running" in late
    write_profiles(source, 50)
    assert "the source is not the one that was sent" in bulk(*words, "--timeout", "1").document["error"]
    source.unlink()  # all of it is on the platform: it can be waited for
    assert "Still running" in bulk(*words, "--timeout", "1").document["error"]
    assert len(emulator.imports()) == 1


def test_what_was_empty_is_looked_at_again(bulk, emulator, words, source):
    good = source.read_text()
    source.write_text("\n")
    empty = bulk(*words, "--on-empty", "ok")
    assert (empty.code, empty.document["import_id"]) == (0, None)
    source.write_text(good)
    assert bulk(*words, "--on-empty", "ok").document["lines_accepted"] == 100
    assert emulator.held() == once(good.splitlines())


# The file.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "--record names no file: its value is empty"),
        (":memory:", "--record :memory: would keep nothing."),
    ],
)
def test_a_name_that_keeps_no_record_is_wrong_use(bulk, emulator, source, name, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ended = bulk("import", source, *TYPE, "--yes", "--record", name)
    assert ended.code == 2
    assert ended.sentence.startswith(said)
    assert emulator.requests() == []


@pytest.mark.parametrize("value", ["{", "[]", '"x"', "{}", '{"id": 1, "runs": "x", "asked": 0}', "0"])
def test_a_broken_record_says_so(bulk, emulator, words, record, value):
    assert bulk(*words).code == 0
    with contextlib.closing(sqlite3.connect(record, isolation_level=None)) as database:
        database.execute("UPDATE record SET value = ? WHERE key = 'command'", (value,))
    said = bulk(*words)
    assert said.code == 1
    assert said.document["error"].startswith(f"--record {record}: a record that cannot be read: ")
    assert "name a file that is not there yet" in said.document["error"]
    assert len(emulator.imports()) == 1


def test_an_existing_record_becomes_private(bulk, emulator, words, record):
    record.touch()
    record.chmod(0o644)
    assert bulk(*words).code == 0
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    record.chmod(0o666)
    assert bulk(*words).code == 0
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE accounts (id INTEGER)",
        "CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT)",
        f"{TABLE}; CREATE TABLE more (id INTEGER)",
        "CREATE TABLE gone (id INTEGER); DROP TABLE gone",
    ],
)
def test_another_programs_database_is_left_as_it_is(bulk, emulator, words, record, journal, table):
    with contextlib.closing(sqlite3.connect(record)) as database:
        database.execute(f"PRAGMA journal_mode = {journal}")
        database.executescript(table)
    record.chmod(0o644)
    before, beside = record.read_bytes(), sorted(record.parent.iterdir())
    said = bulk(*words)
    assert said.code == 1
    assert said.document["error"].startswith(
        f"--record {record}: a database, but not a record of this command."
    )
    assert (record.read_bytes(), sorted(record.parent.iterdir())) == (before, beside)
    assert stat.S_IMODE(record.stat().st_mode) == 0o644
    assert emulator.imports() == []


def test_what_is_no_file_is_no_record(bulk, emulator, words, record):
    record.mkdir(mode=0o755)
    said = bulk(*words)
    assert said.code == 1
    assert said.document["error"] == f"--record {record}: is not a regular file. Name a file."
    assert stat.S_IMODE(record.stat().st_mode) == 0o755
