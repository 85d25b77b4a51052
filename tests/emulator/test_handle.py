"""The handle: start, restart, crash, reset, TLS; and that nothing secret is written anywhere."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests

from airflow_bulk.emulator.handle import Emulator, EmulatorError


def test_options_reach_the_emulator_and_come_back_with_reset():
    with Emulator.start(start_delay=9, strict=False, datamart=["1", "2"], fault=["gone"], seed=3) as emulator:
        before = emulator.settings()
        assert (before["start_delay"], before["strict"]) == (9.0, False)
        assert emulator.control("GET", "")["datamarts"] == ["1", "2"]
        assert len(emulator.control("GET", "/faults")) == 1
        emulator.settings(start_delay=1)
        emulator.clock.advance(1_000)
        emulator.reset()
        assert emulator.settings() == before
        assert emulator.control("GET", "/faults") == []
        assert emulator.control("GET", "/clock")["offset"] == 0


def test_a_start_that_fails_says_why():
    with pytest.raises(EmulatorError, match="loopback"):
        Emulator.start(host="192.0.2.1")


def test_stop_removes_a_temporary_state_and_leaves_a_given_one(tmp_path):
    emulator = Emulator.start()
    state = emulator.state
    emulator.stop()
    emulator.stop()
    assert not state.exists()
    assert not emulator.alive
    with Emulator.start(tmp_path / "kept") as emulator:
        assert emulator.alive
    assert (tmp_path / "kept" / "state.sqlite").exists()


@pytest.mark.parametrize("ending", ["restart", "kill"])
def test_everything_survives_a_restart_and_a_crash(api, ending):
    emulator = api.emulator
    emulator.settings(start_delay=10)
    emulator.clock.freeze()
    import_id = api.create()
    api.uploaded(import_id, api.lines(1))
    emulator.clock.advance(10)
    api.uploaded(import_id, api.lines(2) + b"bad\n")
    emulator.fault("gone", times=3, path="/plugins")
    api.call("GET", "/plugins")

    def shown():
        return (
            emulator.url,
            emulator.token,
            emulator.clock.now(),
            emulator.imports(),
            emulator.executions(import_id),
            emulator.held(),
            emulator.requests(),
            emulator.settings(),
            emulator.control("GET", "/faults"),
        )

    before = shown()
    if ending == "kill":
        emulator.kill()
        assert not emulator.alive
        with pytest.raises(requests.ConnectionError):
            api.imports("GET")
    emulator.restart()
    assert shown() == before
    emulator.clock.advance(10.2)
    assert [one["status"] for one in emulator.executions(import_id)] == ["SUCCEEDED", "SUCCEEDED"]
    assert emulator.held() == {api.profile(1): 1, api.profile(2): 1}


def test_lines_not_yet_checked_at_a_crash_are_checked_afterwards(api):
    import_id = api.create()
    body = api.lines(*range(50_000)) + b"bad\n"
    execution_id = api.uploaded(import_id, body)
    api.emulator.kill()
    api.emulator.restart()
    api.emulator.clock.advance(1)
    result = api.execution(import_id, execution_id)["result"]
    assert (result["total_success"], result["total_failure"]) == (50_000, 1)


def test_it_ends_with_the_process_that_started_it():
    code = (
        "import os, signal\n"
        "from airflow_bulk.emulator.handle import Emulator\n"
        "emulator = Emulator.start()\n"
        "print(emulator._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    limit = time.monotonic() + 30
    while os.path.exists(f"/proc/{int(done.stdout)}/cmdline"):
        with open(f"/proc/{int(done.stdout)}/stat") as status:
            if status.read().rpartition(")")[2].split()[0] == "Z":
                break
        assert time.monotonic() < limit, "the emulator is still there"
        time.sleep(0.05)


def test_connection_json_takes_another_type_and_more_extra(bulk_emulator):
    connection = json.loads(bulk_emulator.connection_json("other", connect_timeout=3, datamart_id="9"))
    assert connection == {
        "conn_type": "other",
        "host": bulk_emulator.url,
        "password": bulk_emulator.token,
        "extra": {"datamart_id": "9", "organisation_id": 900, "connect_timeout": 3},
    }


def test_control_errors_say_what_was_refused(bulk_emulator):
    with pytest.raises(EmulatorError, match="no setting is called"):
        bulk_emulator.settings(delay=1)
    with pytest.raises(EmulatorError, match="fate is one of"):
        bulk_emulator.change_execution(1, fate="happy")
    with pytest.raises(EmulatorError, match="no execution"):
        bulk_emulator.change_execution(1, fate="lost")
    with pytest.raises(EmulatorError, match="advance, freeze or resume"):
        bulk_emulator.control("POST", "/clock", {"do": "rewind"})
    with pytest.raises(EmulatorError, match="forward"):
        bulk_emulator.clock.advance(-1)


def test_change_execution_starts_and_ends(api):
    api.emulator.settings(start_delay=1_000, run_seconds=1_000)
    import_id = api.create()
    execution_id = api.uploaded(import_id, api.lines(1))
    started = api.emulator.change_execution(execution_id, start=True)
    assert started["status"] == "RUNNING"
    ended = api.emulator.change_execution(execution_id, end=True, fate="failed")
    assert ended["status"] == "FAILED"
    assert ended["start_date"] <= ended["end_date"] <= api.emulator.clock.now()


def test_the_request_log(api):
    import_id = api.create()
    api.upload(import_id, api.lines(1))
    api.imports("GET", "/", params={"max_results": 3})
    calls = api.emulator.requests()
    base = "/v1/datamarts/3300/document_imports"
    assert [(call["method"], call["path"], call["status"]) for call in calls] == [
        ("POST", base, 200),
        ("POST", f"{base}/{import_id}/executions", 200),
        ("GET", base, 200),
    ]
    assert calls[1]["body_bytes"] == len(api.lines(1))
    assert calls[2]["query"] == "max_results=3"
    assert all(call["done"] and call["cut"] is None and call["faults"] == [] for call in calls)
    assert [call["at"] for call in calls] == sorted(call["at"] for call in calls)
    api.emulator.clear_requests()
    assert api.emulator.requests() == []


def test_neither_tokens_nor_lines_are_written_down(api):
    canary = "canary.person@example.org"
    import_id = api.create()
    body = json.dumps({"operation": "UPSERT", "user_account_id": canary, "user_profile": {}}) + "\n"
    execution_id = api.uploaded(import_id, (body + canary + "\n").encode())
    api.emulator.clock.advance(1)
    uri = api.execution(import_id, execution_id)["result"]["error_file_uri"]
    for token in (api.emulator.token, "someone-elses-token"):
        api.call("GET", "/data_file/data", params={"uri": uri, "access_token": token})
        api.call("GET", "/plugins", params={"ACCESS_TOKEN": token})
        api.session.headers["Authorization"] = token
        api.imports("GET")
    written = api.emulator.log + json.dumps(api.emulator.requests()) + repr(api.emulator)
    assert f"/{import_id}/executions" in written
    for secret in (api.emulator.token, "someone-elses-token", canary):
        assert secret not in written


def test_tls(api, certificate):
    certfile, keyfile = certificate
    with Emulator.start(certfile=certfile, keyfile=keyfile) as emulator:
        connection = json.loads(emulator.connection_json())
        assert connection["host"].startswith("https://127.0.0.1:")
        api.emulator = emulator
        api.session.headers["Authorization"] = emulator.token
        api.session.verify = connection["extra"]["ca_path"]
        import_id = api.create()
        body = api.lines(*range(10_000))
        api.uploaded(import_id, body)
        for options in ({"name": "reset", "after": 100_000}, {"name": "lost_answer"}):
            emulator.fault(**options, path="/executions$", times=1)
            with pytest.raises(requests.ConnectionError):
                api.upload(import_id, body)
        emulator.clock.advance(1)
        assert emulator.held_totals() == {
            "lines": 20_000,
            "different": 10_000,
            "more_than_once": 10_000,
            "executions": 2,
        }
        emulator.restart()
        assert len(emulator.executions(import_id)) == 2
