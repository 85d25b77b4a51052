"""The tasks of an expanded batch: extract, snapshot, apply, and watermark at the end. Each can be used alone.

Data goes by reference: a task returns where its records are and how many they are, never the records. Facts:
extract_load.md sections 2, 5 and 6. The code that only a running task needs stands in
:mod:`airflow_bulk.runs.extract_load.reading_steps` and :mod:`airflow_bulk.runs.extract_load.apply_steps`, and loads when a task runs.

Where an operator takes the reference of another task, give that task's ``.output``, which also makes the edge, or its
task id. A task id is text: Airflow makes no edge from it, so set the edge yourself (``extract >> apply``). The id of a
task in a group begins with the id of the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_bulk.extract_load.times import DEFAULT_OVERLAP
from airflow_bulk.extract_load.writing import read_at_once

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_bulk.extract_load.endpoints import Destination, Source
    from airflow_bulk.extract_load.mapping import LoadMapping


#: Failed tasks that a message names before it counts the rest.
_SHOWN = 10


class ExtractOperator(BaseOperator):
    """Read one object from a source into a staging file.

    Returns a reference: ``node``, ``object``, ``grain``, ``uri``, ``records``, the bounds used, ``latest_change``.

    :param source: connection id, or a source object.
    :param object_name: the source's object, in the upper and lower case that the source uses.
    :param staging: folder for the records, reachable from every worker.
    :param grain: the report's grain, if any.
    :param since: lower bound of the time in the data: any form of extract_load.md section 5, a template, or ``window``.
    :param updated_since: lower bound of the time of change: as *since*, or ``watermark``.
    :param watermark: the asset that keeps the watermark; needed for ``updated_since="watermark"``.
    :param overlap: how long before the watermark the extract begins.
    :param window: length of the window where the run's data interval has no length.
    """

    template_fields = ("since", "updated_since", "staging")

    def __init__(
        self,
        *,
        source: str | Source,
        object_name: str,
        staging: str,
        grain: str | None = None,
        since: Any = None,
        updated_since: Any = None,
        watermark: Asset | None = None,
        overlap: timedelta = DEFAULT_OVERLAP,
        window: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        if updated_since == "watermark" and watermark is None:
            raise ValueError('updated_since="watermark" needs watermark=Asset(...), where it is kept')
        if watermark is not None:
            kwargs["inlets"] = [*(kwargs.get("inlets") or ()), watermark]
        super().__init__(**kwargs)
        self.source = source
        self.object_name = object_name
        self.staging = staging
        self.grain = grain
        self.since = since
        self.updated_since = updated_since
        self.watermark = watermark
        self.overlap = overlap
        self.window = window

    def execute(self, context: Context) -> dict[str, Any]:
        """Read all records that the bounds leave; return where they are."""
        from airflow_bulk.runs.extract_load.reading_steps import extract

        return extract(self, context)

    @property
    def node(self) -> str:
        """The logical name, e.g. ``extract:ProfitAndLoss@daily``."""
        return f"extract:{self.object_name}" + (f"@{self.grain}" if self.grain else "")


class SnapshotOperator(BaseOperator):
    """Read what a destination holds of one object now.

    Returns a reference: ``object``, ``uri``, ``records``, and ``ended_runs``: how many runs of the DAG have ended. By
    that number an apply finds out whether another run has ended since the snapshot.

    :param destination: connection id, or a destination object.
    :param object_name: the destination's object.
    :param staging: folder for the records.
    """

    template_fields = ("staging",)

    def __init__(
        self, *, destination: str | Destination, object_name: str, staging: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.object_name = object_name
        self.staging = staging

    def execute(self, context: Context) -> dict[str, Any]:
        """Read all records; return where they are."""
        from airflow_bulk.runs.extract_load.reading_steps import take_snapshot

        return take_snapshot(self, context)


class ApplyOperator(BaseOperator):
    """Make a destination hold what was extracted: create, update, and (when asked) delete.

    Returns the counts of :class:`airflow_bulk.extract_load.applying.Applied`, and where the records are that the
    destination holds afterwards. A later try reads the destination again instead of the snapshot. So it finds what an
    earlier try wrote, and nothing is created twice. The first try reads the destination again, too, where other runs of
    the DAG may have written since the snapshot: ``max_active_runs`` is not 1, the run is a backfill, another run is
    active, or another run has ended since.

    :param destination: connection id, or a destination object.
    :param object_name: the destination's object.
    :param staging: folder for the resulting records.
    :param mapping: how records are made (:class:`airflow_bulk.extract_load.LoadMapping` or a dict).
    :param extracts: references to the records of this object: the ``.output`` of each ExtractOperator, or task ids,
        which make no edges.
    :param snapshot: reference to the records that the destination holds: the ``.output`` of a SnapshotOperator, or a
        task id, which makes no edge; ``None`` reads the destination now.
    :param references: load object -> reference to its records: the ``.output`` of an apply or a snapshot, or a task
        id, which makes no edge.
    :param reference_matches: load object -> the first matching field of its mapping, where that is not ``qbd_id``.
    :param deletions: ``"off"``, a share such as ``"10%"``, a number, or ``"all"``.
    :param unrequired: extracts of this object that are not among *extracts*; where there is one, nothing is deleted.
    :param read_only: write nothing; return the snapshot, or without a snapshot what the destination holds now.
    :param settle: seconds to wait before the destination is read again, since a write of an older try may be under way.
    :param writes_at_once: how many records are written at once, from 1 to 64. Updates come first, then creates, then
        deletions; each begins when all writes before it have ended. When a try is killed, so many writes are in doubt at
        most, and the next try finds each of them. A destination object of your own must be safe for several threads.
    :raises ValueError: *writes_at_once* is no whole number from 1 to 64.
    """

    template_fields = ("staging", "extracts", "snapshot", "references")

    def __init__(
        self,
        *,
        destination: str | Destination,
        object_name: str,
        staging: str,
        mapping: LoadMapping | Mapping[str, Any] | None = None,
        extracts: Sequence[Any] = (),
        snapshot: Any = None,
        references: Mapping[str, Any] | None = None,
        reference_matches: Mapping[str, str] | None = None,
        deletions: Any = "off",
        unrequired: Sequence[str] = (),
        read_only: bool = False,
        settle: float = 3.0,
        writes_at_once: int = 1,
        **kwargs: Any,
    ) -> None:
        # Two applies of one object at once would both create what is missing (extract_load.md section 6.9).
        kwargs.setdefault("max_active_tis_per_dag", 1)
        super().__init__(**kwargs)
        self.destination = destination
        self.object_name = object_name
        self.staging = staging
        self.mapping = mapping
        self.extracts = extracts
        self.snapshot = snapshot
        self.references = dict(references or {})
        self.reference_matches = dict(reference_matches or {})
        self.deletions = deletions
        self.unrequired = unrequired
        self.read_only = read_only
        self.settle = settle
        self.writes_at_once = read_at_once(writes_at_once)
        self.stopped = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan all changes, then write them; return what was done."""
        from airflow_bulk.runs.extract_load.apply_steps import apply

        return apply(self, context)

    def on_kill(self) -> None:
        """Stop before the next write. What was written stays, and the next try finds it."""
        from airflow_bulk.runs.failures import TaskStopped

        self.stopped = True
        raise TaskStopped(f"{self.task_id} was stopped; what it wrote stays, and a retry finds it")


class WatermarkOperator(BaseOperator):
    """Move the watermarks of a group's extracts; the last task of the group.

    The task runs whatever happened before it, and moves the watermarks that may move. It fails if a task failed, so
    that a run with a failed apply is a failed run. It is skipped if all tasks were skipped: what was skipped was not
    applied, so no watermark moves.

    The watermark of an extract is the largest time of change that it has seen, not the time of the run, so a record
    changed while a run runs is in the next one. It is kept in Airflow's asset state store, and moves only after every
    apply that needs the extract succeeded, never backwards, and not by backfills.

    Task ids are text, and text makes no edges: set this task downstream of all tasks that it names.

    :param asset: the asset whose state holds the watermarks, one key an extract node.
    :param extracts: task id of an extract -> task ids of the applies that need it.
    """

    def __init__(self, *, asset: Asset, extracts: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "all_done")
        # The task reads a watermark and then sets it: two tasks at once could move a watermark backwards.
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
    from airflow_bulk.judging import how_many

    shown = ", ".join(failed[:_SHOWN])
    if len(failed) > _SHOWN:
        shown += f" and {len(failed) - _SHOWN} more"
    return (
        f"{how_many(moved, 'watermark')} moved; those of extracts that failed, or that a failed apply needs, stay where they are, so"
        f" that the next run reads the same changes again. Failed: {shown}. A retry would find the same: clear these"
        " with what is downstream of them, or let the next run do it."
    )
