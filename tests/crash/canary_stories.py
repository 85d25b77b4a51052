"""Runs that are likely to talk of secrets and persons: lines that are refused, platforms that repeat what they were sent.

Every line of a crash test is about a canary person, every token is a canary (``import_story.py``). A variable holds a
signed URL of a file, and stands for the value of a plugin property, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from import_story import CANARY, PERSON, ImportStory
from kind_stories import CentrapayStory
from task_run import ONE_WRITER
from telling import Teller

Tell = Callable[[str], ImportStory]
#: The name of the variable does not look like a secret, so that Airflow itself masks nothing.
VARIABLE = "canary_place"
SIGNATURE = f"{CANARY}-signature"


def set_up(tell: Teller) -> None:
    """Set the variable to a signed URL that Centrapay can fetch."""
    story: CentrapayStory = tell("cleared_centrapay")
    story.write(bad=2)
    value = f"{story.conf()['url']}?sig={SIGNATURE}"
    with ONE_WRITER:
        tell.stack.api.set_variable(VARIABLE, value)


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


def lines_and_token_repeated(tell: Teller) -> None:
    """The platform refuses the upload, and its message repeats the line and the token."""
    story = tell("canary_echo")
    story.write()
    story.begin()
    story.ends("failed")
    assert "400" in story.log()
    assert any(PERSON in one and f"{CANARY}-token" in one for one in tell.echo.said)


def signed_url_and_key_repeated(tell: Teller) -> None:
    story = tell("canary_echo_centrapay")
    story.begin()
    story.tried("failed")
    assert "400" in story.log()
    assert any(SIGNATURE in one and f"{CANARY}-token" in one for one in tell.echo.said)


def records_refused_behind_a_signed_url(tell: Teller) -> None:
    story = tell("canary_centrapay")
    story.begin()
    result = story.tried()
    assert (result["lines_accepted"], result["lines_failed"]) == (3, 2)


def secret_properties(tell: Teller) -> None:
    story = tell("canary_properties")
    story.begin()
    assert story.tried()["created"]


def records_applied(tell: Teller) -> None:
    story = tell("cleared_apply")
    story.put(*range(5))
    story.begin()
    assert story.tried()["created"] == 5


TALKING: list[Callable[[Any], None]] = [
    token_refused_in_mid_run,
    failed_on_the_platform,
    refused_before_sending,
    lines_and_token_repeated,
    signed_url_and_key_repeated,
    records_refused_behind_a_signed_url,
    secret_properties,
    a_good_run,
    a_deferred_run,
]


def a_planted_run(tell: Teller, planted: str) -> ImportStory:
    """A run that bears a planted word in its name: what is written of a run holds it, so a search must find it."""
    story = tell("crash_quick")
    story.run_id = planted
    story.write()
    story.begin()
    story.ends_well()
    return story
