"""The example DAG `nightly_with_approval` on a real Airflow: bad lines come back, a person approves, they are sent corrected.

Three nights over one folder of an S3 server, each with another layout of the platform's error files; files of an earlier
night are known. Each good line is there once in the end, and the totals of each night are the lines that it read.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from airflow_api import TASK_ENDS
from airflow_bulk.emulator.handle import Emulator
from required_actions import answer, wait_for_question
from s3_server import BUCKET, S3Server

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID, AFTER = "nightly_with_approval", "after_nightly"
LONG = 180.0
CANARY = "canary-person"
#: Lines of an object; of a hundred one is rejected, and of what is sent every fiftieth fails on the platform.
LINES = 600


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator.start(start_delay=0, run_seconds=0, datamart=["1500"]) as running:
        yield running


@pytest.fixture(scope="module")
def stack(airflow_stack: AirflowStack, emulator: Emulator, s3: S3Server) -> AirflowStack:
    airflow_stack.api.add_connection("mediarithmics_default", emulator.connection_json())
    airflow_stack.api.add_connection("aws_crm", s3.connection_json())
    for dag_id in (DAG_ID, AFTER):
        airflow_stack.api.wait_for_dag(dag_id)
        airflow_stack.api.unpause(dag_id)
    return airflow_stack


class Folder:
    """The folder of exports, and who is in it."""

    def __init__(self, s3: S3Server) -> None:
        self.s3, self.people = s3, 0

    def put(self, name: str) -> None:
        """Put one more object there; one line in a hundred has no profile."""
        lines = []
        for _ in range(LINES):
            self.people += 1
            line: dict[str, Any] = {
                "operation": "UPSERT",
                "compartment_id": "4100",
                "user_account_id": f"{CANARY}-{self.people}",
            }
            lines.append(line if self.people % 100 == 0 else {**line, "user_profile": {"n": self.people}})
        body = "".join(json.dumps(line) + "\n" for line in lines)
        self.s3.put(f"profiles/{name}.ndjson.gz", gzip.compress(body.encode()))

    def results(self, uri: str) -> list[dict[str, Any]]:
        """The rows of a results file."""
        key = uri.partition(f"{BUCKET}/")[2]
        return [json.loads(row) for row in self.s3.body(key).splitlines()]


class Night:
    """One run."""

    def __init__(self, stack: AirflowStack, run_id: str) -> None:
        self.stack, self.api = stack, stack.api
        conf = {
            "source": f"s3://aws_crm@{BUCKET}/profiles/*.ndjson.gz",
            "bad_lines": f"s3://aws_crm@{BUCKET}/bad",
        }
        self.run_id = self.api.trigger(DAG_ID, conf=conf, run_id=run_id)

    def end(self, task_id: str) -> dict[str, Any]:
        ended = self.api.wait_for_task(DAG_ID, self.run_id, task_id, TASK_ENDS, timeout=LONG)
        assert ended["state"] == "success", self.api.log(DAG_ID, self.run_id, task_id)
        return self.api.xcom(DAG_ID, self.run_id, task_id) or {}

    def decide(self, option: str) -> str:
        question = wait_for_question(self.api, DAG_ID, self.run_id, "approve", timeout=LONG)
        answer(self.api, DAG_ID, self.run_id, "approve", option)
        return str(question["body"])

    def told(self) -> dict[str, Any]:
        """The totals that the downstream DAG was started with."""

        def look() -> dict[str, Any] | None:
            runs = self.api.call("GET", f"/dags/{AFTER}/dagRuns")["dag_runs"]
            found = [self.api.xcom(AFTER, one["dag_run_id"], "use_totals") for one in runs]
            return next((one for one in found if one and one["import_id"] == self.last), None)

        return self.stack.api.wait_for(f"{AFTER} to be started by {self.run_id}", look, LONG)

    last: Any = None


def held(emulator: Emulator) -> Counter[str]:
    every: Counter[str] = Counter()
    for one in emulator.imports():
        for line, count in emulator.held(one["id"]).items():
            every[json.loads(line)["user_account_id"]] += count
    return every


def test_three_nights(stack: AirflowStack, emulator: Emulator, s3: S3Server) -> None:
    folder = Folder(s3)
    brought = 0
    for number, (layout, names) in enumerate(
        [("line_number", ("a", "b", "c")), ("identifier", ("d",)), ("line", ("e",))], 1
    ):
        for name in names:
            folder.put(name)
        emulator.settings(error_file_layout=layout)
        emulator.fault("failing_lines", every=50, times=1)
        night = Night(stack, f"night-{number}")
        loaded = night.end("load")
        read = LINES * len(names)
        failed = (read - read // 100) // 50
        counts = [loaded[f"lines_{fate}"] for fate in ("read", "rejected", "failed", "unjoined")]
        assert counts == [read, read // 100, failed, 0]
        assert loaded["files_known"] == brought
        rows = folder.results(loaded["results_uri"])
        assert Counter(row["state"] for row in rows) == {"rejected": read // 100, "failed": failed}
        assert all(json.loads(row["raw"])["user_account_id"].startswith(CANARY) for row in rows)
        body = night.decide("Approve")
        assert f"| {read} | {read - read // 100 - failed} | {read // 100} | {failed} |" in body
        resent = night.end("resend")
        assert resent["totals"]["lines_read"] == resent["totals"]["lines_accepted"] == read
        night.last = resent["import_id"]
        assert night.told()["totals"] == resent["totals"]
        brought += len(names)
        assert held(emulator) == Counter({f"{CANARY}-{n}": 1 for n in range(1, folder.people + 1)})
        for task_id in ("load", "any_bad", "approve", "resend"):
            assert CANARY not in stack.api.log(DAG_ID, night.run_id, task_id)
            assert CANARY not in json.dumps(stack.api.xcom(DAG_ID, night.run_id, task_id), default=str)


@pytest.mark.slow  # test_gdpr_deletion.py has a no in every run
def test_after_a_no_nothing_more_is_sent(stack: AirflowStack, emulator: Emulator, s3: S3Server) -> None:
    Folder(s3).put("f")
    before = len(emulator.imports())
    night = Night(stack, "night-no")
    night.end("load")
    night.decide("Reject")
    assert stack.api.wait_for_run(DAG_ID, night.run_id) == "success"
    assert night.api.wait_for_task(DAG_ID, night.run_id, "resend", TASK_ENDS)["state"] == "skipped"
    assert len(emulator.imports()) == before + 1


@pytest.mark.slow
def test_a_night_without_bad_lines_asks_nobody(stack: AirflowStack, emulator: Emulator, s3: S3Server) -> None:
    line = {"operation": "UPSERT", "compartment_id": "4100", "user_account_id": "one", "user_profile": {}}
    s3.put("profiles/g.ndjson.gz", gzip.compress(json.dumps(line).encode()))
    night = Night(stack, "night-good")
    assert night.end("load")["lines_accepted"] == 1
    resent = night.end("resend")
    assert (resent["import_id"], resent["totals"]["lines_accepted"]) == (None, 1)
