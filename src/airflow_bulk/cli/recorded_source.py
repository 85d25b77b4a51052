"""Whether a source is the one that a record has sent: where nothing is left to send, nothing else would look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airflow_bulk.cli.errors import Ended
from airflow_bulk.documents.source.parts import SourceMissing
from airflow_bulk.runs.recorded_parts import PartState, RecordedParts
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.planning import SourcePlan

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.runs.record import Record


def was_over(record: Record, args: UploadArguments, file: str | None) -> bool:
    """Whether an earlier run has imported the source, so that its result stands.

    :param file: the record's file, for messages.
    :raises Ended: everything was sent, and the source is not the one that was sent.
    """
    end = record.end()
    if end is not None and end.good and end.result["import_id"] is None:
        # There was nothing to send, and no source was recorded: the check tells whether there is something now.
        record.next_generation()
        return False
    plan = _sent_plan(record)
    if plan is None:
        return False
    # Executions that were cancelled are sent again, and the submission looks at the source then.
    if end is not None or args.on_source_change != "restart":
        _must_be_the_same(plan, args, file, may_be_gone=end is None)
    return end is not None and end.good


def _sent_plan(record: Record) -> SourcePlan | None:
    """What was sent; None while something is still to be sent."""
    stored = record.read("plan")
    plan = None if stored is None else msgspec.convert(stored, SourcePlan)
    if plan is None or not plan.complete:
        return None
    unsent = (one for one in RecordedParts(record).entries if one.state is not PartState.SENT)
    return None if any(one.part.lines for one in unsent) else plan


def _must_be_the_same(
    plan: SourcePlan, args: UploadArguments, file: str | None, *, may_be_gone: bool
) -> None:
    try:
        found = planning.fingerprint(planning.find_source(args, may_be_empty=False))
    except SourceMissing:
        if may_be_gone:  # all of it is on the platform, and only the waiting is left
            return
        raise
    if found.fingerprint == plan.fingerprint:
        return
    before = dict(plan.files)
    other = [name for name, mark in found.files if before.get(name) != mark]
    other += [name for name in before if name not in dict(found.files)]
    raise Ended(
        f"--record {file}: the source is not the one that was sent by this record "
        f"({other[0] if other else 'other files'}). Nothing was sent now. To import it as it is now, name a record file "
        "that is not there yet."
    )
