"""What may be imported where."""

import subprocess
import sys

import pytest

HEAVY = ("airflow", "fastapi", "msgspec", "jsonschema_rs", "uvicorn")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["airflow_bulk.pytest_plugin", "airflow_bulk.emulator.handle"])
def test_plugin_and_handle_need_no_heavy_module(module):
    modules = loaded_by(f"import {module}")
    assert module in modules
    assert not modules & set(HEAVY)


def test_the_emulator_stands_on_its_own_rules():
    modules = loaded_by("import airflow_bulk.emulator.server, airflow_bulk.emulator.cli")
    assert "airflow_bulk.emulator.line_rules" in modules
    assert "airflow" not in modules
    ours = {name for name in modules if name.split(".")[0] == "airflow_bulk"}
    assert {name for name in ours if not name.startswith("airflow_bulk.emulator")} == {"airflow_bulk"}
