"""Crash tests: one Airflow, the platforms, all scenarios of the session under way at once, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from canary_stories import set_up
from played import BEGUN, Played, play
from telling import Teller, teller_on

if TYPE_CHECKING:
    from airflow_stack import AirflowStack


@pytest.fixture(scope="session")
def tell(airflow_stack: AirflowStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teller]:
    """``tell(dag_id)`` begins a story: a run that nothing else touches."""
    with teller_on(airflow_stack, tmp_path_factory.mktemp) as teller:
        yield teller


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, tell: Teller) -> Iterator[Played]:
    """All scenarios that were chosen, under way: ``played(scenario)`` waits for the end of one."""
    set_up(tell)  # before any of them begins, whichever module comes first
    yield from play(request, tell, Path(__file__).parent)


@pytest.fixture
def alone_on_stage() -> None:
    """Wait for all scenarios that were begun on this Airflow: the test strikes the Airflow itself."""
    for begun in BEGUN:
        begun.wait_for_all()
