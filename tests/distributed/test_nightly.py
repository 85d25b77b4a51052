"""Imports from an object store, a batch of loads, a Centrapay batch: two workers that share no disk do them together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from blown_run import Left
from fleet import LONG, STORE, FleetImport, Row

from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator
from distributed_stack import WORKERS
from s3_server import BUCKET, S3Server

if TYPE_CHECKING:
    from distributed_stack import DistributedStack

pytestmark = pytest.mark.distributed
Import = Callable[[str], FleetImport]
Judge = Callable[[Row], None]


def test_the_nightly_import(new_import: Import, good: Judge) -> None:
    """On a worker and deferred, at the same time."""
    nights = {mode: new_import(f"fleet_quick_{mode}") for mode in ("sync", "deferred")}
    for night in nights.values():
        for _ in range(4):
            night.put(5_000, bad=50)
        night.begin()
    for mode, night in nights.items():
        result = night.ends()
        counts = [result[f"lines_{fate}"] for fate in ("read", "accepted", "rejected")]
        assert counts == [20_200, 20_000, 200]
        rows = night.s3.body(result["results_uri"].partition(f"{BUCKET}/")[2]).splitlines()
        assert len(rows) == 200
        good(night.row(f"nightly import of 4 objects, {mode}"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "deferred"])
def test_mapped_over_twelve(new_import: Import, fleet: DistributedStack, good: Judge, mode: str) -> None:
    fleet.api.wait_for("both workers", lambda: fleet.workers() == set(WORKERS) or None, timeout=120)
    night = new_import(f"fleet_quick_{mode}_mapped")
    for _ in range(12):
        night.put(1_000)
    night.begin()
    night.ends()
    assert {ti["hostname"] for ti in night.loads()} == {"worker-1", "worker-2"}
    good(night.row(f"import mapped over 12 objects, {mode}"))


@pytest.mark.slow
def test_applies_on_different_workers(
    fleet: DistributedStack, s3: S3Server, platforms: dict[str, Emulator], good: Judge
) -> None:
    books = ExtractLoadEmulator(platforms["quick"])
    numbers = [str(number) for number in range(1, 101)]
    books.put("Account", *({"Id": one, "Name": f"account {one}", "AccountType": "Bank"} for one in numbers))
    for name in "Customer", "Vendor":
        books.put(name, *({"Id": one, "DisplayName": f"{name} {one}"} for one in numbers))
    items = ({"Id": one, "Name": f"item {one}", "IncomeAccountRef": {"value": one}} for one in numbers)
    books.put("Item", *items)
    fleet.api.wait_for_dag("fleet_books")
    fleet.api.unpause("fleet_books")
    began = time.monotonic()
    run_id = fleet.api.trigger("fleet_books", conf={"staging": f"s3://{STORE}@{BUCKET}/staging"})
    state = fleet.api.wait_for_run("fleet_books", run_id, timeout=LONG)
    seconds = time.monotonic() - began
    tasks = fleet.api.tasks("fleet_books", run_id)
    assert state == "success", {ti["task_id"]: ti["state"] for ti in tasks}
    hosts = {ti["task_id"]: ti["hostname"] for ti in tasks}
    objects = ("accounts", "customers", "vendors", "products")
    assert {hosts[f"books.apply_{name}"] for name in objects} == {"worker-1", "worker-2"}
    assert all(hosts[f"books.apply_{name}"] != hosts[f"books.snapshot_{name}"] for name in objects)
    held = Counter((name, one["qbd_id"]) for name in objects for one in books.destination(name))
    wanted = Counter((name, number) for name in objects for number in numbers)
    left = Left((wanted - held).total(), (held - wanted).total(), 0)
    tries = max(ti["try_number"] for ti in tasks)
    good(Row("extract/load of 4 objects, staged in the store", seconds, tries, 400, held.total(), left))


@pytest.mark.slow
def test_a_centrapay_batch(
    fleet: DistributedStack, s3: S3Server, platforms: dict[str, Emulator], good: Judge
) -> None:
    centrapay = CentrapayEmulator(platforms["quick"])
    centrapay.settings(step_seconds=0.5)
    dag_id = "farmlands_accounts"
    fleet.api.wait_for_dag(dag_id)
    fleet.api.unpause(dag_id)
    began = time.monotonic()
    run_id = fleet.api.trigger(dag_id, conf={"folder": f"s3://{STORE}@{BUCKET}/farmlands", "customers": 1000})
    assert fleet.api.wait_for_run(dag_id, run_id, timeout=LONG) == "success"
    seconds = time.monotonic() - began
    loads = [one["loads"] for one in centrapay.assets()]
    running = [one for one in centrapay.batches() if one["status"] != "complete"]
    unknown = len(centrapay.batches()) - 1
    left = Left(1000 - len(loads), sum(loads) - len(loads), len(running) + unknown)
    tries = fleet.api.task(dag_id, run_id, "load_accounts")["try_number"]
    good(Row("Centrapay batch, deferred", seconds, tries, 1000, len(loads), left))


def test_a_local_source_is_told_as_such(
    fleet: DistributedStack, s3: S3Server, platforms: dict[str, Emulator]
) -> None:
    """The worker that has the file imports it; the other one says that it has no such file."""
    dag_id = "fleet_local_source"
    fleet.api.wait_for_dag(dag_id)
    fleet.api.unpause(dag_id)
    before = len(platforms["quick"].imports())
    run_id = fleet.api.trigger(dag_id, conf={"datamart_id": "3429"})
    assert fleet.api.wait_for_run(dag_id, run_id) == "failed"
    states = fleet.api.states(dag_id, run_id)
    assert states["import_on_worker_1", -1] == "success", states
    assert states["import_on_worker_2", -1] == "failed", states
    log = fleet.api.log(dag_id, run_id, "import_on_worker_2")
    assert (
        f"{fleet.folder_of('worker 2')}/cwd/sales.ndjson: no such file. This worker has no such file; " in log
    )
    assert "sources must be where every worker reads them." in log
    assert len(platforms["quick"].imports()) == before + 1
