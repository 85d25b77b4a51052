"""Secrets and personal data get out nowhere: no log, XCom, rendered field, task state, exception, call.

Every story of this folder sends lines of canary persons with a canary token; here are the runs that would
be the likeliest to talk, and the search through all that Airflow and the platform have written by then.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from import_story import CANARY, PERSON, ImportStory

Tell = Callable[[str], ImportStory]

BAD_LINES = [
    "{" + PERSON,
    f'"{PERSON}"',
    json.dumps({"operation": PERSON, "compartment_id": "4100", "user_account_id": "1", "user_profile": {}}),
    json.dumps({"operation": "UPSERT", "compartment_id": PERSON, "user_account_id": [PERSON]}),
    json.dumps({"operation": "UPSERT", "user_profile": {"name": PERSON}, "user_email": {"hash": PERSON}}),
    json.dumps({"operation": "UPSERT", "user_agent_id": PERSON, "user_profile": PERSON}),
]


def add_bad_lines(story: ImportStory) -> None:
    with (story.folder / "lines.ndjson").open("a") as source:
        source.write("".join(f"{line}\n" for line in BAD_LINES))


def a_good_run(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    add_bad_lines(story)
    story.begin(limit="100%")
    result = story.ends()
    assert result["lines_rejected"] == len(BAD_LINES)
    assert PERSON in (story.folder / "rejects" / result["rejects_uri"].rpartition("/")[2]).read_text()
    story.each_line_once()


def a_deferred_run(tell: Tell) -> None:
    story = tell("crash_deferred")
    story.write()
    story.begin()
    story.wait_for("deferred")
    assert CANARY not in json.dumps(story.task())
    story.ends_well()


def refused_before_sending(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    add_bad_lines(story)
    story.begin()
    story.ends("failed")
    assert not story.imports()


def failed_on_the_platform(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    add_bad_lines(story)
    story.begin(check="false")
    story.ends("failed")
    messages = [one["error"]["message"] for one in story.executions() if one["error"]]
    assert any(PERSON in message for message in messages)
    assert "max_failures=0" in story.log()
    story.each_line_once()


def token_refused_in_mid_run(tell: Tell) -> None:
    story = tell("crash_quick")
    story.write()
    story.fault("unauthorized", times=3, skip=1)
    story.begin()
    story.ends("failed")
    assert "API token" in story.log()
    story.clear()
    story.wait_for("running", "success", try_number=4)
    story.ends_well()


@pytest.mark.parametrize(
    "scenario",
    [token_refused_in_mid_run, failed_on_the_platform, refused_before_sending, a_good_run, a_deferred_run],
)
def test_likely_to_talk(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)


def test_nothing_got_out(played: Any, tell: Tell) -> None:
    played.wait_for_all()
    story = tell("crash_quick")
    story.write()
    story.begin()
    story.ends_well()
    # What is searched does hold what a run writes.
    written = story.search(story.run_id)
    if story.stack.database.startswith("sqlite"):
        assert any(place.endswith(("airflow.db", "airflow.db-wal")) for place in written)
    assert any(place.endswith("attempt=1.log") for place in written)
    assert {"table dag_run", "table task_state_store", "table xcom"} <= set(written)
    # Airflow 3.4 renamed it.
    assert {"table rendered_task_instance_fields", "table rtif_v2"} & set(written)
    assert story.search(f"/datamarts/{story.datamart}/")
    assert not story.search(CANARY)
