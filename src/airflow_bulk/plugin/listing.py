"""The list of all bulk work, newest first, out of Airflow's own tables; each query is bounded.

A task that does bulk work has one XCom value under a key that names its platform, and Airflow has an index on XCom keys
(``idx_xcom_key``). So the list begins there, and not at the task instances, which are many more.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import and_, func, or_, select, tuple_

from airflow_bulk.plugin.rows import STATE_GROUPS, WorkRow, group_row, read_row
from airflow_bulk.progress import GROUP_KEY, NOW_KEY, ROW_KEYS

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

#: Rows of one page.
PAGE_SIZE = 50
#: The last page that can be asked for: what is older is found by its day.
LAST_PAGE = 200
_PLATFORM_OF = {**{key: platform for platform, key in ROW_KEYS.items()}, GROUP_KEY: "extract_load"}
_TI = tuple(
    getattr(TaskInstance, name)
    for name in ("dag_id", "run_id", "task_id", "map_index", "state", "try_number", "start_date", "end_date")
)
_SAME_TASK = and_(
    TaskInstance.dag_id == XComModel.dag_id,
    TaskInstance.run_id == XComModel.run_id,
    TaskInstance.task_id == XComModel.task_id,
    TaskInstance.map_index == XComModel.map_index,
)


@dataclasses.dataclass(frozen=True)
class Filters:
    """What a person asked the list for; an empty text asks for all.

    :param state: a key of :data:`airflow_bulk.plugin.rows.STATE_GROUPS`.
    :param day: the day, in UTC, on which the task began.
    """

    dag_id: str = ""
    run_id: str = ""
    platform: str = ""
    state: str = ""
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
        return tuple(self.ti[name] for name in ("dag_id", "run_id", "task_id", "map_index"))


def list_rows(session: Session, filters: Filters, readable: Collection[str]) -> Listing:
    """Read one page.

    :param readable: the DAGs that the reader may see; nothing of another one is read.
    """
    having = select(XComModel.dag_id).where(XComModel.key.in_(_PLATFORM_OF)).distinct()
    dag_ids = sorted(set(session.scalars(having)) & set(readable))
    wanted = [one for one in dag_ids if filters.dag_id in ("", one)]
    if not wanted:
        return Listing([], False, dag_ids)
    query = _filtered(filters, wanted).order_by(
        TaskInstance.start_date.desc(), XComModel.task_id, XComModel.map_index
    )
    stored = _stored(session, query.offset((filters.page - 1) * PAGE_SIZE).limit(PAGE_SIZE + 1))
    return Listing(_rows(session, stored[:PAGE_SIZE]), len(stored) > PAGE_SIZE, dag_ids)


def find_row(session: Session, ti: Mapping[str, Any]) -> WorkRow | None:
    """The row of one task instance; None where it has none.

    :param ti: its ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    """
    same = [getattr(XComModel, name) == value for name, value in ti.items()]
    return next(iter(_rows(session, _stored(session, _all().where(*same).limit(1)))), None)


def last_rows(session: Session, dag_id: str, task_id: str, limit: int) -> list[WorkRow]:
    """The last runs of one task, the oldest first."""
    query = _all().where(XComModel.dag_id == dag_id, XComModel.task_id == task_id)
    query = query.order_by(TaskInstance.start_date.desc(), TaskInstance.map_index.desc()).limit(limit)
    return _rows(session, _stored(session, query))[::-1]


def _all() -> Select[Any]:
    return (
        select(*_TI, XComModel.key, XComModel.value)
        .join(XComModel, _SAME_TASK)
        .where(XComModel.key.in_(_PLATFORM_OF))
    )


def _filtered(filters: Filters, dag_ids: Sequence[str]) -> Select[Any]:
    query = _all().where(XComModel.dag_id.in_(dag_ids))
    if filters.platform:
        keys = [key for key, platform in _PLATFORM_OF.items() if platform == filters.platform]
        query = query.where(XComModel.key.in_(keys))
    if filters.run_id:
        query = query.where(XComModel.run_id == filters.run_id)
    if filters.day is not None:
        begin = datetime.combine(filters.day, datetime.min.time(), UTC)
        query = query.where(
            TaskInstance.start_date >= begin, TaskInstance.start_date < begin + timedelta(days=1)
        )
    if states := STATE_GROUPS.get(filters.state):
        # A group is many tasks; its DAG run has their state.
        query = query.join(DagRun, and_(DagRun.dag_id == XComModel.dag_id, DagRun.run_id == XComModel.run_id))
        of_group = DagRun.state.in_(states)
        query = query.where(
            or_(
                and_(XComModel.key != GROUP_KEY, TaskInstance.state.in_(states)),
                and_(XComModel.key == GROUP_KEY, of_group),
            )
        )
    return query


def _stored(session: Session, query: Select[Any]) -> list[_Stored]:
    names = [column.key for column in _TI]
    return [
        _Stored(dict(zip(names, one[:-2], strict=True)), one[-2], one[-1]) for one in session.execute(query)
    ]


def _rows(session: Session, stored: Sequence[_Stored]) -> list[WorkRow]:
    now, seen = time.time(), _states_now(session, stored)
    rows = []
    for one in stored:
        row = read_row(one.ti, _PLATFORM_OF[one.key], one.value, seen.get(one.place), now)
        if one.key == GROUP_KEY:
            row = group_row(row, *_tasks_of_group(session, one))
        rows.append(row)
    return rows


def _states_now(session: Session, stored: Sequence[_Stored]) -> dict[tuple[Any, ...], Any]:
    """The states now of those that may still change."""
    places = [one.place for one in stored if one.ti["state"] in STATE_GROUPS["running"]]
    if not places:
        return {}
    place = (XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index)
    query = select(*place, XComModel.value).where(XComModel.key == NOW_KEY, tuple_(*place).in_(places))
    return {tuple(one[:4]): one[4] for one in session.execute(query)}


def _tasks_of_group(session: Session, lead: _Stored) -> tuple[Counter[str], datetime | None]:
    """How many tasks of a group are in each state, and when the last one ended.

    :param lead: the group's first task, which has the group's row.
    """
    prefix = str(lead.value.get("name") or "") if isinstance(lead.value, Mapping) else ""
    query = select(TaskInstance.state, func.count(), func.max(TaskInstance.end_date)).where(
        TaskInstance.dag_id == lead.ti["dag_id"], TaskInstance.run_id == lead.ti["run_id"]
    )
    if prefix and lead.ti["task_id"].startswith(f"{prefix}."):
        query = query.where(TaskInstance.task_id.startswith(f"{prefix}.", autoescape=True))
    found = session.execute(query.group_by(TaskInstance.state)).all()
    ended = max((end for _, _, end in found if end is not None), default=None)
    return Counter({state or "": number for state, number, _ in found}), ended
