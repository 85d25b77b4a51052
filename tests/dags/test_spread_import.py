"""The example of a spread import: what it makes of the purchases, and its run on a real Airflow."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_bulk.documents import check_line
from airflow_bulk.emulator.handle import Emulator
from example_dags import load_example

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID = "spread_import"


def test_every_customer_is_one_good_profile(repository: Path) -> None:
    profiles = load_example(repository, DAG_ID).profiles()
    assert len({one["user_account_id"] for one in profiles}) == len(profiles) == 23_570
    assert sum(one["user_profile"]["purchases"] for one in profiles) == 69_659
    assert [one for one in profiles[::50] if check_line("USER_PROFILE", json.dumps(one))] == []


def test_triggered_from_the_form(airflow_stack: AirflowStack, tmp_path: Path) -> None:
    api = airflow_stack.api
    with Emulator.start() as emulator:
        api.add_connection("mediarithmics_default", emulator.connection_json())
        api.wait_for_dag(DAG_ID)
        api.unpause(DAG_ID)
        run_id = api.trigger(DAG_ID, conf={"folder": str(tmp_path)})
        assert api.wait_for_run(DAG_ID, run_id, timeout=300) == "success"
        result = api.xcom(DAG_ID, run_id, "load.judge")
        written = Path(api.xcom(DAG_ID, run_id, "write_profiles")).read_text(encoding="utf-8")
        assert emulator.held() == Counter(written.splitlines())
        assert result["lines_read"] == result["lines_accepted"] == 23_570
        assert len(result["import_ids"]) == len(emulator.imports()) == 4
        assert api.xcom(DAG_ID, run_id, "totals")["parts"] == result["parts"] >= 4
        states = api.states(DAG_ID, run_id)
        assert {states["load.send", index] for index in range(4)} == {"success"}
