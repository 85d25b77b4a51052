"""What a run tells the page about itself (:mod:`airflow_bulk.shown`), from the worker.

A value that cannot be written is left out: what people see must not end a run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.record import RecordLost
from airflow_bulk.shown import NOW_KEY, Pace

log = logging.getLogger(__name__)

#: The characters of an error that the page shows.
LONGEST_REASON = 2_000


class ShownRun:
    """The row of a run, and its state now.

    :param ti: the task instance.
    :param key: of its row in XCom: one of :data:`airflow_bulk.shown.ROW_KEYS`, or the key of groups.
    """

    def __init__(self, ti: Any, key: str) -> None:
        self._ti = ti
        self._key = key
        self._row: dict[str, Any] = {}
        self._written = False
        self._pace = Pace()

    @property
    def row(self) -> Mapping[str, Any]:
        """The row as it was last told; empty before the run has begun."""
        return self._row

    def tell(self, row: Mapping[str, Any]) -> None:
        """Write the row, if it has changed or could not be written before.

        :param row: the whole row.
        """
        if row != self._row or not self._written:
            self._row = dict(row)
            self._written = self._push(self._key, {**row, "at": time.time()})

    def tell_now(self, state: dict[str, Any]) -> None:
        """Write the state now, if it has changed and enough time has passed."""
        if self._pace.is_due(state) and not self._push(NOW_KEY, {**state, "at": time.time()}):
            self._pace.forget()

    def tell_failure(self, reason: str) -> None:
        """Add to the row why this try failed."""
        from airflow.sdk.log import redact  # type: ignore[attr-defined]

        # Airflow masks what it logs; what is pushed to XCom it does not.
        self.tell({**self._row, "reason": str(redact(reason))[:LONGEST_REASON]})

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Tell why the block fails: in our own words, or in Airflow's; of any other error, which may quote anything, the kind."""
        try:
            yield
        except (TaskStopped, AirflowSkipException):
            raise  # there is no time, or nothing has failed
        except Exception as error:
            cause = getattr(error, "error", error)  # of a failed try
            if not isinstance(cause, RecordLost):  # a newer try has the row
                ours = isinstance(error, AirflowException) and type(cause).__module__.startswith("airflow")
                told = str(error) if ours else f"{type(cause).__name__}; the log of the task has its text."
                self.tell_failure(told)
            raise

    def _push(self, key: str, value: dict[str, Any]) -> bool:
        """Return whether the value was written."""
        push = getattr(self._ti, "xcom_push", None)
        if push is None:
            return True  # a run outside of any task: nobody looks
        try:
            push(key=key, value=value)
        except TaskStopped:
            raise
        except Exception as error:  # noqa: BLE001  (see the module)
            log.debug("The page does not learn of this: %s.", type(error).__name__)
            return False
        return True
