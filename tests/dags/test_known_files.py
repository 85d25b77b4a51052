"""Files known across runs, in Airflow's own stores: the nightly story, the command line, and two runs at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from nights import Folder

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_stack import AirflowStack
from inline_dag import pulled, run_again, states

AIRFLOW = str(Path(sys.executable).parent / "airflow")


def bulk(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([AIRFLOW, "bulk", "files", *words], capture_output=True, text=True, check=False)


@pytest.mark.slow  # test_nightly.py has nights of its own in every run
def test_three_nights_and_a_person_at_a_shell(
    run_dag: Any, bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    folder, emulator = Folder(tmp_path), bulk_emulator
    with DAG("known_files", schedule=None) as dag:
        ImportDocumentsOperator(
            task_id="load",
            document_type="USER_PROFILE",
            name="Nightly of {{ run_id }}",
            source=f"{tmp_path}/*.ndjson",
            on_seen="skip",
        )

    def night() -> dict[str, Any]:
        run = run_dag(dag)
        assert states(run) == {("load", -1): "success"}
        return {**pulled(run, "load"), "run": run}

    folder.add("monday.ndjson")
    assert night()["files_known"] == 0
    folder.add("tuesday.ndjson")
    second = night()
    assert (second["files_known"], second["lines_read"]) == (1, 5)
    assert (third := night())["files_known"] == 2
    assert third["import_id"] is None
    assert emulator.held_totals()["more_than_once"] == 0

    listed = bulk("list", "--as", "Nightly of", "--json")
    assert listed.returncode == 0, listed.stderr
    (ledger,) = json.loads(listed.stdout)["ledgers"]
    assert {Path(one["name"]).name: one["lines_accepted"] for one in ledger["files"]} == {
        "monday.ndjson": 5,
        "tuesday.ndjson": 5,
    }
    assert ledger["files"][0]["import_id"] == second["import_id"]
    assert "tuesday.ndjson" in bulk("list").stdout
    assert bulk("forget", "nowhere.ndjson", "--yes").returncode == 2
    forgotten = bulk("forget", str(tmp_path / "monday.ndjson"), "--yes")
    assert forgotten.returncode == 0, forgotten.stderr
    assert night()["files_known"] == 1

    # A clear of a success: the person wants its files again, and no others.
    run_again(dag, second["run"])
    again = pulled(second["run"], "load")
    assert (again["files_known"], again["lines_read"]) == (1, 5)


def test_two_runs_at_once(airflow_stack: AirflowStack, bulk_emulator: Emulator, tmp_path: Path) -> None:
    folder, emulator, api = Folder(tmp_path), bulk_emulator, airflow_stack.api
    emulator.settings(start_delay=0.0, run_seconds=0.0)
    for number in range(6):
        folder.add(f"{number}.ndjson", 20)
    api.add_connection("known_files", emulator.connection_json())
    api.wait_for_dag("known_files")
    api.unpause("known_files")
    runs = [api.trigger("known_files", conf={"source": f"{tmp_path}/*.ndjson"}) for _ in range(3)]
    assert [api.wait_for_run("known_files", run_id, timeout=300) for run_id in runs] == ["success"] * 3
    results = [api.xcom("known_files", run_id, "load") for run_id in runs]
    assert sum(one["lines_accepted"] for one in results) == 120
    assert [one["files_known"] + one["files_held"] for one in results].count(0) == 1
    totals = emulator.held_totals()
    assert (totals["lines"], totals["more_than_once"]) == (120, 0)
