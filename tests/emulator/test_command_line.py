"""``python -m airflow_bulk.emulator``: loopback only, state put away, an orderly end."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from airflow_bulk.emulator.cli import main

COMMAND = [sys.executable, "-m", "airflow_bulk.emulator"]


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)


class Started:
    """An emulator started by hand."""

    def __init__(self, *arguments, **options):
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        self.ready = json.loads(self.process.stdout.readline())
        self.state = Path(self.ready["state"])
        self.connection = json.loads(Path(self.ready["connection_file"]).read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number):
        self.process.send_signal(number)
        output, self.log = self.process.communicate(timeout=60)
        assert output == ""
        return self.process.returncode

    def get(self, path):
        request = urllib.request.Request(self.ready["url"] + path)
        request.add_header("Authorization", self.connection["password"])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)


def test_help_explains_itself():
    done = run("--help")
    assert done.returncode == 0
    for word in ("--state", "--fault", "connection.json", "lost_answer", "--start-delay", "/_emulator"):
        assert word in done.stdout


@pytest.fixture
def refused(capsys):
    """Call the command in this process and return the last line of what it says when it refuses to start."""
    before = os.umask(0o022)

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capsys.readouterr()
        assert (end.value.code, said.out) == (2, "")
        assert "Traceback" not in said.err
        return said.err.splitlines()[-1]

    yield call
    os.umask(before)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "8.8.8.8"])
def test_it_refuses_to_leave_this_machine(refused, host, tmp_path):
    said = refused("--host", host, "--state", str(tmp_path))
    assert "loopback" in said or "address" in said


def test_a_refusal_is_an_exit_code():
    done = run("--host", "192.0.2.1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not leave this machine" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--fault", "loss"], "lost_answer"),
        (["--fault", "late:1:second=4"], "seconds"),
        (["--fault", "late:often"], "often"),
        (["--start-delay", "-1"], "start_delay"),
        (["--csv-delimiter", ";;"], "csv_delimiter"),
        (["--certfile", "nowhere.pem"], "nowhere.pem"),
    ],
)
def test_it_says_why_it_does_not_start(refused, arguments, word, tmp_path):
    assert word in refused(*arguments, "--state", str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_temporary_state_is_private_and_goes_at_the_end(number):
    with Started() as emulator:
        assert stat.S_IMODE(emulator.state.stat().st_mode) == 0o700
        for path in emulator.state.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert emulator.end(number) == 0
        assert not emulator.state.exists()


def test_the_ready_line_leads_to_a_connection():
    with Started("--seed", "7", "--datamart", "12", "--organisation", "9") as emulator:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", emulator.ready["url"])
        assert (emulator.ready["pid"], emulator.ready["seed"]) == (emulator.process.pid, 7)
        token = emulator.connection["password"]
        assert emulator.connection == {
            "conn_type": "mediarithmics",
            "host": emulator.ready["url"],
            "password": token,
            "extra": {"datamart_id": 12, "organisation_id": 9},
        }
        assert emulator.get("/v1/datamarts/12/document_imports")["total"] == 0
        emulator.end(signal.SIGTERM)
        assert token not in emulator.log + json.dumps(emulator.ready)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_other_names_of_loopback(host):
    with Started("--host", host) as emulator:
        assert emulator.get("/v1/plugins")["data"] == []


def test_token_from_option_variable_and_state(tmp_path):
    environment = {**os.environ, "AIRFLOW_BULK_EMULATOR_TOKEN": "from-variable"}
    state = str(tmp_path / "state")
    with Started("--state", state, "--token", "from-option", env=environment) as emulator:
        assert emulator.connection["password"] == "from-option"
        emulator.end(signal.SIGTERM)
    with Started("--state", state) as emulator:
        assert emulator.connection["password"] == "from-option"
        emulator.end(signal.SIGTERM)
    with Started("--state", state, env=environment) as emulator:
        assert emulator.connection["password"] == "from-variable"


def test_a_given_state_is_kept_and_not_shared(tmp_path):
    state = tmp_path / "a" / "state"
    with Started("--state", str(state)) as emulator:
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        done = run("--state", str(state))
        assert done.returncode == 2
        assert "another emulator" in done.stderr
        assert emulator.end(signal.SIGTERM) == 0
    assert (state / "state.sqlite").exists()


def test_settings_of_the_command_line_win_over_the_state(tmp_path):
    with Started("--state", str(tmp_path), "--start-delay", "5", "--no-strict") as emulator:
        emulator.end(signal.SIGTERM)
    with Started("--state", str(tmp_path), "--start-delay", "6") as emulator:
        settings = emulator.get("/_emulator/settings")
        assert (settings["start_delay"], settings["strict"]) == (6.0, False)


def test_faults_of_the_command_line():
    with Started("--fault", "missing_total", "--fault", "late:0.5:seconds=8:times=1:how=reset") as emulator:
        assert "total" not in emulator.get("/v1/plugins")
        first, second = emulator.get("/_emulator/faults")
        assert (first["name"], first["probability"], first["times"]) == ("missing_total", 1.0, None)
        assert (second["probability"], second["times"]) == (0.5, 1)
        assert second["params"] == {"seconds": 8, "how": "reset"}


def test_it_ends_with_its_standard_input():
    with Started("--until-stdin-closes", stdin=subprocess.PIPE) as emulator:
        emulator.process.stdin.write("still here\n")
        emulator.process.stdin.flush()
        assert emulator.get("/v1/plugins")["data"] == []
        emulator.process.stdin.close()
        emulator.process.stdin = None
        assert emulator.process.wait(60) == 0
        assert not emulator.state.exists()
