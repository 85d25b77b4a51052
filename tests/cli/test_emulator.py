"""``airflow bulk emulator``: what it prints leads another shell to it, and holds no token."""

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest


def names_and_files(line):
    name, command = line.removeprefix("export ").split("=", 1)
    return name, command.removeprefix('"$(cat ').removesuffix(')"')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_lines_are_for_a_shell(begin, number, tmp_path, monkeypatch):
    running = begin("emulator", "--state", tmp_path / "state", "--seed", "7")
    lines = [running.process.stdout.readline() for _ in range(3)]
    heard = running.hear("In another shell:")
    done = subprocess.run(
        ["sh", "-c", "".join(lines) + "env"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    connections = {
        name: json.loads(value)
        for name, _, value in (line.partition("=") for line in done)
        if name.startswith("AIRFLOW_CONN_") and name.endswith("_DEFAULT")
    }
    kinds = {name: one["conn_type"] for name, one in connections.items()}
    assert kinds == {
        f"AIRFLOW_CONN_{kind.upper()}_DEFAULT": kind
        for kind in ("mediarithmics", "centrapay", "extract_load")
    }
    token = connections["AIRFLOW_CONN_MEDIARITHMICS_DEFAULT"]["password"]
    assert token not in "".join(lines) + heard
    for line in lines:
        assert stat.S_IMODE(Path(names_and_files(line.strip())[1]).stat().st_mode) == 0o600
    connection = json.dumps(connections["AIRFLOW_CONN_MEDIARITHMICS_DEFAULT"])
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", connection)
    assert "answered 404" in begin("executions", "list", "1").end().err
    running.signal(number)
    said = running.end()
    assert (said.code, said.err) == (0, "The emulator has ended.\n")


def test_as_json(begin, tmp_path):
    running = begin("emulator", "--json", "--fault", "missing_total")
    document = json.loads(running.process.stdout.readline())
    assert document["url"].startswith("http://127.0.0.1:")
    assert Path(document["connection_files"]["AIRFLOW_CONN_CENTRAPAY_DEFAULT"]).exists()
    running.signal()
    assert running.end().code == 0
    assert not Path(document["state"]).exists()


def test_why_it_does_not_start_is_one_sentence(bulk):
    said = bulk("emulator", "--fault", "nope", "--json")
    assert said.code == 1
    assert said.sentence.startswith("The emulator did not start: no fault is called 'nope'")
    assert said.document["error"] == said.sentence
