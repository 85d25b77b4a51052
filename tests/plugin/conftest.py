"""Fixtures of the page's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from page_server import PageServer, running_page_server


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """Airflow's API server with the page; started once for all tests of a process."""
    with running_page_server(tmp_path_factory.mktemp("page")) as server:
        yield server
