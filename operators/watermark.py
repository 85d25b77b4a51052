"""How far an extract has come, by the time of change of what it has seen; kept in Airflow's asset state store.

It moves only after every apply that needs the extract succeeded, never backwards, and not by backfills. It is the
largest time SEEN, not the time of the run, so a record changed while a run runs is in the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

_SHOWN = 10


class WatermarkOperator(BaseOperator):
    """Move the watermarks of a group's extracts; the last task of the group.

    It runs whatever happened before it and moves what may move. It fails if a task failed, so that a run with a
    failed apply is a failed run, and is skipped if all were. What was skipped was not applied: it moves nothing.

    Task ids are text, which makes no edges: set this task downstream of all that it names.

    :param asset: the asset whose state holds the watermarks, one key an extract node.
    :param extracts: task id of an extract -> task ids of the applies that need it.
    """

    def __init__(self, *, asset: Asset, extracts: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "all_done")
        # What is read here is set here: two at once could move a watermark backwards.
        kwargs.setdefault("max_active_tis_per_dag", 1)
        super().__init__(inlets=[asset], **kwargs)
        self.asset = asset
        self.extracts = extracts

    def execute(self, context: Context) -> dict[str, str]:
        """Move each watermark whose applies all succeeded; return those that moved."""
        states = self._states(context)
        done = {task for task, state in states.items() if state == TaskInstanceState.SUCCESS}
        moved: dict[str, str] = {}
        if context["dag_run"].run_type == "backfill":
            self.log.info("A backfill moves no watermark.")
        else:
            for extract, applies in self.extracts.items():
                if done.issuperset({extract, *applies}):
                    moved |= self._move(context, context["ti"].xcom_pull(task_ids=extract))
        skipped = {task for task, state in states.items() if state == TaskInstanceState.SKIPPED}
        if failed := sorted(states.keys() - done - skipped):
            raise AirflowFailException(_unfinished(len(moved), failed))
        if skipped and not done:
            raise AirflowSkipException("The group was skipped: no watermark moves.")
        return moved

    def _states(self, context: Context) -> dict[str, Any]:
        """Return the state in this run of each task that counts.

        A result in XCom proves nothing: it is deleted when a task starts again, so a cleared task that ends
        upstream_failed keeps that of before. All states of the run are asked for, since the ids of a large batch
        would not fit into one request's URL.
        """
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
        named = {task for extract, applies in self.extracts.items() for task in (extract, *applies)}
        return {task: states.get(task) for task in named | self.upstream_task_ids}

    def _move(self, context: Context, reference: Mapping[str, Any] | None) -> dict[str, str]:
        from airflow_bulk.extract_load.times import read_time, to_text

        # A task that a person marked as successful returned nothing.
        seen = read_time(reference and reference["latest_change"])
        if reference is None or seen is None:
            return {}
        # A source whose clock runs ahead must not make the next run skip changes.
        new = min(seen, read_time(reference["started_at"]) or seen)
        store = context["asset_state_store"][self.asset]
        old = read_time(store.get(reference["node"]))
        if old is not None and new <= old:
            return {}
        store.set(reference["node"], to_text(new))
        self.log.info("Watermark of %s: %s", reference["node"], to_text(new))
        return {reference["node"]: to_text(new)}


def _unfinished(moved: int, failed: Sequence[str]) -> str:
    shown = ", ".join(failed[:_SHOWN])
    if len(failed) > _SHOWN:
        shown += f" and {len(failed) - _SHOWN} more"
    return (
        f"{moved} watermarks moved; those of extracts that failed, or that a failed apply needs, stay where they are, so"
        f" that the next run reads the same changes again. Failed: {shown}. A retry would find the same: clear these"
        " with what is downstream of them, or let the next run do it."
    )
