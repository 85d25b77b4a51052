"""The stretch of time that a run stands for; one rule for every operator and sensor. Pure.

In Airflow 3 a run may have no logical date, and the data interval of a cron schedule has no length by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_bulk.arguments import ArgumentError


def window(context: Mapping[str, Any], length: timedelta | None = None) -> tuple[datetime, datetime]:
    """Return the beginning and the end of the time whose data a run is for.

    It is the data interval if that has a length; else it ends at the run's ``run_after`` and has the given *length*;
    else it reaches from the previous run's ``run_after`` to this run's.

    :param context: the task's context.
    :param length: length of the window where the interval has no length.
    :raises ArgumentError: no window can be made.
    """
    run = context["dag_run"]
    start, end = run.data_interval_start, run.data_interval_end
    if start is not None and end is not None and start < end:
        return start, end
    if length is not None:
        return run.run_after - length, run.run_after
    previous = context["ti"].get_previous_dagrun()
    if previous is not None and previous.run_after < run.run_after:
        return previous.run_after, run.run_after
    raise ArgumentError(
        "window",
        "cannot be made for this run: its data interval has no length, and there is no earlier run to begin at;"
        " give window=timedelta(...)",
    )
