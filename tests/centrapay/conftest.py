"""The emulated Centrapay behind the default connection, and files that it can fetch."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from file_server import FileServer
from one_task import Task

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.handle import Emulator
from s3_server import S3Server


@pytest.fixture
def centrapay(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> CentrapayEmulator:
    """Batches are over at once."""
    made = CentrapayEmulator(bulk_emulator)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", made.connection_json(account_id=ACCOUNT))
    made.settings(step_seconds=0)
    return made


@pytest.fixture(scope="session")
def _file_server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


@pytest.fixture
def files(_file_server: FileServer) -> FileServer:
    _file_server.files.clear()
    _file_server.fetched.clear()
    return _file_server


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def s3(_s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An object store that signs URLs, behind the connection ``aws_partner``."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_PARTNER", _s3_server.connection_json())
    _s3_server.forget()
    return _s3_server


@pytest.fixture
def task() -> type[Task]:
    return Task


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the package logs, every level. The first use of a store sets logging up anew, and loses ``caplog``."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("airflow_bulk"), Keeping()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
