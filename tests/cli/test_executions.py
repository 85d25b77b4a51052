"""``airflow bulk executions``: list, watch, cancel."""

import json
import os

import pytest
from one_task import write_profiles

CANARY = "Grace-Hopper-17"


@pytest.fixture
def made(bulk, emulator, tmp_path):
    """The id of an import of 6 parts, whose executions are PENDING."""
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 1000)
    emulator.settings(start_delay=1000, run_seconds=1000)
    words = (
        "--document-type",
        "USER_PROFILE",
        "--name",
        "n",
        "--max-part-bytes",
        "20000",
        "--yes",
        "--no-wait",
        "--json",
    )
    return bulk("import", path, *words).document["import_id"]


@pytest.fixture
def ids(emulator, made):
    return [one["id"] for one in emulator.executions(made)]


def test_list_shows_the_newest_first(bulk, emulator, made, ids):
    emulator.change_execution(ids[0], start=True)
    said = bulk("executions", "list", made)
    assert (said.code, said.err) == (0, "")
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0][:5] == ["execution", "status", "lines", "accepted", "failed"]
    assert [row[0] for row in rows[1:-1]] == ids[::-1]
    assert rows[-2][:2] == [ids[0], "RUNNING"]
    assert (
        said.out.splitlines()[-1]
        == f"Document import {made}: 5 pending, 1 running; 0 lines accepted, 0 failed."
    )
    listed = bulk("executions", "list", made, "--json").document
    assert [one["id"] for one in listed["executions"]] == ids[::-1]
    assert listed["totals"] == {"pending": 5, "running": 1}


def test_a_message_of_the_platform_holds_no_line(bulk, emulator, tmp_path):
    emulator.settings(start_delay=0, run_seconds=0, messages_quote_lines=True)
    path = tmp_path / "profiles.ndjson"
    path.write_text(json.dumps({"operation": "UPSERT", "user_profile": {"name": CANARY}}) + "\n")
    # The command checks lines itself, so a careless client makes the bad execution.
    import urllib.request

    def post(where, body, kind):
        request = urllib.request.Request(
            f"{emulator.url}/v1/datamarts/3300/document_imports{where}", body, method="POST"
        )
        request.add_header("Authorization", emulator.token)
        request.add_header("Content-Type", kind)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["data"]

    fields = {
        "document_type": "USER_PROFILE",
        "mime_type": "APPLICATION_X_NDJSON",
        "encoding": "utf-8",
        "name": "n",
    }
    bad = post("", json.dumps(fields).encode(), "application/json")
    post(f"/{bad['id']}/executions", path.read_bytes(), "application/x-ndjson")
    for words in (("list",), ("list", "--json"), ("watch", "--json")):
        said = bulk("executions", words[0], bad["id"], *words[1:])
        assert bad["id"] in said.out
        assert CANARY not in said.out + said.err
    assert CANARY in json.dumps(emulator.executions(bad["id"]))


def test_watch_ends_with_0_when_all_succeeded(bulk, emulator, made, ids):
    for one in ids:
        emulator.change_execution(one, end=True)
    said = bulk("executions", "watch", made)
    assert said.code == 0
    assert said.out.splitlines()[-1] == f"Document import {made}: 6 succeeded; 1,000 accepted, 0 failed"


def test_watch_ends_with_1_when_one_failed(bulk, emulator, made, ids):
    emulator.change_execution(ids[1], fate="failed", start=True, end=True)
    for one in ids:
        emulator.change_execution(one, end=True)
    said = bulk("executions", "watch", made, "--json")
    assert said.code == 1
    assert (said.document["over"], said.document["ok"]) == (True, False)
    assert ids[1] in said.document["error"]
    assert said.sentence == said.document["error"]
    assert bulk("executions", "watch", made, *[one for one in ids if one != ids[1]]).code == 0


def test_watch_in_time_or_not(bulk, made):
    said = bulk("executions", "watch", made, "--timeout", "0.2", "--json")
    assert said.code == 1
    first, last = map(json.loads, said.out.splitlines())
    assert (first["over"], first["executions"]) == (False, {"pending": 6})
    assert (last["over"], last["ok"]) == (False, False)
    assert "was not over 0.2 s after" in last["error"]
    assert "task" not in last["error"]


def test_ctrl_c_ends_the_watch_and_cancels_nothing(begin, emulator, made, states):
    running = begin("executions", "watch", made)
    assert running.process.stdout.readline() == f"Document import {made}: 6 pending\n"
    running.signal()
    said = running.end()
    assert (said.code, said.err) == (130, "The watch was ended; nothing was cancelled.\n")
    assert set(states()) == {"PENDING"}


def test_cancel_names_what_cannot_be_cancelled(bulk, emulator, made, ids, states):
    emulator.change_execution(ids[0], start=True)
    said = bulk("executions", "cancel", made, "--yes")
    assert said.code == 1
    assert said.out.splitlines() == [
        f"Document import {made}: 5 cancelled.",
        f"1 begun, and cannot be cancelled: {ids[0]}.",
    ]
    assert states() == ["RUNNING", *["CANCELED"] * 5]


def test_cancel_of_some(bulk, emulator, made, ids, states):
    said = bulk("executions", "cancel", made, ids[2], ids[4], "--yes", "--json")
    assert (said.code, said.document["ok"]) == (0, True)
    assert said.document["cancelled"] == [ids[4], ids[2]]
    assert [ids[n] for n, state in enumerate(states()) if state == "CANCELED"] == [ids[2], ids[4]]


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_cancelling_is_answered_before_it_is_obeyed(
    begin, emulator, made, states, until, presses
):
    emulator.fault("slow", answer_delay=1.0, method="POST", path="/action$")
    running = begin("executions", "cancel", made, "--yes", "--json")
    until(lambda: any(one["path"].endswith("/action") for one in emulator.requests()))
    for text in ("Still cancelling", "Leaving")[:presses]:
        running.signal()
        running.hear(text)
    said = running.end()
    # The six cancels were on their way together, so they are waited for in either case.
    assert set(states()) == {"CANCELED"}
    assert (said.code, len(said.document["cancelled"])) == (0, 6)


def test_cancel_of_what_is_over_is_fine_unless_it_was_named(bulk, emulator, made, ids):
    for one in ids:
        emulator.change_execution(one, end=True)
    assert bulk("executions", "cancel", made, "--yes").code == 0
    named = bulk("executions", "cancel", made, ids[0], "--yes", "--json")
    assert (named.code, named.document["not_cancelled"][0]["id"]) == (1, ids[0])


def test_what_is_not_there_is_one_sentence(bulk, made, monkeypatch):
    unknown = bulk("executions", "cancel", made, "7", "--yes")
    assert unknown.code == 2
    assert unknown.sentence == (
        f"Document import {made} has no execution 7. To see those that it has: airflow bulk executions list {made}."
    )
    for command in ("list", "watch", "cancel"):
        said = bulk("executions", command, "7", "--json")
        assert said.code == 1
        assert said.document["error"] == said.sentence
        assert "answered 404" in said.sentence
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert bulk("executions", "cancel", made).code == 2
