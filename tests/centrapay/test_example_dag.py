"""The example DAG: its records keep the rules, and it runs on a whole Airflow against the emulator and an S3 server."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from loading import loads, posts

from airflow_bulk.documents import check_line
from airflow_bulk.emulator.centrapay_handle import TEST_ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.handle import Emulator

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID = "farmlands_accounts"


@pytest.fixture(scope="module")
def example(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(DAG_ID, repository / "dags" / f"{DAG_ID}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_customer_is_one_good_record(example: ModuleType) -> None:
    spent = example.balances(23_570)
    assert len(spent) == 23_570 and sum(spent.values()) > 0
    assert spent["00001"] == 1177
    for customer, cents in list(spent.items())[::100]:
        line = json.dumps(example.record(customer, cents))
        assert check_line("farmlands-external-asset", line) == []
    assert example.balances(2) == {name: spent[name] for name in ("00001", "00002")}


@pytest.fixture
def stack(airflow_stack: AirflowStack, s3: Any) -> Iterator[tuple[AirflowStack, CentrapayEmulator]]:
    with Emulator.start() as running:
        centrapay = CentrapayEmulator(running)
        for conn_id, value in (
            ("centrapay_default", centrapay.connection_json(account_id=TEST_ACCOUNT)),
            ("aws_partner", s3.connection_json()),
        ):
            connection = json.loads(value)
            fields = {**connection, "extra": json.dumps(connection["extra"])}
            airflow_stack.api.add_connection(conn_id, **fields)
        yield airflow_stack, centrapay


def test_on_a_whole_airflow(stack: Any, s3: Any) -> None:
    airflow, centrapay = stack
    api = airflow.api
    centrapay.settings(step_seconds=1)
    api.wait_for_dag(DAG_ID)
    api.unpause(DAG_ID)
    form = {
        "folder": "s3://aws_partner@crm/farmlands",
        "customers": 500,
        "account_id": None,
        "test": True,
        "max_failures": "0.5%",
    }
    run_id = api.trigger(DAG_ID, conf=form)
    assert api.wait_for_run(DAG_ID, run_id) == "success", api.log(DAG_ID, run_id, "load_accounts")
    result = api.xcom(DAG_ID, run_id, "load_accounts")
    assert (result["lines_read"], result["lines_accepted"], result["lines_failed"]) == (500, 500, 0)
    assert api.xcom(DAG_ID, run_id, "check_assets") == {"records": 500, "compared": 20}
    assert posts(centrapay) == 1 and loads(centrapay) == {1}
    (batch,) = centrapay.batches()
    log = api.log(DAG_ID, run_id, "load_accounts")
    assert "Centrapay will fetch" in log
    assert batch["url"].partition("?")[2] not in log and "Signature=" not in log
