"""The example DAG: its records keep the rules, and it runs on a whole Airflow against the emulator and an S3 server."""

from __future__ import annotations

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
from example_dags import load_example

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID = "farmlands_accounts"


@pytest.fixture(scope="module")
def example(repository: Path) -> ModuleType:
    return load_example(repository, DAG_ID)


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
        api = airflow_stack.api
        api.add_connection("centrapay_default", centrapay.connection_json(account_id=TEST_ACCOUNT))
        api.add_connection("aws_partner", s3.connection_json())
        yield airflow_stack, centrapay


def test_on_a_whole_airflow(stack: Any, s3: Any, example: ModuleType) -> None:
    """One record is refused, of those that are read back otherwise: it is in the errors file, and nowhere else."""
    airflow, centrapay = stack
    api = airflow.api
    refused = example.external_id(list(example.balances(500))[25])
    centrapay.settings(step_seconds=1, refused={refused: "EMULATOR_REFUSED"})
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
    assert (result["lines_read"], result["lines_accepted"], result["lines_failed"]) == (500, 499, 1)
    assert api.xcom(DAG_ID, run_id, "check_assets") == {"records": 500, "refused": 1, "compared": 20}
    assert posts(centrapay) == 1 and loads(centrapay) == {1} and len(centrapay.assets()) == 499
    (batch,) = centrapay.batches()
    folder, _, name = result["errors_uri"].rpartition("/")
    assert folder == f"{form['folder']}/{run_id}/errors" and name.endswith(".results.ndjson")
    rows = s3.body(result["errors_uri"].partition("crm/")[2]).splitlines()
    (row,) = map(json.loads, rows)
    assert (row["state"], row["execution"], row["line"]) == ("failed", batch["id"], 26)
    assert row["columns"] == {"index": "25", "external_id": refused} and row["reasons"] == [
        "EMULATOR_REFUSED"
    ]
    log = api.log(DAG_ID, run_id, "load_accounts")
    assert "Centrapay will fetch" in log
    assert batch["url"].partition("?")[2] not in log and "Signature=" not in log
