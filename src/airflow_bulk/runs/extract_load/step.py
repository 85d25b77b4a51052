"""What every step of an expanded batch is, and how its errors become Airflow's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.extract_load.applying import OutsideScope
from airflow_bulk.extract_load.deletions import TooManyDeletions
from airflow_bulk.extract_load.endpoints import UnfilterableBound
from airflow_bulk.extract_load.readings import SourceKeepsChanging
from airflow_bulk.extract_load.transforming import MappingFailed
from airflow_bulk.extract_load.work_file import WorkFileFailed
from airflow_bulk.hooks.sql_reading import QueryRefused, SqlReadingFailed
from airflow_bulk.runs.extract_load.staging import (
    StagedFileGone,
)
from airflow_bulk.runs.failures import TryFailed, as_airflow_errors


class Step(Protocol):
    """What every step is: a task with a staging folder, whose arguments Airflow has rendered.

    :param staging: folder for the records.
    """

    task_id: str
    staging: str

    @property
    def log(self) -> Any:
        """The task's log."""

    @property
    def dag_id(self) -> str:
        """The DAG's id."""

    @property
    def dag(self) -> Any:
        """The DAG."""


_FOR_GOOD = (OutsideScope, QueryRefused, TooManyDeletions, UnfilterableBound, StagedFileGone)


@contextmanager
def told() -> Iterator[None]:
    """Our errors as Airflow's: what the same records would bring again, or twice, fails for good."""
    with as_airflow_errors():
        try:
            yield
        except (SourceKeepsChanging, SqlReadingFailed, WorkFileFailed) as error:
            raise TryFailed(error) from None
        except MappingFailed as error:
            raise AirflowFailException(
                f"{error}. Nothing was written. A retry would find the same: change it, and clear this task."
            ) from None
        except _FOR_GOOD as error:  # before as_airflow_errors: it takes a ValueError for one that may pass
            raise AirflowFailException(str(error)) from None
