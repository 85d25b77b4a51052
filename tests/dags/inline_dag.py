"""Run a DAG that no DAG folder holds, in the test's own process.

``DAG.test()`` needs a serialized DAG in the database. The calls that put it there are internals of Airflow 3.3;
they stand in this file and in no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

BUNDLE = "inline"


def run_dag(dag: DAG, **options: Any) -> DagRun:
    """Serialize ``dag`` and run all its tasks; triggers of deferred tasks run in this process, too.

    :param options: arguments of ``DAG.test``: ``logical_date``, ``run_after``, ``run_conf``, ...
    :return: the DagRun, over; ``run.get_task_instance(task_id)`` and ``state_of`` tell about its tasks.
    """
    register(dag)
    return dag.test(**options)


def run_again(dag: DAG, run: DagRun) -> DagRun:
    """Clear all tasks of a run that is over and run them again: the same run, so XCom and task state are kept."""
    from airflow.models.dagrun import DagRun
    from airflow.sdk.definitions.dag import _run_task
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState

    scheduler_dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    scheduler_dag.clear(run_id=run.run_id, dag_run_state=DagRunState.RUNNING)
    with create_session() as session:
        cleared = session.get_one(DagRun, run.id)
        cleared.dag = scheduler_dag
        while cleared.state == DagRunState.RUNNING:
            session.expire_all()
            for ti in cleared.update_state(session=session)[0]:
                ti.try_number += 1
                ti.state = TaskInstanceState.SCHEDULED
            session.commit()
            for ti in cleared.get_task_instances(state=[TaskInstanceState.SCHEDULED], session=session):
                _run_task(ti=ti, task=dag.task_dict[ti.task_id])
    return cleared


def begin_another_run(dag_id: str, state: str = "running") -> None:
    """Add a run to those of a DAG that has one, active or already over; its tasks never run."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunType

    with create_session() as session:
        session.add(DagRun(dag_id, "another", run_type=DagRunType.MANUAL, state=DagRunState(state)))


def register(dag: DAG) -> None:
    """Write ``dag`` into the database as if a DAG processor had parsed it."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    serialized = LazyDeserializedDAG.from_dag(dag)
    with create_session() as session:
        if session.get(DagBundleModel, BUNDLE) is None:
            session.add(DagBundleModel(name=BUNDLE))
            session.flush()
        SerializedDAG.bulk_write_to_db(BUNDLE, None, [serialized], session=session)
        SerializedDagModel.write_dag(serialized, bundle_name=BUNDLE, session=session)


def states(run: DagRun) -> dict[tuple[str, int], str | None]:
    """The end state of each task of a run, by task id and map index (-1: not mapped)."""
    from airflow.utils.session import create_session

    with create_session() as session:
        return {
            (ti.task_id, ti.map_index): ti.state and str(ti.state)
            for ti in run.get_task_instances(session=session)
        }


def pulled(run: DagRun, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
    """What a task of a run pushed to XCom; None when it pushed nothing."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        row = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == run.dag_id,
                XComModel.run_id == run.run_id,
                XComModel.task_id == task_id,
                XComModel.key == key,
                XComModel.map_index == map_index,
            )
        ).one_or_none()
        return None if row is None else XComModel.deserialize_value(row)


def asset_events(run: DagRun) -> list[dict[str, Any]]:
    """The extras of a run's asset events, oldest first, each with the name of the ``asset`` and the map ``index``."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(
            select(AssetEvent)
            .where(AssetEvent.source_dag_id == run.dag_id, AssetEvent.source_run_id == run.run_id)
            .order_by(AssetEvent.id)
        )
        return [{"asset": one.name, "index": one.source_map_index, **one.extra} for one in found]


def run_one_try(dag: DAG) -> DagRun:
    """Run each task of ``dag`` that needs no other one, once: what Airflow made of the try stands in its rows."""
    from airflow.sdk import timezone
    from airflow.sdk.definitions.dag import _run_task
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    register(dag)
    now = timezone.utcnow()
    with create_session() as session:
        run: DagRun = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)).create_dagrun(
            run_id="one_try",
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            start_date=now,
            session=session,
        )
        for ti in run.update_state(session=session)[0]:
            ti.try_number += 1
            ti.state = TaskInstanceState.SCHEDULED
        session.commit()
        for ti in run.get_task_instances(state=[TaskInstanceState.SCHEDULED], session=session):
            _run_task(ti=ti, task=dag.task_dict[ti.task_id])
    return run
