"""The page Bulk on a real Airflow: what a worker and a triggerer tell it of a deferred import, from its begin to its end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from one_task import write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_stack import AirflowStack

DAG_ID, TASK_ID = "page_import", "load"
LONG = 300.0


def test_a_deferred_import_from_begin_to_end(
    airflow_stack: AirflowStack, bulk_emulator: Emulator, tmp_path: Path
) -> None:
    stack, emulator = airflow_stack, bulk_emulator
    source = tmp_path / "customers.ndjson"
    good = write_profiles(source, 600, bad=(17,))
    emulator.settings(start_delay=0.0, run_seconds=0.0)
    emulator.fault("stuck_running", skip=1, times=1)
    stack.api.add_connection(DAG_ID, emulator.connection_json())
    stack.api.wait_for_dag(DAG_ID)
    stack.api.unpause(DAG_ID)
    run_id = stack.api.trigger(DAG_ID, conf={"source": str(source)})
    place = {"dag_id": DAG_ID, "run_id": run_id, "task_id": TASK_ID}

    def told(**more: Any) -> str:
        answer = httpx.get(
            f"{stack.url}/bulk/run", params={**place, "map_index": "{MAP_INDEX}", **more}, timeout=60
        )
        assert answer.status_code == 200
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))

    # The triggerer's own words: one execution of all is not over, the lines of the others are counted.
    stack.api.wait_for(
        "the triggerer to tell the page", lambda: True if "1 running" in told() else None, LONG
    )
    waiting = told()
    assert "Customers on the page ◔ deferred" in waiting
    assert re.search(
        r"600 read = 1 rejected before sending \+ [\d,]+ accepted \+ 0 failed .* not counted yet", waiting
    )
    assert "customers.ndjson 17 " in waiting
    assert re.search(r"\d+ RUNNING", waiting)
    asked = len(emulator.requests())
    told()
    assert all(
        call["method"] == "GET" for call in emulator.requests()[asked:]
    )  # at most the triggerer's own poll

    (made,) = emulator.imports()
    (stuck,) = [one for one in emulator.executions(made["id"]) if one["status"] == "RUNNING"]
    emulator.change_execution(stuck["id"], fate="succeeded", end=True)
    assert stack.api.wait_for_run(DAG_ID, run_id, timeout=LONG) == "success"
    over = told()
    assert f"600 read = 1 rejected before sending + {len(good)} accepted + 0 failed on the platform" in over
    assert "does not close" not in over
    assert "RUNNING" not in over

    page = httpx.get(f"{stack.url}/bulk/list", params={"dag_id": DAG_ID, "run_id": run_id}, timeout=60).text
    assert "Customers on the page" in page
    # From the name that the platform's console shows to DAG, run and task.
    for called in (made["name"], made["id"]):
        found = httpx.get(f"{stack.url}/bulk/list", params={"find": called}, timeout=60).text
        assert f"dag_id={DAG_ID}&amp;run_id={quote(run_id, safe='')}&amp;task_id={TASK_ID}" in found
    views = httpx.get(f"{stack.url}/api/v2/plugins", timeout=60).json()["plugins"]
    (bulk,) = [one for one in views if one["name"] == "bulk"]
    destinations = {one["destination"]: one for one in bulk["external_views"]}
    assert set(destinations) == {"nav", "dag_run", "task_instance"}
    # Airflow 3.3 shows the tab for every task, and keeps what it does not know.
    assert "ImportDocumentsOperator" in destinations["task_instance"]["applies_to"]["operator_name"]
