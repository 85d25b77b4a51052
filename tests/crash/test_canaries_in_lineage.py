"""Secrets and personal data do not get into OpenLineage either, which sends what it knows of each task to others.

An Airflow of its own, with the provider's file transport, and with all that it can be told to send.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from canary_stories import TALKING, a_planted_run, records_applied, set_up
from import_story import CANARY
from played import AT_ONCE, Played
from searching import places
from telling import Teller, teller_on

from airflow_stack import AirflowStack

SCENARIOS = [*TALKING, records_applied]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lineage_stack(
    repository: Path,
    installed: str,
    new_airflow_database: Callable[[], str | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    """An Airflow whose OpenLineage writes a file an event."""
    home = tmp_path_factory.mktemp("lineage-airflow")
    (home / "lineage").mkdir()
    transport = {"type": "file", "log_file_path": str(home / "lineage" / "event")}
    settings = {
        "PYTHONPATH": str(repository / "tests" / "crash"),
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        # All fields of each operator, which OpenLineage leaves out by default.
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps(
            [{"scope": {}, "controls": {"include_full_task_info": True}}]
        ),
        "AIRFLOW__OPENLINEAGE__DEBUG_MODE": "True",
    }
    dags = {"tests-crash": repository / "tests" / "crash" / "dag_files"}
    with AirflowStack(home, dags, settings, database=new_airflow_database(), python=installed) as stack:
        yield stack


@pytest.fixture(scope="module")
def lineage_tell(lineage_stack: AirflowStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teller]:
    with teller_on(lineage_stack, tmp_path_factory.mktemp) as teller:
        set_up(teller)
        yield teller


@pytest.fixture(scope="module")
def talked(lineage_tell: Teller) -> Iterator[Played]:
    """All scenarios, under way."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lineage") as pool:
        yield Played(pool, SCENARIOS, lineage_tell)


@pytest.mark.parametrize("talker", SCENARIOS)
def test_likely_to_talk(talker: Any, talked: Played) -> None:
    talked(talker)


def test_nothing_got_into_lineage(talked: Played, lineage_tell: Teller) -> None:
    talked.wait_for_all()
    stack, emulators = lineage_tell.stack, lineage_tell.platforms.values()
    planted = "planted" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
    a_planted_run(lineage_tell, planted)
    events = stack.home / "lineage"
    stack.api.wait_for("the planted run's last event", lambda: _ended(events, planted) or None, 60)
    written, leaked = places(stack, emulators, planted, CANARY)
    assert any(place.startswith(f"file {events}") for place in written)
    kinds = {(one["job"]["name"], one["eventType"]) for one in _events(events)}
    assert {("crash_quick.load", end) for end in ("START", "COMPLETE", "FAIL")} <= kinds
    assert ("canary_echo.load", "FAIL") in kinds
    assert any("centrapay_conn_id" in path.read_text() for path in events.iterdir()), "a field of an operator"
    assert not leaked


def _events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.iterdir()]


def _ended(folder: Path, planted: str) -> bool:
    """Whether an event tells the end of the planted run's task."""
    ends = (path.read_text() for path in folder.iterdir())
    return any(planted in text and '"COMPLETE"' in text and "crash_quick.load" in text for text in ends)
