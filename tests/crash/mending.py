"""Lines that break a rule, what mends them, and what they are then: for the DAG files and for those who count the lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_bulk.documents.chosen_lines import BadLine


def broken(number: int, mistakes: int = 1) -> str:
    """A line that the check refuses, since it names nobody.

    :param number: no other broken line of the run has it.
    :param mistakes: how often it has to be mended.
    """
    profile = {"number": number, "mistakes": mistakes}
    return _line({"operation": "UPSERT", "compartment_id": "4100", "user_profile": profile})


def mended(line: str) -> str:
    """A broken line once all its mistakes are mended."""
    found = json.loads(line)
    found["user_profile"]["mistakes"] = 1
    return _named(found)


def mend(bad: BadLine) -> str:
    """The transform: mend one mistake of a rejected line; send a line that the platform has failed as it was."""
    if bad.state != "rejected":
        return bad.text
    found = bad.record
    if found["user_profile"]["mistakes"] == 1:
        return _named(found)
    found["user_profile"]["mistakes"] -= 1
    return _line(found)


def _named(line: dict[str, Any]) -> str:
    return _line({**line, "user_account_id": f"mended-{line['user_profile']['number']}"})


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
