"""The three steps of an expanded batch: extract, snapshot, apply. Each can be used alone.

Data goes by reference: a step returns where its records are and how many, never the records. Facts: extract_load.md
sections 2, 5 and 6. What only a running task needs is in ``extract_load_work`` and loads when a task runs.

Where a step takes the reference of another, it takes that task's ``.output``, which makes the edge, too, or its task id.
An id is text: Airflow sees no edge in it, so set one (``extract >> apply``). An id inside a group is the whole one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_bulk.extract_load.times import DEFAULT_OVERLAP

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_bulk.extract_load.endpoints import Destination, Source
    from airflow_bulk.extract_load.mapping import LoadMapping


class ExtractOperator(BaseOperator):
    """Read one object from a source into a staging file.

    Returns a reference: ``node``, ``object``, ``grain``, ``uri``, ``records``, the bounds used, ``latest_change``.

    :param source: connection id, or a source object.
    :param object_name: the source's object, case as the source has it.
    :param staging: folder for the records, reachable from every worker.
    :param grain: the report's grain, if any.
    :param since: lower bound of the time in the data: any form of extract_load.md section 5, a template, or ``window``.
    :param updated_since: lower bound of the time of change: as *since*, or ``watermark``.
    :param watermark: the asset that keeps the watermark; needed for ``updated_since="watermark"``.
    :param overlap: how far before the watermark to begin.
    :param window: the window's length, where the run's data interval has none.
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
        from airflow_bulk.runs.extract_load.steps import extract

        return extract(self, context)

    @property
    def node(self) -> str:
        """The logical name, e.g. ``extract:ProfitAndLoss@daily``."""
        return f"extract:{self.object_name}" + (f"@{self.grain}" if self.grain else "")


class SnapshotOperator(BaseOperator):
    """Read what a destination holds of one object now.

    Returns a reference: ``object``, ``uri``, ``records``, and ``ended_runs`` of the DAG, by which an apply tells whether
    another run has ended since.

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
        from airflow_bulk.runs.extract_load.steps import take_snapshot

        return take_snapshot(self, context)


class ApplyOperator(BaseOperator):
    """Make a destination hold what was extracted: create, update, and (when asked) delete.

    Returns the counts of :class:`airflow_bulk.extract_load.applying.Applied`, and where the records are that the
    destination holds afterwards. A later try reads the destination again instead of the snapshot, and so finds what an
    earlier one wrote: nothing is created twice. So does the first try where other runs of the DAG may have written
    since the snapshot: ``max_active_runs`` is not 1, it is a backfill, another run is active or has ended since.

    :param destination: connection id, or a destination object.
    :param object_name: the destination's object.
    :param staging: folder for the resulting records.
    :param mapping: how records are made (:class:`airflow_bulk.extract_load.LoadMapping` or a dict).
    :param extracts: references to what feeds this object: the ``.output`` of each ExtractOperator, or task ids, which
        make no edges.
    :param snapshot: reference to what is there: the ``.output`` of a SnapshotOperator, or a task id, which makes no
        edge; ``None``: read it now.
    :param references: load object -> reference to its records: the ``.output`` of an apply or a snapshot, or a task
        id, which makes no edge.
    :param reference_matches: load object -> its mapping's first matching field, where it is not ``qbd_id``.
    :param deletions: ``"off"``, a share such as ``"10%"``, a number, or ``"all"``.
    :param unrequired: extracts that feed this object but are not among *extracts*: their presence refuses deletions.
    :param read_only: write nothing; pass the snapshot on, or without one what the destination holds now.
    :param settle: seconds to wait before the destination is read again, for what an older try still had under way.
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
        self.stopped = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan all changes, then write them one at a time; return what was done."""
        from airflow_bulk.runs.extract_load.steps import apply

        return apply(self, context)

    def on_kill(self) -> None:
        """Stop before the next write; what was written stays, and the next try finds it."""
        from airflow_bulk.runs.failures import TaskStopped

        self.stopped = True
        raise TaskStopped(f"{self.task_id} was stopped; what it wrote stays, and a retry finds it")
