"""Standard output that takes nothing: full, closed, or without a reader."""

import subprocess
import sys
from pathlib import Path

import pytest
from one_task import once, write_profiles

AIRFLOW = str(Path(sys.executable).parent / "airflow")
PATIENCE = 120.0
TYPE = ("--document-type", "USER_PROFILE")
IMPORT = (*TYPE, "--name", "n", "--yes")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 100)
    return path


@pytest.fixture
def shell(airflow_db, monkeypatch):
    """``shell(where, *words)``: run the command as a shell does that leads standard output elsewhere."""
    # Unbuffered, the parser of Airflow itself fails at a full standard output.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def call(where, *words):
        return subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {where}', "sh", AIRFLOW, "bulk", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return call


@pytest.mark.parametrize("how", [(), ("--json",)])
@pytest.mark.parametrize("name", ["check", "plan"])
def test_a_full_disk_is_one_sentence(shell, source, name, how):
    said = shell(">/dev/full", name, source, *TYPE, *how)
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1] == "Standard output cannot be written (No space left on device)."
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_closed_one_is_one_sentence_and_nothing_is_done(shell, emulator, source, how):
    said = shell(">&-", "import", source, *IMPORT, *how)
    assert said.returncode == 1
    assert said.stderr == (
        "Standard output is closed, and nothing was done. To throw results away, say >/dev/null.\n"
    )
    assert emulator.imports() == []


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_an_import_names_its_result_where_the_disk_is_full(shell, emulator, source, how):
    said = shell(">/dev/full", "import", source, *IMPORT, *how)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    (made,) = emulator.imports()
    assert said.stderr.splitlines()[-1].startswith(
        "Standard output cannot be written (No space left on device). "
        f"Document import {made['id']}: 100 lines read = 0 rejected + 100 accepted + 0 failed."
    )


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_an_import_without_a_reader_ends_by_its_own_result(begin, emulator, source, how):
    running = begin("import", source, *IMPORT, *how)
    running.process.stdout.close()
    heard = running.process.stderr.read()
    assert running.process.wait(PATIENCE) == 0
    assert "0 rejected + 100 accepted + 0 failed." in heard.splitlines()[-1]
    assert emulator.held() == once(source.read_text().splitlines())


def test_a_failed_import_without_a_reader_says_why(begin, emulator, source):
    emulator.fault("miscount", times=1)
    running = begin("import", source, *IMPORT, "--json")
    running.process.stdout.close()
    heard = running.process.stderr.read()
    assert running.process.wait(PATIENCE) == 1
    assert "Traceback" not in heard
    assert heard.splitlines()[-1].startswith("The sum does not close")
