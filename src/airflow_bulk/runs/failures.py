"""Our errors in Airflow's words: what a retry cannot change fails for good, the rest may be retried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.documents.source.parts import SourceChanged, SourceError
from airflow_bulk.platforms.errors import LASTING, PlatformError, WrongPort
from airflow_bulk.runs.record import ClearUnclear, RecordLost

#: The same at every try: retries would only repeat them.
FOR_GOOD = (ArgumentError, SourceChanged, *LASTING, ClearUnclear, WrongPort)
RETRIED = (SourceError, PlatformError, RecordLost, ValueError)


class DeadlinePassed(AirflowException):
    """The work's own deadline passed; the record is kept."""


class TaskStopped(Exception):
    """Raised in ``on_kill``: the simplest way to make ``execute`` end (airflow.md section 3.2)."""


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """Raise our errors as Airflow's, with their message and without the layers below."""
    try:
        yield
    except FOR_GOOD as error:
        raise AirflowFailException(str(error)) from None
    except RETRIED as error:
        raise AirflowException(str(error)) from None
