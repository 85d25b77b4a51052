"""The list of all bulk work, newest first, out of Airflow's own records; each query is bounded."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.models.dagrun import DagRun
from sqlalchemy import and_, func, or_, select, tuple_

from airflow_bulk.plugin.rows import STATE_GROUPS, WorkRow, group_row, read_row
from airflow_bulk.plugin.tables import (
    PLACE,
    TI_COLUMNS,
    XCOM_KEY,
    XCOM_VALUE,
    at,
    dags_with_work,
    in_value,
    is_current,
    of_ti,
    rows_of_work,
    xcoms,
)
from airflow_bulk.shown import GROUP_KEY, NOW_KEY, ROW_KEYS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

#: Rows of one page.
PAGE_SIZE = 50
#: The last page that can be asked for: what is older is found by its day.
LAST_PAGE = 200
_PLATFORM_OF = {**{key: platform for platform, key in ROW_KEYS.items()}, GROUP_KEY: "extract_load"}


@dataclasses.dataclass(frozen=True)
class Filters:
    """What a person asked the list for; an empty text asks for all.

    :param state: a key of :data:`airflow_bulk.plugin.rows.STATE_GROUPS`.
    :param find: an id on the platform, a name of the DAG, or a name as the platform's console has it, with its marker.
    :param day: the day, in UTC, on which the task began.
    """

    dag_id: str = ""
    run_id: str = ""
    platform: str = ""
    state: str = ""
    find: str = ""
    day: date | None = None
    page: int = 1


class Listing(NamedTuple):
    """One page of the list.

    :param more: whether there is another page.
    :param dag_ids: the DAGs that have bulk work and that the reader may see, for the filter.
    """

    rows: list[WorkRow]
    more: bool
    dag_ids: list[str]


class _Stored(NamedTuple):
    """A task instance and its row, as stored."""

    ti: dict[str, Any]
    key: str
    value: Any

    @property
    def place(self) -> tuple[str, str, str, int]:
        return tuple(self.ti[name] for name in PLACE)


def list_rows(session: Session, filters: Filters, may_read: Callable[[str], bool]) -> Listing:
    """Read one page.

    :param may_read: whether the reader may see a DAG; nothing of another one is read.
    """
    dag_ids = sorted(filter(may_read, dags_with_work(session, _PLATFORM_OF)))
    wanted = [one for one in dag_ids if filters.dag_id in ("", one)]
    if not wanted:
        return Listing([], False, dag_ids)
    query = _filtered(session, filters, wanted).order_by(
        of_ti("start_date").desc(), of_ti("task_id"), of_ti("map_index")
    )
    stored = _stored(session, query.offset((filters.page - 1) * PAGE_SIZE).limit(PAGE_SIZE + 1))
    return Listing(_rows(session, stored[:PAGE_SIZE]), len(stored) > PAGE_SIZE, dag_ids)


def find_row(session: Session, ti: Mapping[str, Any]) -> WorkRow | None:
    """The row of one task instance; None where it has none.

    :param ti: its ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    """
    query = rows_of_work(_PLATFORM_OF).where(*at(ti)).limit(1)
    return next(iter(_rows(session, _stored(session, query))), None)


def last_rows(session: Session, dag_id: str, task_id: str, limit: int) -> list[WorkRow]:
    """The last runs of one task, the oldest first."""
    query = rows_of_work(_PLATFORM_OF).where(*at({"dag_id": dag_id, "task_id": task_id}))
    query = query.order_by(of_ti("start_date").desc(), of_ti("map_index").desc()).limit(limit)
    return _rows(session, _stored(session, query))[::-1]


def _filtered(session: Session, filters: Filters, dag_ids: Sequence[str]) -> Select[Any]:
    keys = [key for key, platform in _PLATFORM_OF.items() if filters.platform in ("", platform)]
    query = rows_of_work(keys).where(of_ti("dag_id").in_(dag_ids))
    if filters.run_id:
        query = query.where(of_ti("run_id") == filters.run_id)
    if filters.find:
        query = query.where(_called(session, filters.find))
    if filters.day is not None:
        begin = datetime.combine(filters.day, datetime.min.time(), UTC)
        began = of_ti("start_date")
        query = query.where(began >= begin, began < begin + timedelta(days=1))
    if states := STATE_GROUPS.get(filters.state):
        # A group is many tasks; its DAG run has their state.
        of_task = and_(XCOM_KEY != GROUP_KEY, of_ti("state").in_(states))
        run = select(1).where(DagRun.dag_id == of_ti("dag_id"), DagRun.run_id == of_ti("run_id"))
        of_group = and_(XCOM_KEY == GROUP_KEY, run.where(DagRun.state.in_(states)).exists())
        query = query.where(or_(of_task, of_group))
    return query


def _called(session: Session, text: str) -> ColumnElement[bool]:
    """That a row is of what is called so. No index helps: the database looks into each row of bulk work."""
    word = text.rstrip("] ").rpartition("[")[2]
    if re.fullmatch("[0-9a-f]{12}", word):
        # Copied from the console: the marker is of one task's work alone.
        return in_value(session, "marker") == word
    name = in_value(session, "name")
    return or_(in_value(session, "id") == text, name.icontains(text, autoescape=True))


def _stored(session: Session, query: Select[Any]) -> list[_Stored]:
    return [
        _Stored(dict(zip(TI_COLUMNS, one[:-2], strict=True)), one[-2], one[-1])
        for one in session.execute(query)
    ]


def _rows(session: Session, stored: Sequence[_Stored]) -> list[WorkRow]:
    now, seen = time.time(), _states_now(session, stored)
    rows = []
    for one in stored:
        row = read_row(one.ti, one.value, seen.get(one.place), now)
        if one.key == GROUP_KEY:
            row = group_row(row, *_tasks_of_group(session, one))
        rows.append(row)
    return rows


def _states_now(session: Session, stored: Sequence[_Stored]) -> dict[tuple[Any, ...], Any]:
    """The states now of those that may still change."""
    places = [one.place for one in stored if one.ti["state"] in STATE_GROUPS["running"]]
    if not places:
        return {}
    place = [of_ti(name) for name in PLACE]
    query = xcoms(*place, XCOM_VALUE).where(XCOM_KEY == NOW_KEY, tuple_(*place).in_(places))
    return {tuple(one[:4]): one[4] for one in session.execute(query)}


def _tasks_of_group(session: Session, lead: _Stored) -> tuple[Counter[str], datetime | None]:
    """How many tasks of a group are in each state, and when the last one ended.

    :param lead: the group's first task, which has the group's row.
    """
    prefix = str(lead.value.get("name") or "") if isinstance(lead.value, Mapping) else ""
    state = of_ti("state")
    query = select(state, func.count(), func.max(of_ti("end_date"))).where(
        *at({name: lead.ti[name] for name in ("dag_id", "run_id")}), *is_current()
    )
    if prefix and lead.ti["task_id"].startswith(f"{prefix}."):
        query = query.where(of_ti("task_id").startswith(f"{prefix}.", autoescape=True))
    found = session.execute(query.group_by(state)).all()
    ended = max((end for _, _, end in found if end is not None), default=None)
    return Counter({one or "": number for one, number, _ in found}), ended
