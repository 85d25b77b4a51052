"""What the page shows of an upload, beside its record: the row, what the check has found, how each execution ended.

All of it is for people. It holds names of files, numbers of lines and kinds of errors, and never the content of a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk.runs.recorded_parts import PAGE, PartState, RecordedPart

if TYPE_CHECKING:
    from airflow_bulk.documents.source_check import CheckTotals
    from airflow_bulk.platforms.status import RemoteSnapshot
    from airflow_bulk.runs.record import Record
    from airflow_bulk.runs.upload.planning import SourcePlan

#: Kinds of reasons and hints that are kept, the most frequent first.
KINDS_KEPT = 20
LONGEST_KIND = 300
#: The record's keys: what the check has found, and the executions in pages as the record's parts are.
FOUND, EXECUTIONS = "found", "executions.{}"


def keep_findings(record: Record, totals: CheckTotals) -> None:
    """Keep what the check has found: a later try does not check again, and its XCom begins empty."""
    reasons, hints = (
        {kind[:LONGEST_KIND]: count for kind, count in kinds.most_common(KINDS_KEPT)}
        for kinds in (totals.reasons, totals.hints)
    )
    first = [[one.uri, one.line, [reason[:LONGEST_KIND] for reason in one.reasons]] for one in totals.first]
    record.write(FOUND, {"first": first, "reasons": reasons, "hints": hints}, copied=False)


def keep_executions(record: Record, seen: Sequence[RemoteSnapshot]) -> None:
    """Keep how each execution ended: id, status, accepted and failed lines, creation, kind of error."""
    rows = [
        [one.id, one.status[:40], one.accepted, one.failed, one.created, one.message[:LONGEST_KIND]]
        for one in seen
    ]
    for first in range(0, len(rows), PAGE):
        record.write(EXECUTIONS.format(first // PAGE), rows[first : first + PAGE], copied=False)


def sending_state(entries: Sequence[RecordedPart], state: dict[str, Any]) -> dict[str, Any]:
    """The state now of a task that checks or sends, over all its tries.

    :param entries: all recorded parts.
    """
    sent = [one.part.body for one in entries if one.state is PartState.SENT]
    return {**state, "parts_sent": len(sent), "bytes_sent": sum(sent)}


def plan_in_row(plan: SourcePlan | None) -> dict[str, Any]:
    """What the row shows of a plan; nothing before there is one."""
    if plan is None:
        return {}
    return {
        "files": plan.file_count,
        "parts": plan.parts,
        "bytes": plan.body,
        "lines_read": plan.lines_read,
        "lines_rejected": plan.rejected,
        "rejects_uri": plan.rejects_uri or None,
    }
