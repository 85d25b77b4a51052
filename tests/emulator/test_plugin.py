"""The fixture, as a user's own test suite gets it."""

import subprocess
import sys

TEST = """
import urllib.request

def test_it_runs(bulk_emulator):
    assert bulk_emulator.held() == {}
    bulk_emulator.settings(start_delay=77)
    bulk_emulator.fault("gone")

def test_each_test_begins_with_nothing(bulk_emulator):
    assert bulk_emulator.settings()["start_delay"] == 0.2
    assert bulk_emulator.control("GET", "/faults") == []
    bulk_emulator.stop()

def test_a_stopped_emulator_comes_back(bulk_emulator):
    assert bulk_emulator.alive
    assert bulk_emulator.imports() == []
"""


def test_the_fixture_in_a_suite_of_its_own(tmp_path):
    (tmp_path / "test_own.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "-p", "no:randomly", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


TYPED = """
from airflow_bulk.emulator.handle import Emulator

def test_it_is_typed(bulk_emulator: Emulator) -> None:
    held: int = bulk_emulator.held().total()
    bulk_emulator.held("1", "2")
    bulk_emulator.hold()
"""


def test_a_type_checker_knows_the_fixture(tmp_path):
    (tmp_path / "test_own.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "test_own.py"], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300
    )
    wrong = [line.partition(" error: ")[::2] for line in done.stdout.splitlines() if " error: " in line]
    assert [where for where, _ in wrong] == ["test_own.py:6:", "test_own.py:7:"], done.stdout + done.stderr
    assert "Too many arguments" in wrong[0][1]
    assert 'has no attribute "hold"' in wrong[1][1]
