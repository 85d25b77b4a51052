"""Secrets and personal data get out nowhere: no log, XCom, rendered field, task state, asset state, exception, link, call.

Every story of this folder sends lines of canary persons with a canary token; here are the runs that would
be the likeliest to talk, and the search through all that Airflow and the platforms have written by then, without
OpenLineage; ``test_canaries_in_lineage.py`` has it on.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from typing import Any

import pytest
from canary_stories import TALKING, a_planted_run
from import_story import CANARY
from searching import places
from telling import Teller

from airflow_bulk.runs.record_copy import clears_discard


@pytest.mark.parametrize("scenario", TALKING)
def test_likely_to_talk(scenario: Any, played: Callable[[Any], None]) -> None:
    played(scenario)


def test_nothing_got_out(played: Any, tell: Teller) -> None:
    played.wait_for_all()
    planted = "planted" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
    story = a_planted_run(tell, planted)
    texts = (planted, f"/datamart/{story.datamart}/imports/", f"/datamarts/{story.datamart}/", CANARY)
    written, linked, called, leaked = places(tell.stack, tell.platforms.values(), *texts)
    # What is searched does hold what a run writes.
    if tell.stack.database.startswith("sqlite"):
        assert any(place.endswith(("airflow.db", "airflow.db-wal")) for place in written)
    assert any(place.endswith("attempt=1.log") for place in written)
    assert {"table dag_run", "table task_state_store"} <= written
    # Airflow 3.4 renamed it.
    assert {"table xcom", "table xcom_v2"} & linked
    # Airflow 3.4 renamed it, and copies the record to where a clear does not reach.
    assert {"table rendered_task_instance_fields", "table rtif_v2"} & written
    assert ("table asset_state_store" in linked) == clears_discard()
    assert f"page /dags/crash_quick/dagRuns/{planted}/taskInstances" in written
    assert f"links /dags/crash_quick/dagRuns/{planted}/taskInstances/load/links" in linked
    assert "bulk page of crash_quick.load" in written
    assert f"call POST /v1/datamarts/{story.datamart}/document_imports" in called
    assert not leaked
