"""How Airflow's tables hold what the page reads. Airflow 3.3 and 3.4 differ, and only this file knows.

Where the list begins, so that it is a bounded query over an index that Airflow has:

* 3.3: XCom has an index on its keys (``idx_xcom_key``), and a task that does bulk work has one value under a key of ours.
* 3.4: XCom belongs to a try and has no index on keys (airflow.md section 11.3). But each of our tasks has the asset of the
  records as an inlet, and task instances have an index on DAG and task (``ti_state_lkp``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from airflow.models import xcom
from airflow.models.asset import AssetModel, TaskInletAssetReference
from airflow.models.asset_state_store import AssetStateStoreModel
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import Text, and_, case, cast, delete, func, select

from airflow_bulk.runs.record_copy import ASSET_NAME

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

#: What the page reads of a task instance, by name.
TI_COLUMNS = ("dag_id", "run_id", "task_id", "map_index", "state", "try_number", "start_date", "end_date")
PLACE = TI_COLUMNS[:4]
#: Whether every try is a task instance of its own, as from 3.4 on; XCom is a try's own then.
TRIES_ARE_ROWS = hasattr(TaskInstance, "working_set")
_Xcom: Any = xcom.XComModelV2 if TRIES_ARE_ROWS else xcom.XComModel
XCOM_KEY, XCOM_VALUE = _Xcom.key, _Xcom.value


def of_ti(name: str) -> Any:
    """A column of the task instance."""
    return getattr(TaskInstance, name)


def is_current() -> list[Any]:
    """That a task instance is the present try of its task."""
    return [TaskInstance.working_set.is_(True)] if TRIES_ARE_ROWS else []


def at(place: Mapping[str, Any]) -> list[Any]:
    """That a task instance is the one at a place, or one of a DAG run.

    :param place: some of :data:`PLACE`.
    """
    return [of_ti(name) == value for name, value in place.items()]


def xcoms(*columns: Any) -> Select[Any]:
    """Columns of task instances and of their XCom values, of present tries."""
    joined = (
        TaskInstance.id == _Xcom.task_instance_id
        if TRIES_ARE_ROWS
        else and_(*(of_ti(name) == getattr(_Xcom, name) for name in PLACE))
    )
    return select(*columns).select_from(TaskInstance).join(_Xcom, joined).where(*is_current())


def in_value(session: Session, name: str) -> ColumnElement[str]:
    """A text within an XCom value; null where there is none."""
    found: ColumnElement[str] = XCOM_VALUE[name].as_string()
    if session.get_bind().dialect.name != "sqlite":
        return found
    # SQLite stores what is no JSON, such as an infinite number, and fails where it reads it.
    return case((func.json_valid(cast(XCOM_VALUE, Text)) == 1, found))


def rows_of_work(keys: Collection[str]) -> Select[Any]:
    """Task instances that do bulk work, each with the key and the value of its row."""
    query = xcoms(*map(of_ti, TI_COLUMNS), XCOM_KEY, XCOM_VALUE).where(XCOM_KEY.in_(keys))
    if not TRIES_ARE_ROWS:
        return query
    inlet = and_(
        TaskInletAssetReference.dag_id == TaskInstance.dag_id,
        TaskInletAssetReference.task_id == TaskInstance.task_id,
    )
    asset = and_(AssetModel.id == TaskInletAssetReference.asset_id, AssetModel.name == ASSET_NAME)
    return query.join(TaskInletAssetReference, inlet).join(AssetModel, asset)


def dags_with_work(session: Session, keys: Collection[str]) -> set[str]:
    """The DAGs that have bulk work, or may have it."""
    query: Select[Any]
    if TRIES_ARE_ROWS:
        query = select(TaskInletAssetReference.dag_id).join(
            AssetModel, AssetModel.id == TaskInletAssetReference.asset_id
        )
        query = query.where(AssetModel.name == ASSET_NAME)
    else:
        query = select(_Xcom.dag_id).where(XCOM_KEY.in_(keys))
    return set(session.scalars(query.distinct()))


def task_state(place: Mapping[str, Any], keys: Sequence[str]) -> Select[Any]:
    """Keys and values of a task's state; a value is JSON text."""
    store: Any = TaskStateStoreModel
    # In 3.4 a mapped task has a region, whose index is the map index.
    index = store.region_index if TRIES_ARE_ROWS else store.map_index
    same = [getattr(store, name) == place[name] for name in ("dag_id", "run_id", "task_id")]
    return select(store.key, store.value).where(*same, index == place["map_index"], store.key.in_(keys))


def tries(place: Mapping[str, Any]) -> list[Select[Any]]:
    """Number, state, begin and end of every try; the present one comes last."""
    models: list[Any] = [TaskInstance]
    if not TRIES_ARE_ROWS:
        from airflow.models.taskinstancehistory import TaskInstanceHistory

        models.insert(0, TaskInstanceHistory)
    return [
        select(model.try_number, model.state, model.start_date, model.end_date).where(
            *(getattr(model, name) == value for name, value in place.items())
        )
        for model in models
    ]


def reading() -> AbstractContextManager[Session]:
    """A session of Airflow's database for a command of the shell; what it changes is committed at its end."""
    session: AbstractContextManager[Session] = create_session()
    return session


def asset_values(
    session: Session, asset: str, *, beginning: str = "", ending: str = ""
) -> Iterator[tuple[str, Any]]:
    """Keys and values of an asset's state, by key.

    :param asset: its name.
    """
    store: Any = AssetStateStoreModel
    query = (
        select(store.key, store.value)
        .join(AssetModel, AssetModel.id == store.asset_id)
        .where(
            AssetModel.name == asset,
            store.key.startswith(beginning, autoescape=True),
            store.key.endswith(ending, autoescape=True),
        )
        .order_by(store.key)
    )
    return ((key, json.loads(value)) for key, value in session.execute(query))


def delete_asset_value(session: Session, asset: str, key: str) -> None:
    """Delete one value of an asset's state."""
    store: Any = AssetStateStoreModel
    ids = select(AssetModel.id).where(AssetModel.name == asset)
    session.execute(delete(store).where(store.asset_id.in_(ids), store.key == key))
