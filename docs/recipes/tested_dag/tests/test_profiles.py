"""The DAG is run whole, over real HTTP, and the emulator tells what it holds."""

import json
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_bulk.emulator.handle import Emulator

GOOD = [
    json.dumps({"operation": "UPSERT", "user_account_id": f"crm-{n}", "user_profile": {"score": n}})
    for n in range(100)
]
BAD = '{"operation":"UPSERT"}'


@pytest.fixture
def source(tmp_path: Path) -> str:
    file = tmp_path / "profiles.ndjson"
    file.write_text("\n".join([*GOOD, BAD]))
    return str(file)


def run(source: str):
    folder = Path(__file__).parents[1] / "dags"
    return DagBag(folder).dags["profiles"].test(run_conf={"source": source})


def test_every_line_arrives_once(
    bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    # The platform takes the upload, and its answer is lost.
    bulk_emulator.fault("lost_answer", times=1, path="executions", method="POST")

    assert run(source).state == "success"

    assert any(call["faults"] for call in bulk_emulator.requests())  # the fault did strike
    held = bulk_emulator.held()
    assert sorted(held) == sorted(GOOD)
    assert set(held.values()) == {1}


def test_a_run_that_the_platform_fails_is_seen(
    bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.fault("forced_failed", times=1)

    assert run(source).state == "failed"
