"""The example DAG: what it makes of the purchases, and its runs on a real Airflow."""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from airflow_bulk.documents import check_line
from airflow_bulk.emulator.handle import Emulator
from example_dags import load_example

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID = "store_purchases"


@pytest.fixture(scope="module")
def example(repository: Path) -> ModuleType:
    return load_example(repository, DAG_ID)


@pytest.fixture(scope="module")
def activities(example: ModuleType) -> list[dict[str, Any]]:
    return [example.activity(*purchase) for purchase in example.purchases()]


def test_every_purchase_is_one_good_activity(activities: list[dict[str, Any]]) -> None:
    assert len(activities) == 69_659
    assert len({one["$user_account_id"] for one in activities}) == 23_570
    assert all(len(one["$events"]) == 1 for one in activities)
    assert [
        reasons for one in activities[::50] if (reasons := check_line("USER_ACTIVITY", json.dumps(one)))
    ] == []


def test_equal_purchases_stay_apart_and_keys_are_the_same_each_time(
    example: ModuleType, activities: list[dict[str, Any]]
) -> None:
    bought = Counter(tuple(str(value) for value in purchase[1:]) for purchase in example.purchases())
    assert max(bought.values()) > 1
    keys = [one["$unique_key"] for one in activities]
    assert len(set(keys)) == len(keys)
    assert {uuid.UUID(key).version for key in keys} == {1}
    assert keys == [example.unique_key(purchase[0], purchase[2]) for purchase in example.purchases()]


def test_a_bad_row_is_named_and_not_quoted(example: ModuleType, tmp_path: Path) -> None:
    import gzip

    file = tmp_path / "bad.txt.gz"
    file.write_bytes(gzip.compress(b"header\r\n00001 19970101 1 11.77\r\n00002 canary 1 12.00\r\n"))
    with pytest.raises(ValueError, match="row 2") as error:
        list(example.purchases(file))
    assert "canary" not in str(error.value)


@pytest.fixture
def emulator(airflow_stack: AirflowStack) -> Iterator[Emulator]:
    with Emulator.start() as running:
        airflow_stack.api.add_connection("mediarithmics_default", running.connection_json())
        yield running


def written(stack: AirflowStack, dag_id: str, run_id: str) -> Counter[str]:
    path = Path(stack.api.xcom(dag_id, run_id, "write_activities"))
    return Counter(path.read_text(encoding="utf-8").splitlines())


def test_triggered_from_the_form(airflow_stack: AirflowStack, emulator: Emulator, tmp_path: Path) -> None:
    # The form sends every field, changed or not, and no logical date.
    api = airflow_stack.api
    api.wait_for_dag(DAG_ID)
    api.unpause(DAG_ID)
    form = {
        "datamart": emulator.datamart_id,
        "folder": str(tmp_path / "lines"),
        "part_bytes": 2_500_000,
        "deferrable": True,
        "dry_run": False,
    }
    run_id = api.trigger(DAG_ID, conf=form)
    assert api.wait_for_run(DAG_ID, run_id) == "success", api.log(DAG_ID, run_id, "import_deferred")
    assert api.run(DAG_ID, run_id)["logical_date"] is None
    assert api.states(DAG_ID, run_id)["import_on_a_worker", -1] == "skipped"
    result = api.xcom(DAG_ID, run_id, "totals")
    assert (result["parts"], len(result["execution_ids"])) == (8, 8)
    assert emulator.held() == written(airflow_stack, DAG_ID, run_id)
    assert str(tmp_path) in api.xcom(DAG_ID, run_id, "write_activities")


def test_a_dry_run_sends_nothing(airflow_stack: AirflowStack, emulator: Emulator) -> None:
    api = airflow_stack.api
    api.wait_for_dag(DAG_ID)
    api.unpause(DAG_ID)
    run_id = api.trigger(DAG_ID, conf={"dry_run": True, "deferrable": False})
    assert api.wait_for_run(DAG_ID, run_id) == "success", api.log(DAG_ID, run_id, "import_on_a_worker")
    assert api.xcom(DAG_ID, run_id, "totals")["lines_read"] == 69_659
    assert emulator.imports() == []
    assert not [call for call in emulator.requests() if call["method"] == "POST"]


def test_with_a_schedule(
    repository: Path, scratch_dags: Path, airflow_stack: AirflowStack, emulator: Emulator
) -> None:
    dag_id = "store_purchases_scheduled"
    shutil.copytree(repository / "dags" / "data", scratch_dags / "data", dirs_exist_ok=True)
    text = (repository / "dags" / f"{DAG_ID}.py").read_text(encoding="utf-8")
    scheduled = text.replace("    schedule=None,\n", f'    dag_id="{dag_id}",\n    schedule="@once",\n')
    assert scheduled != text
    (scratch_dags / f"{dag_id}.py").write_text(scheduled, encoding="utf-8")

    api = airflow_stack.api
    api.wait_for_dag(dag_id)
    api.unpause(dag_id)
    run = api.wait_for("a scheduled run", lambda: next(iter(api.runs(dag_id)), None), 60)
    assert run["run_type"] == "scheduled"
    assert run["logical_date"] is not None
    assert api.wait_for_run(dag_id, run["dag_run_id"]) == "success"
    assert emulator.held() == written(airflow_stack, dag_id, run["dag_run_id"])
