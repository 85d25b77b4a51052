"""``airflow bulk import``: the operator's import outside of any DAG."""

import json
import os
import signal
import sqlite3
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from one_task import once, profile, write_profiles

from airflow_bulk.cli.importing import HOLDS

CANARY = "Grace-Hopper-17"
TYPE = ("--document-type", "USER_PROFILE", "--name", "n")
PARTS = ("--max-part-bytes", "20000", "--settle", "0.2")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 400)
    return path


@pytest.fixture
def lines(source):
    return source.read_text().splitlines()


def test_a_whole_import_is_told_in_one_sum(bulk, emulator, tmp_path):
    path = tmp_path / "profiles.ndjson"
    good = write_profiles(path, 400, bad=(5,))
    said = bulk("import", path, *TYPE, *PARTS, "--max-failures", "1", "--yes")
    assert said.code == 0
    (made,) = emulator.imports()
    first, link = said.out.splitlines()
    assert first.startswith(
        f"Document import {made['id']}: 400 lines read = 1 rejected + 399 accepted + 0 failed. 3 parts, "
    )
    assert link.endswith(f"/imports/{made['id']}")
    assert emulator.held() == once(good)
    assert made["name"].startswith("n [")


def test_the_promises_are_said_at_the_start(bulk, emulator, source, tmp_path):
    said = bulk("import", source, *TYPE, "--yes")
    assert said.err.splitlines()[:3] == [
        "Import of USER_PROFILE into datamart 3300, connection mediarithmics_default.",
        HOLDS,
        "A killed process does not go on, and nobody cancels what it has sent: use --record FILE, or a DAG.",
    ]
    recorded = bulk("import", source, *TYPE, "--yes", "--record", tmp_path / "record")
    assert "goes on where this one stops, also after a kill." in recorded.err


def test_as_json_it_is_the_operators_result(bulk, emulator, source):
    said = bulk("import", source, *TYPE, *PARTS, "--yes", "--json")
    assert said.code == 0
    document = said.document
    assert document["ok"] is True
    assert (document["lines_read"], document["lines_accepted"], document["parts"]) == (400, 400, 3)
    assert len(document["execution_ids"]) == 3
    assert set(document) == {
        *(
            "ok",
            "import_id",
            "execution_ids",
            "lines_read",
            "lines_rejected",
            "lines_accepted",
            "lines_failed",
        ),
        *("blank_lines", "parts", "bytes", "seconds", "rejects_uri", "results_uri", "error_file_uris"),
        *("lines_unprocessed", "lines_unjoined"),
        *("possible_issue_on_identifiers", "console_url", "verified"),
    }


def test_two_workers_and_no_wait(bulk, emulator, source, lines):
    said = bulk("import", source, *TYPE, *PARTS, "--workers", "2", "--no-wait", "--yes", "--json")
    assert (said.code, said.document["lines_accepted"]) == (0, None)
    assert emulator.held() == once(lines)


def test_too_many_rejected_lines_send_nothing(bulk, emulator, tmp_path):
    path = tmp_path / "profiles.ndjson"
    path.write_text(profile(1) + "\n" + json.dumps({"operation": "UPSERT", "user_account_id": CANARY}) + "\n")
    said = bulk("import", path, *TYPE, "--yes", "--json")
    assert said.code == 1
    assert said.document["error"].startswith("1 of 2 lines (50%) breaks a rule, more than --max-failures 0.")
    assert emulator.imports() == []
    assert CANARY not in said.out + said.err


def test_lines_that_fail_on_the_platform_are_judged(bulk, emulator, source):
    emulator.fault("forced_failed", times=1)
    said = bulk("import", source, *TYPE, *PARTS, "--yes", "--json")
    assert said.code == 1
    assert "ended as FAILED" in said.document["error"]
    assert said.document["import_id"] == emulator.imports()[0]["id"]


def test_the_sum_that_does_not_close_is_no_success(bulk, emulator, source):
    emulator.fault("miscount", times=1)
    said = bulk("import", source, *TYPE, *PARTS, "--yes", "--json")
    assert said.code == 1
    assert said.document["error"].startswith("The sum does not close: 1 line missing.")
    assert said.document["lines_accepted"] == 399
    assert not any(word in said.document["error"] for word in ("retry", "task", "DAG"))


def test_a_lost_answer_is_looked_up(bulk, emulator, source, lines):
    emulator.fault("lost_answer", times=1, method="POST", path="/executions$")
    assert bulk("import", source, *TYPE, *PARTS, "--yes").code == 0
    assert emulator.held() == once(lines)


# Consent.


def deletion(tmp_path):
    path = tmp_path / "gone.ndjson"
    path.write_text('{"operation":"DELETE","user_account_id":"a","compartment_id":"1"}\n' * 3)
    return (
        path,
        "--document-type",
        "USER_IDENTIFIERS_DELETION",
        "--name",
        "n",
        "--yes",
        "--max-failures",
        "100%",
    )


def test_a_deletion_needs_the_type_spelled_out_and_a_limit(bulk, emulator, tmp_path):
    words = deletion(tmp_path)
    said = bulk("import", *words)
    assert said.code == 2
    assert said.sentence.startswith("--allow-deletion must be 'USER_IDENTIFIERS_DELETION' spelled out")
    allowed = (*words, "--allow-deletion", "USER_IDENTIFIERS_DELETION")
    limited = bulk("import", *allowed)
    assert limited.code == 2
    assert limited.sentence.startswith("--max-deletions must be the highest number of lines")
    other = bulk("import", *words, "--allow-deletion", "USER_POINTS_DELETION", "--max-deletions", "5")
    assert other.code == 2
    assert emulator.requests() == []


def test_without_a_terminal_yes_must_be_said(bulk, emulator, source, monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        said = bulk("import", source, *TYPE)
    assert said.code == 2
    assert said.sentence == "Nobody can be asked here, for standard input is no terminal: say --yes."
    assert emulator.requests() == []


def test_a_template_is_refused(bulk, emulator, source):
    said = bulk("import", source, "--document-type", "USER_PROFILE", "--name", "May {{ ds }}", "--yes")
    assert (said.code, said.sentence) == (
        2,
        "--name holds a template, 'May {{ ds }}', and nothing renders it at a shell: write the value itself.",
    )
    assert emulator.imports() == []


def test_a_folder_for_rejects_that_cannot_be_is_one_sentence(bulk, emulator, tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 10, bad=(1,))
    said = bulk("import", path, *TYPE, "--max-failures", "1", "--rejects-path", path / "under", "--yes")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith(
        f"--rejects-path {path / 'under'}: no file can be written there"
    )


def test_rejected_lines_are_kept_where_asked(bulk, emulator, tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 10, bad=(1,))
    said = bulk(
        "import", path, *TYPE, "--max-failures", "1", "--rejects-path", tmp_path / "bad", "--yes", "--json"
    )
    kept = [Path(said.document[name]) for name in ("rejects_uri", "results_uri")]
    assert sorted((tmp_path / "bad").iterdir()) == sorted(kept)
    for file in kept:
        assert [json.loads(line)["line"] for line in file.read_text().splitlines()] == [1]


# Connections.


def test_no_such_connection_is_one_sentence(bulk, source):
    said = bulk("import", source, *TYPE, "--conn-id", "nowhere", "--yes")
    assert said.code == 1
    assert said.sentence.startswith("Connection 'nowhere' cannot be read: ")
    assert "AIRFLOW_CONN_NOWHERE" in said.sentence


def test_a_refused_token_is_known_before_anything_is_read(bulk, emulator, source, monkeypatch):
    connection = json.loads(emulator.connection_json())
    monkeypatch.setenv(
        "AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", json.dumps(connection | {"password": "wrong-token"})
    )
    said = bulk("import", source, *TYPE, "--yes")
    assert said.code == 1
    assert "answered 401" in said.sentence
    assert "wrong-token" not in said.sentence
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", json.dumps(connection))
    assert "answered 403" in bulk("import", source, *TYPE, "--yes", "--datamart-id", "3301").sentence


def test_a_connection_in_airflows_database_is_found(begin, airflow, emulator, source, monkeypatch):
    # In the unit test mode each process makes a key of its own.
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    airflow("connections", "delete", "in_database")
    assert airflow("connections", "add", "in_database", "--conn-json", emulator.connection_json()) == 0
    assert begin("import", source, *TYPE, "--conn-id", "in_database", "--yes").end().code == 0


def test_without_a_record_nobody_goes_on_so_what_is_pending_is_cancelled(bulk, emulator, source, states):
    emulator.settings(start_delay=1000)
    emulator.fault("forbidden", method="POST", path="/executions$", times=1, skip=2)
    said = bulk("import", source, *TYPE, *PARTS, "--yes", "--json")
    assert said.code == 1
    assert "answered 403" in said.document["error"]
    assert "2 executions cancelled." in said.document["error"]
    assert states() == ["CANCELED", "CANCELED"]


# The record.


def test_with_a_record_the_same_command_goes_on(bulk, emulator, source, lines, states, tmp_path):
    words = (source, *TYPE, *PARTS, "--yes", "--json", "--record", tmp_path / "record")
    emulator.fault("forbidden", method="POST", path="/executions$", times=1, skip=2)
    said = bulk("import", *words)
    assert said.code == 1
    assert said.document["error"].endswith(f"The same command with --record {tmp_path / 'record'} goes on.")
    assert "CANCELED" not in states()
    assert bulk("import", *words).code == 0
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 1


def test_a_finished_record_says_its_result_and_sends_nothing(bulk, emulator, source, tmp_path):
    words = (source, *TYPE, *PARTS, "--yes", "--json", "--record", tmp_path / "record")
    first = bulk("import", *words).document
    emulator.clear_requests()
    assert bulk("import", *words).document == {**first, "already": True}
    assert [one for one in emulator.requests() if one["method"] != "GET"] == []


def test_a_failed_judgement_is_judged_again(bulk, emulator, source, tmp_path):
    emulator.fault("miscount", times=1)
    words = (source, *TYPE, *PARTS, "--yes", "--json", "--record", tmp_path / "record")
    assert bulk("import", *words).code == 1
    again = bulk("import", *words)
    assert again.code == 1
    assert again.document["error"].startswith("The sum does not close")
    assert len(emulator.imports()) == 1


def test_a_source_that_changed_is_refused_or_begun_anew(bulk, emulator, source, tmp_path):
    words = (source, *TYPE, *PARTS, "--yes", "--json", "--record", tmp_path / "record")
    emulator.fault("forbidden", method="POST", path="/executions$", times=1, skip=2)
    assert bulk("import", *words).code == 1
    good = write_profiles(source, 100)
    said = bulk("import", *words)
    assert said.code == 1
    assert "--on-source-change restart" in said.document["error"]
    assert bulk("import", *words, "--on-source-change", "restart").code == 0
    assert emulator.held(emulator.imports()[-1]["id"]) == once(good)


def test_a_record_of_something_else_is_refused(bulk, emulator, source, tmp_path):
    record = tmp_path / "record"
    assert bulk("import", source, *TYPE, "--yes", "--record", record).code == 0
    other = bulk(
        "import", source, "--document-type", "USER_PROFILE", "--name", "m", "--yes", "--record", record
    )
    assert other.code == 2
    assert other.sentence.startswith(
        f"--record {record}: it is the record of another import, which differs in name."
    )
    no_record = bulk("import", source, *TYPE, "--yes", "--record", source)
    assert no_record.code == 1
    assert "cannot be used as a record" in no_record.sentence


def test_a_record_that_is_in_use_is_refused(bulk, emulator, source, tmp_path):
    record = tmp_path / "record"
    assert bulk("import", source, *TYPE, "--yes", "--record", record).code == 0
    with sqlite3.connect(record) as held:
        held.execute("BEGIN EXCLUSIVE")
        said = bulk("import", source, *TYPE, "--yes", "--record", record)
    held.close()
    assert (
        said.sentence
        == f"--record {record}: another run of this command uses it. Wait until that one has ended."
    )


def test_a_record_holds_no_secret_and_no_line_and_is_private(bulk, emulator, tmp_path):
    path, record = tmp_path / "profiles.ndjson", tmp_path / "record"
    path.write_text(profile(1, user_account_id=CANARY) + "\n")
    said = bulk("import", path, *TYPE, "--yes", "--record", record)
    assert said.code == 0
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    for held in (record.read_bytes().decode(errors="replace"), said.out, said.err):
        assert CANARY not in held
        assert emulator.token not in held


def test_a_killed_process_goes_on_with_its_record(begin, emulator, source, lines, states, until, tmp_path):
    words = (
        "import",
        source,
        *TYPE,
        *PARTS,
        "--yes",
        "--json",
        "--record",
        tmp_path / "record",
        "--workers",
        "2",
    )
    emulator.fault("slow", method="POST", path="/executions$", answer_delay=1.0, times=3)
    killed = begin(*words)
    until(lambda: len(states()) >= 1)
    killed.signal(signal.SIGKILL)
    assert killed.end().code == -signal.SIGKILL
    said = begin(*words).end()
    assert said.code == 0, said.err
    assert said.document["lines_accepted"] == 400
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 1
