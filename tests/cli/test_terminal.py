"""What a person at a terminal sees: bars, questions, tables; and that there is none of it elsewhere."""

import pytest
from one_task import write_profiles

TYPE = ("--document-type", "USER_PROFILE", "--name", "n")
UPLOAD = {"method": "POST", "path": "/executions$"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 1000)
    return path


def test_bars_for_sending_and_waiting_and_the_sum_at_the_end(terminal, emulator, source):
    emulator.settings(run_seconds=4)
    emulator.fault("slow", answer_delay=0.4, **UPLOAD)
    seen = terminal("import", source, *TYPE, "--max-part-bytes", "20000", "--yes")
    seen.see("Sending")
    seen.see("3/6 parts, ")
    assert "kB/s" in seen.shown
    assert " left" in seen.shown
    seen.see("Waiting")
    seen.see("6 running")
    assert seen.end() == 0
    assert "1,000 lines read = 0 rejected + 1,000 accepted + 0 failed. 6 parts" in seen.shown


def test_a_bar_for_checking(terminal, tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 50_000)
    seen = terminal("check", path, "--document-type", "USER_PROFILE", "--max-part-bytes", "20000")
    seen.see("Checking")
    assert seen.end() == 0
    assert "50,000 lines in 1 file: 50,000 good" in seen.shown


def test_a_bar_keeps_to_its_line_on_a_narrow_terminal(terminal, emulator, source):
    emulator.fault("slow", answer_delay=0.3, **UPLOAD)
    seen = terminal("import", source, *TYPE, "--max-part-bytes", "20000", "--yes", columns=80)
    seen.see("4/6 parts")
    assert seen.end() == 0
    pictures = seen.shown[seen.shown.index("Sending ") : seen.shown.index("Document import")]
    pictures = pictures.replace("Sending into document import", "")
    # Each picture is drawn over the one before it, without a line of its own.
    assert all("Sending" in line or not line.strip() for line in pictures.split("\n")[1:-1])


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_person_is_asked_before_anything_is_sent(terminal, emulator, source, answer, code):
    seen = terminal("import", source, *TYPE)
    shown = seen.see("[y/N]")
    assert "Send 1,000 USER_PROFILE lines in 1 part (" in shown
    assert "to datamart 3300 over connection mediarithmics_default?" in shown.replace("\r\n", " ")
    assert emulator.imports() == []
    seen.type(answer)
    assert seen.end() == code
    assert len(emulator.imports()) == (code == 0)
    assert code == 0 or "Nothing was sent." in seen.shown


def test_ctrl_c_at_the_question_sends_nothing(terminal, emulator, source):
    seen = terminal("import", source, *TYPE)
    seen.see("[y/N]")
    seen.type("\x03")
    assert seen.end() == 130
    assert "Nothing was sent." in seen.shown
    assert emulator.imports() == []


def test_ctrl_c_under_a_bar_cancels(terminal, emulator, source, states):
    emulator.settings(start_delay=1000)
    seen = terminal("import", source, *TYPE, "--max-part-bytes", "5000", "--yes")
    seen.see("21 pending")
    seen.type("\x03")
    assert seen.end() == 130
    assert "21 executions cancelled. Nothing goes on." in seen.shown.replace("\r\n", " ")
    assert set(states()) == {"CANCELED"}


def test_no_bar_without_a_terminal_or_with_json(begin, terminal, emulator, source):
    piped = begin("import", source, *TYPE, "--yes").end()
    assert (piped.code, len(piped.out.splitlines())) == (0, 2)
    assert "\x1b" not in piped.out + piped.err
    seen = terminal("import", source, *TYPE, "--yes", "--json")
    assert seen.end() == 0
    assert "━" not in seen.shown
    assert '{"ok": true, ' in seen.shown


def test_a_live_table_of_executions(terminal, bulk, emulator, source):
    assert bulk("import", source, *TYPE, "--max-part-bytes", "20000", "--yes", "--no-wait").code == 0
    (made,) = emulator.imports()
    emulator.clock.freeze()
    emulator.settings(run_seconds=1)
    assert bulk("import", source, *TYPE, "--yes", "--no-wait").code == 0
    newest = emulator.imports()[-1]["id"]
    seen = terminal("executions", "watch", newest)
    seen.see("RUNNING")
    seen.see(f"Document import {newest}: 1 running")
    emulator.clock.resume()
    assert seen.end() == 0
    assert "SUCCEEDED" in seen.shown
    assert made["id"] != newest


def test_cancel_asks(terminal, bulk, emulator, source, states):
    emulator.settings(start_delay=1000)
    assert bulk("import", source, *TYPE, "--max-part-bytes", "20000", "--yes", "--no-wait").code == 0
    (made,) = emulator.imports()
    seen = terminal("executions", "cancel", made["id"])
    seen.see(f"Cancel 6 PENDING executions of document import {made['id']}? [y/N]")
    seen.type("n\n")
    assert seen.end() == 1
    assert set(states()) == {"PENDING"}
    again = terminal("executions", "cancel", made["id"])
    again.see("[y/N]")
    again.type("y\n")
    assert again.end() == 0
    assert set(states()) == {"CANCELED"}
