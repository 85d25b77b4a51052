"""How far an extract has come, by the time of change of what it has seen; kept in Airflow's asset state store.

It moves only after every apply that needs the extract succeeded, never backwards, and not by backfills. It is the
largest time SEEN, not the time of the run, so a record changed while a run runs is in the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

#: Changes may become visible at the source a little after the time they carry.
DEFAULT_OVERLAP = timedelta(minutes=5)
_SHOWN = 10


def read_watermark(context: Context, asset: Asset, node: str, overlap: timedelta) -> datetime | None:
    """Return from which time of change on to read; ``None`` (everything) before the first success."""
    from airflow_bulk.batches.times import read_time

    kept = read_time(context["asset_state_store"][asset].get(node))
    return None if kept is None else kept - overlap


class WatermarkOperator(BaseOperator):
    """Move the watermarks of a group's extracts; the last task of the group.

    It runs whatever happened before it, moves what may move, and fails if an apply did not succeed, so that a run
    with a failed apply is a failed run.

    :param asset: the asset whose state holds the watermarks, one key an extract node.
    :param extracts: task id of an extract -> task ids of the applies that need it.
    """

    def __init__(self, *, asset: Asset, extracts: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "all_done")
        super().__init__(inlets=[asset], **kwargs)
        self.asset = asset
        self.extracts = extracts

    def execute(self, context: Context) -> dict[str, str]:
        """Move each watermark whose applies all succeeded; return those that moved."""
        if context["dag_run"].run_type == "backfill":
            self.log.info("A backfill moves no watermark.")
            return {}
        results = _Results(context)
        unfinished = sorted(
            {task for tasks in self.extracts.values() for task in tasks if not results.of(task)}
        )
        unread = sorted(task for task in self.extracts if not results.of(task))
        moved: dict[str, str] = {}
        for extract, applies in self.extracts.items():
            reference = results.of(extract)
            if reference and all(results.of(task) for task in applies):
                moved |= self._move(context, reference)
        if left := [*unread, *unfinished]:
            shown = ", ".join(left[:_SHOWN]) + (
                f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            )
            raise AirflowFailException(
                f"{len(moved)} watermarks moved; those of extracts that did not succeed, or that a failed apply needs,"
                f" stay where they are, so that the next run reads the same changes again. Without success: {shown}"
            )
        return moved

    def _move(self, context: Context, reference: Mapping[str, Any]) -> dict[str, str]:
        from airflow_bulk.batches.times import read_time, to_text

        seen = read_time(reference["latest_change"])
        if seen is None:
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


class _Results:
    """What the group's tasks returned in this run, each asked for once."""

    def __init__(self, context: Context) -> None:
        self._ti = context["ti"]
        self._found: dict[str, Any] = {}

    def of(self, task_id: str) -> Any:
        if task_id not in self._found:
            self._found[task_id] = self._ti.xcom_pull(task_ids=task_id)
        return self._found[task_id]
