"""Ctrl-C in a real process: what can be cancelled is, what goes on is named, and nothing stays PENDING."""

import argparse
import json
import os
import signal
import time
from collections import Counter

import pytest
from one_task import write_profiles

from airflow_bulk.cli.output import command
from airflow_bulk.cli.stopping import Signals

TYPE = ("--document-type", "USER_PROFILE", "--name", "n", "--yes")
UPLOAD = {"method": "POST", "path": "/executions$"}
CANCEL = {"method": "POST", "path": "/action$"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 1000)
    return path


def importing(begin, source, *words):
    return begin("import", source, *TYPE, "--settle", "1", *words)


@pytest.mark.parametrize("workers", [1, 2])
def test_in_the_middle_of_sending(begin, emulator, source, states, until, workers):
    emulator.settings(start_delay=1000)
    emulator.fault("slow", answer_delay=0.5, **UPLOAD)
    running = importing(begin, source, "--max-part-bytes", "5000", "--workers", str(workers), "--json")
    until(lambda: len(states()) >= 3)
    running.signal()
    said = running.end()
    assert said.code == 130
    assert set(states()) == {"CANCELED"}
    assert said.document["stopped"] is True
    assert said.document["going"] == said.document["pending"] == []
    assert len(said.document["cancelled"]) == len(states()) < 22
    assert "Nothing goes on." in said.err
    assert not emulator.held()


def test_what_has_begun_is_named_and_goes_on(begin, emulator, source, states, until):
    emulator.settings(start_delay=1000, run_seconds=1000)
    emulator.fault("slow", answer_delay=0.5, **UPLOAD)
    running = importing(begin, source, "--max-part-bytes", "5000", "--json")
    until(lambda: len(states()) >= 3)
    (made,) = emulator.imports()
    first = emulator.executions(made["id"])[0]["id"]
    emulator.change_execution(first, start=True)
    running.signal()
    said = running.end()
    assert said.code == 130
    assert said.document["going"] == [first]
    assert f"1 execution had begun, cannot be cancelled and goes on: {first}." in said.err
    assert Counter(states())["RUNNING"] == 1
    assert set(states()) == {"CANCELED", "RUNNING"}


def test_an_upload_whose_answer_is_lost_in_that_moment_is_cancelled_too(
    begin, emulator, source, states, until
):
    emulator.settings(start_delay=1000)
    # Acted on, but shown and answered later: the process is stopped between its last block and the answer.
    emulator.fault("slow", answer_delay=3.0, skip=1, **UPLOAD)
    running = importing(begin, source, "--max-part-bytes", "20000", "--settle", "4", "--json")
    until(
        lambda: any(
            not one["done"] and one["method"] == "POST" and one["path"].endswith("/executions")
            for one in emulator.requests()[1:]
        )
    )
    running.signal()
    said = running.end()
    assert said.code == 130
    assert "PENDING" not in states()


def test_in_the_middle_of_waiting_with_many_pending(begin, emulator, source, states, until):
    emulator.settings(start_delay=1000)
    running = importing(begin, source, "--max-part-bytes", "1000")
    running.hear("Waiting: ")
    before = states()
    assert len(before) > 100
    assert set(before) == {"PENDING"}
    running.signal()
    said = running.end()
    assert said.code == 130
    assert Counter(states()) == {"CANCELED": len(before)}
    assert f"{len(before)} executions cancelled." in said.err
    assert said.out == ""


def test_a_second_one_is_answered_and_breaks_nothing_off(begin, emulator, source, states):
    emulator.settings(start_delay=1000)
    emulator.fault("slow", answer_delay=0.3, **CANCEL)
    running = importing(begin, source, "--max-part-bytes", "1000")
    running.hear("Waiting: ")
    running.signal()
    running.hear("Cancelling ")
    running.signal()
    said = running.end()
    assert said.code == 130
    assert "Still cancelling: press Ctrl-C once more to leave" in said.err
    assert set(states()) == {"CANCELED"}


def test_a_third_one_leaves_and_says_what_is_pending(begin, emulator, source, states):
    emulator.settings(start_delay=1000)
    emulator.fault("slow", answer_delay=1.0, **CANCEL)
    running = importing(begin, source, "--max-part-bytes", "1000", "--json")
    running.hear("Waiting: ")
    running.signal()
    running.hear("Cancelling ")
    running.signal()
    running.hear("Still cancelling")
    running.signal()
    said = running.end()
    assert said.code == 130
    pending = [
        one["id"] for one in emulator.executions(emulator.imports()[0]["id"]) if one["status"] == "PENDING"
    ]
    assert said.document["pending"] == pending[::-1]
    assert len(pending) > 20
    assert f"STILL PENDING, so their lines will be imported: {pending[-1]}, " in said.err
    assert said.err.rstrip().endswith(f"airflow bulk executions cancel {emulator.imports()[0]['id']}.")


def test_a_refused_cancel_is_named(begin, emulator, source, states):
    emulator.settings(start_delay=1000)
    emulator.fault("refuse_cancel")
    running = importing(begin, source, "--max-part-bytes", "20000")
    running.hear("Waiting: ")
    running.signal()
    said = running.end()
    assert said.code == 130
    assert "STILL PENDING, so their lines will be imported: " in said.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ends_are_as_orderly(begin, emulator, source, states, number):
    emulator.settings(start_delay=1000)
    running = importing(begin, source)
    running.hear("Waiting: ")
    running.signal(number)
    assert running.end().code == 128 + number
    assert states() == ["CANCELED"]


def test_before_anything_was_sent(begin, emulator, source):
    emulator.fault("slow", method="GET", path="/document_imports$", answer_delay=2.0, skip=1)
    running = importing(begin, source, "--json")
    running.hear("Checked 1000 lines")
    running.signal()
    said = running.end()
    assert said.code == 130
    assert (
        said.document == {"ok": False, "error": "Nothing was sent.", "stopped": True}
        or "may just" in said.document["error"]
    )
    assert emulator.imports() == []


def test_with_a_record_the_same_command_goes_on(begin, emulator, source, states, until, tmp_path):
    emulator.settings(start_delay=1000)
    emulator.fault("slow", answer_delay=0.5, times=4, **UPLOAD)
    words = ("--max-part-bytes", "20000", "--record", tmp_path / "record", "--json")
    running = importing(begin, source, *words)
    until(lambda: len(states()) >= 2)
    running.signal()
    stopped = running.end()
    assert stopped.code == 130
    assert f"The same command with --record {tmp_path / 'record'} goes on." in stopped.err
    emulator.settings(start_delay=0)
    said = importing(begin, source, *words).end()
    assert said.code == 0, said.err
    assert (json.loads(said.out)["lines_accepted"], len(emulator.imports())) == (1000, 1)
    assert set(emulator.held().values()) == {1}
    assert sum(emulator.held().values()) == 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_moment_in_which_nothing_answers_it_is_an_orderly_end(capfd, number):
    @command
    def stopped(args, output):
        with Signals():
            os.kill(os.getpid(), number)
            time.sleep(1)
        return 0

    with pytest.raises(SystemExit) as end:
        stopped(argparse.Namespace(json=True))
    assert end.value.code == 128 + number
    out, err = capfd.readouterr()
    assert json.loads(out) == {"ok": False, "error": "Stopped.", "stopped": True}
    assert err.splitlines()[-1] == "Stopped."
