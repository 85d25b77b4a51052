"""The example DAG `gdpr_deletion` on a real Airflow: a person's yes and no, and what is sent after each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from one_task import once

from airflow_api import TASK_ENDS
from airflow_bulk.emulator.handle import Emulator
from required_actions import answer, wait_for_question

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

DAG_ID = "gdpr_deletion"
LONG = 120.0


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator.start(start_delay=0, run_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def emulator(airflow_stack: AirflowStack, running: Emulator) -> Emulator:
    running.reset()
    airflow_stack.api.add_connection("mediarithmics_default", running.connection_json())
    return running


class Request:
    """One run of the DAG, asked for by a person, up to the question."""

    def __init__(self, stack: AirflowStack, emulator: Emulator, folder: Path) -> None:
        self.api, self.emulator = stack.api, emulator
        self.lines = [
            json.dumps(
                {"type": "USER_ACCOUNT", "compartment_id": "4100", "user_account_id": f"canary-{number}"}
            )
            for number in range(100)
        ]
        self.source = folder / "requests.ndjson"
        self.write()
        self.api.wait_for_dag(DAG_ID)
        self.api.unpause(DAG_ID)
        self.run_id = self.api.trigger(DAG_ID, conf={"source": str(self.source)})
        self.question = wait_for_question(self.api, DAG_ID, self.run_id, "approve", timeout=LONG)

    def write(self) -> None:
        self.source.write_text("\n".join(self.lines) + "\n")

    def answer(self, option: str) -> str:
        """Answer, and return how `delete` ends."""
        answer(self.api, DAG_ID, self.run_id, "approve", option)
        return self.end_of("delete")

    def end_of(self, task_id: str, try_number: int = 0) -> str:
        ended = self.api.wait_for_task(
            DAG_ID, self.run_id, task_id, TASK_ENDS, try_number=try_number, timeout=LONG
        )
        return str(ended["state"])

    def sent(self) -> list[dict[str, Any]]:
        """The calls that change anything."""
        return [call for call in self.emulator.requests() if call["method"] != "GET"]


@pytest.fixture
def request_(airflow_stack: AirflowStack, emulator: Emulator, tmp_path: Path) -> Request:
    return Request(airflow_stack, emulator, tmp_path)


def test_what_was_approved_is_deleted(request_: Request) -> None:
    one = request_
    assert one.question["subject"] == "Delete 100 identifiers?"
    body = one.question["body"]
    assert "canary" not in body
    assert "| 100 | 1 |" in body
    sample = re.findall(r"^\| (\d+) \| `([0-9a-f]{12})` \|$", body, re.MULTILINE)
    assert len(sample) == 5
    for number, digits in sample:
        assert hashlib.sha256(one.lines[int(number) - 1].encode()).hexdigest().startswith(digits)
    assert one.emulator.requests() == []  # the check asks the platform nothing
    assert one.answer("Approve") == "success"
    assert one.emulator.held() == once(one.lines)
    (made,) = one.emulator.imports()
    assert made["document_type"] == "USER_IDENTIFIERS_DELETION"
    assert one.api.xcom(DAG_ID, one.run_id, "delete")["lines_accepted"] == 100
    for task_id in ("check", "approve", "delete"):
        assert "canary" not in one.api.log(DAG_ID, one.run_id, task_id)


def test_after_a_no_nothing_is_sent(request_: Request) -> None:
    one = request_
    assert one.answer("Reject") == "skipped", one.api.log(DAG_ID, one.run_id, "approve")
    assert one.api.wait_for_run(DAG_ID, one.run_id) == "success"
    assert one.emulator.requests() == []  # not even an import was asked for


def test_a_source_that_changed_after_the_question(request_: Request) -> None:
    """What the person saw is what the answer is for, also where the check was made again meanwhile."""
    one = request_
    one.lines.append(one.lines[0].replace("canary-0", "canary-100"))
    one.write()
    one.api.clear(DAG_ID, one.run_id, "check")
    assert one.end_of("check", try_number=2) == "success"
    assert one.answer("Approve") == "failed"
    assert one.sent() == []
    told = one.api.log(DAG_ID, one.run_id, "delete")
    assert "The source is not what was approved" in told
    assert "(101 lines to send)" in told
    assert "canary" not in told
    # A clear while the scheduler ends the run is lost: the run is failed then, with tasks that never begin.
    assert one.api.wait_for_run(DAG_ID, one.run_id) == "failed"
    # Nobody answers a question that shows the former numbers, as Airflow 3.3 would show them.
    one.api.clear(DAG_ID, one.run_id, "check", downstream=True)
    assert one.end_of("approve", try_number=2) == "failed"
    assert "Trigger a new DAG run" in one.api.log(DAG_ID, one.run_id, "approve", try_number=2)
    assert one.end_of("delete") == "upstream_failed"
    assert one.sent() == []


def test_who_marks_the_question_as_answered_has_approved_nothing(request_: Request) -> None:
    one = request_
    one.api.set_task_state(DAG_ID, one.run_id, "approve", "success")
    assert one.end_of("delete") == "failed"
    assert "expect_fingerprint must be the fingerprint" in one.api.log(DAG_ID, one.run_id, "delete")
    assert one.emulator.requests() == []
