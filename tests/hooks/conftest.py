"""Connections to the emulator, each with a rate budget of its own."""

from __future__ import annotations

import pytest

from airflow_bulk.emulator.handle import Emulator
from both_ways import Connected


@pytest.fixture
def connected(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Connected:
    """Hooks that lead to the emulator."""
    return Connected(monkeypatch, bulk_emulator.connection_json())
