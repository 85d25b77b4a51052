"""``make up-distributed``: Airflow on Celery with two workers, two triggerers, two schedulers; a store and the platforms on loopback.

The examples whose files lie in a store are there with their connections, and the store has something to import: a person presses
Trigger. Everything is in ``.demo/`` of the checkout and on free ports; Ctrl-C stops what was started. Where Celery, PostgreSQL or
Redis cannot be had, it says which, and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accounting
from airflow_api import AirflowApiError
from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.handle import Emulator, EmulatorError
from airflow_stack import StackError
from distributed_stack import WORKERS, DistributedStack, NotInstalled, distributed
from run import EXAMPLE_FOLDERS, ROOT, DemoError, console, own_folder, usual_port
from s3_server import S3Server

#: The examples whose files may lie in a store, and what a person gives their forms for that; empty where the default fits.
EXAMPLES = {
    "nightly_with_approval": "",
    "farmlands_accounts": "",
    "accounting_refresh": "Staging: s3://aws_crm@exports/staging",
}
#: The examples' own names of store connections and buckets.
STORES = {"aws_crm": "exports", "aws_partner": "partner"}
OBJECTS, LINES = 3, 2_000


def connections(emulator: Emulator, s3: S3Server) -> dict[str, str]:
    """Values of ``AIRFLOW_CONN_...`` variables, by connection id (they hold tokens)."""
    return {
        "mediarithmics_default": emulator.connection_json(),
        "centrapay_default": CentrapayEmulator(emulator).connection_json(account_id=ACCOUNT),
        **accounting.connections(emulator),
        **dict.fromkeys(STORES, s3.connection_json()),
    }


def examples(folder: Path) -> Path:
    """A folder of links to the examples that run here; edits of their files are seen."""
    shown = folder / "examples"
    shown.mkdir()
    for name in (*(f"{example}.py" for example in EXAMPLES), *EXAMPLE_FOLDERS):
        (shown / name).symlink_to(ROOT / "dags" / name)
    return shown


def fill(s3: S3Server) -> None:
    """Put profiles into the store; one line in a hundred has none, so that there is a bad line to approve."""
    for bucket in STORES.values():
        s3.client.create_bucket(Bucket=bucket)
    for number in range(OBJECTS):
        lines = []
        for person in range(number * LINES, (number + 1) * LINES):
            line: dict[str, Any] = {
                "operation": "UPSERT",
                "compartment_id": "4100",
                "user_account_id": f"p{person}",
            }
            lines.append(json.dumps(line if person % 100 == 0 else {**line, "user_profile": {"n": person}}))
        body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
        s3.client.put_object(Bucket=STORES["aws_crm"], Key=f"profiles/export-{number}.ndjson.gz", Body=body)


@contextlib.contextmanager
def running(folder: Path, port: int) -> Iterator[DistributedStack]:
    """Store, platforms and Airflow, healthy; all stopped at the end."""
    with Emulator.start(start_delay=1.0, run_seconds=2.0) as emulator, S3Server() as s3:
        fill(s3)
        accounting.fill(emulator)
        environment = {
            f"AIRFLOW_CONN_{name.upper()}": value for name, value in connections(emulator, s3).items()
        }
        environment["BULK_EXAMPLE_DATAMART"] = emulator.datamart_id
        console.print("Starting Airflow on Celery: API server, DAG processor, two each of the others")
        with distributed(folder, {"examples": examples(folder)}, environment, port=port) as stack:
            console.print(f"Airflow is up after {stack.seconds_to_start:.0f} s: {stack.url}")
            console.print(f"The emulator stands in for the platforms: {emulator.url}")
            console.print(
                f"The object store: {s3.url}, with {OBJECTS} objects in {STORES['aws_crm']}/profiles"
            )
            for worker in WORKERS:
                console.print(f"The disk of {worker}: {stack.folder_of(worker)}")
            yield stack


def stay(port: int) -> None:
    """Everything stays up until Ctrl-C."""
    with own_folder() as folder, running(folder, port or usual_port()) as stack:
        for dag_id, given in EXAMPLES.items():
            stack.api.wait_for_dag(dag_id)
            stack.api.unpause(dag_id)
            hint = f" ({given})" if given else ""
            console.print(f"Trigger the DAG in its form: {stack.url}/dags/{dag_id}{hint}")
        console.print("Ctrl-C stops everything.")
        while True:
            stack.check_alive()
            time.sleep(1)


def main() -> int:
    """Run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="of Airflow's pages; 0: a free one")
    options = parser.parse_args()
    # An end from outside is an end like any other: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        stay(options.port)
    except KeyboardInterrupt:
        return 0
    except NotInstalled as error:
        console.print(f"Nothing was started: {error}", markup=False, soft_wrap=True)
        return 1
    except (DemoError, StackError, AirflowApiError, EmulatorError) as error:
        console.print("[bold red]It does not stay up:[/bold red] ", soft_wrap=True, end="")
        console.print(error, markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
