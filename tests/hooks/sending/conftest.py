"""The receivers and the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hooks.sending.pooling import line_of
from tests.hooks.sending.sink import Sink


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture
def source(tmp_path) -> Path:
    """20,000 lines; a bad one and a blank one among each hundred."""
    path = tmp_path / "source.ndjson"
    path.write_bytes(b"".join(line_of(number) for number in range(1, 20_001)))
    return path


@pytest.fixture
def tls_sink(certificate):
    sink = Sink(certificate)
    yield sink
    sink.close()
