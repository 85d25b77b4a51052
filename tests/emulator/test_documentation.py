"""docs/emulator.md names everything there is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from airflow_bulk.emulator.cli import parser
from airflow_bulk.emulator.faults import KINDS
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.settings import names

TEXT = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()


@pytest.mark.parametrize(
    "name", [*KINDS, *names(), *sorted({name for kind in KINDS.values() for name in kind.params})]
)
def test_faults_their_parameters_and_settings(name):
    assert f"`{name}`" in TEXT


def test_options():
    settings = {"--" + name.replace("_", "-") for name in names()}
    options = {option for option in parser()._option_string_actions if option.startswith("--")}
    options -= settings | {"--no-" + name[2:] for name in settings} | {"--help", "--until-stdin-closes"}
    assert {option for option in options if f"`{option}" not in TEXT} == set()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_lines_with_curl_run(bulk_emulator: Emulator):
    (script,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    shell = {"URL": bulk_emulator.url, "TOKEN": bulk_emulator.token, "NO_PROXY": "*"}
    done = subprocess.run(
        ["sh", "-eu", "-c", script], env={**os.environ, **shell}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"total_success":1,"total_failure":1' in done.stdout.replace(" ", "")
    assert list(bulk_emulator.held().values()) == [1]
    assert "Ada" in done.stdout.splitlines()[-1]
