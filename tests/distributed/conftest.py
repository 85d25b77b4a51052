"""A fleet for all tests of this folder: Airflow on Celery with two workers, a store, the platforms; and a table of what was seen."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fleet import STORE, FleetImport, Row

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator
from s3_server import S3Server

if TYPE_CHECKING:
    from distributed_stack import DistributedStack

ROWS = pytest.StashKey[list[Row]]()
LAYOUT = "{:56} {:>7} {:>5} {:>8} {:>8} {:>4} {:>7} {:>6}"
#: Of one connection, over all that use it.
LIMITS = {"requests_per_minute": 60, "max_uploads": 2, "max_bytes_per_second": 1_000_000}
DATAMARTS = [str(number) for number in range(3400, 3430)]


@pytest.fixture(scope="session")
def fleet(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributedStack]:
    """Airflow on Celery, or a skip that says what is not installed."""
    from distributed_stack import NotInstalled, distributed

    dags = {
        "examples": repository / "dags",
        "tests-distributed": repository / "tests" / "distributed" / "dag_files",
    }
    # The package of this checkout, wherever the interpreter has another one.
    settings = {"PYTHONPATH": str(repository / "src")}
    try:
        with distributed(tmp_path_factory.mktemp("fleet"), dags, settings) as stack:
            yield stack
    except NotInstalled as error:
        if any(os.environ.get(f"{name}_REQUIRED") for name in ("REDIS", "POSTGRES")):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def s3(fleet: DistributedStack) -> Iterator[S3Server]:
    """A store that every worker, every triggerer and Centrapay reach."""
    with S3Server() as running:
        fleet.api.add_connection(STORE, running.connection_json())
        yield running


@pytest.fixture(scope="session")
def platforms(fleet: DistributedStack) -> Iterator[dict[str, Emulator]]:
    """By connection: what one takes is over within some seconds, what the other takes waits for the test."""
    with (
        Emulator.start(start_delay=1.5, run_seconds=0.5, datamart=DATAMARTS) as quick,
        Emulator.start(start_delay=3600.0, run_seconds=3600.0, datamart=DATAMARTS) as waiting,
        Emulator.start(start_delay=20.0, run_seconds=20.0, datamart=DATAMARTS) as limited,
    ):
        add = fleet.api.add_connection
        for name, emulator in ("quick", quick), ("waiting", waiting):
            add(f"fleet_{name}", emulator.connection_json())
        add("fleet_limited", limited.connection_json(**LIMITS))
        books = ExtractLoadEmulator(quick)
        add("fleet_source", books.connection_json("source", api="quickbooks", realm="1"))
        add("fleet_warehouse", books.connection_json("destination", api="activecell"))
        add("centrapay_default", CentrapayEmulator(quick).connection_json(account_id=ACCOUNT))
        yield {"quick": quick, "waiting": waiting, "limited": limited}


@pytest.fixture(scope="session")
def _datamarts() -> Iterator[str]:
    return itertools.cycle(DATAMARTS)


@pytest.fixture
def new_import(
    fleet: DistributedStack, s3: S3Server, platforms: dict[str, Emulator], _datamarts: Iterator[str]
) -> Callable[[str], FleetImport]:
    """``new_import(dag_id)``: a run that nothing else touches; the DAG is ready to run."""

    def new(dag_id: str) -> FleetImport:
        fleet.api.wait_for_dag(dag_id)
        fleet.api.unpause(dag_id)
        return FleetImport(fleet, dag_id, platforms[dag_id.split("_")[1]], next(_datamarts), s3)

    return new


@pytest.fixture
def good(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """``good(row)``: put a row into the table, and fail unless everything is there once and nothing is left."""

    def judge(row: Row) -> None:
        request.config.stash.setdefault(ROWS, []).append(row)
        assert row.left == (0, 0, 0), row

    return judge


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section(f"on Celery, {time.strftime('%Y-%m-%d')}")
    head = ("case", "seconds", "tries", "expected", "there", "lost", "doubled", "leaked")
    terminalreporter.write_line(LAYOUT.format(*head))
    for row in rows:
        cells = (row.case, f"{row.seconds:.0f}", row.tries, f"{row.expected:,}", f"{row.held:,}", *row.left)
        terminalreporter.write_line(LAYOUT.format(*cells))
