"""What the page shows of an upload, beside its record: the row, what the check has found, how each execution ended.

All of it is for people. It holds names of files, numbers of lines and kinds of errors, and never the content of a line.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk.runs.recorded_parts import PAGE, PartState, RecordedPart

if TYPE_CHECKING:
    from airflow_bulk.documents.source_check import CheckTotals
    from airflow_bulk.platforms.status import RemoteSnapshot
    from airflow_bulk.runs.record import Record
    from airflow_bulk.runs.upload.planning import SourcePlan

log = logging.getLogger(__name__)

#: Kinds of reasons and hints that are kept, the most frequent first; reasons of one line; bytes of one text.
KINDS_KEPT, REASONS_KEPT, LONGEST_TEXT = 20, 3, 300
#: The record's keys: what the check has found, and the executions in pages as the record's parts are.
FOUND, EXECUTIONS = "found", "executions.{}"


def keep_findings(record: Record, totals: CheckTotals) -> None:
    """Keep what the check has found: a later try does not check again, and its XCom begins empty."""
    reasons, hints = (
        {clipped(kind): count for kind, count in kinds.most_common(KINDS_KEPT)}
        for kinds in (totals.reasons, totals.hints)
    )
    first = [
        [clipped(one.uri), one.line, [clipped(reason) for reason in one.reasons[:REASONS_KEPT]]]
        for one in totals.first
    ]
    _keep(record, FOUND, {"first": first, "reasons": reasons, "hints": hints})


def keep_executions(record: Record, seen: Sequence[RemoteSnapshot]) -> None:
    """Keep how each execution ended: id, status, accepted and failed lines, its three times, kind of error."""
    rows = [
        [
            one.id,
            clipped(one.status, 40),
            one.accepted,
            one.failed,
            one.created,
            one.started,
            one.ended,
            clipped(one.message or ""),
        ]
        for one in seen
    ]
    for first in range(0, len(rows), PAGE):
        _keep(record, EXECUTIONS.format(first // PAGE), rows[first : first + PAGE])


def clipped(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text of at most so many bytes: a page of 100 rows stays far below what a value of the record may hold."""
    return text.encode(errors="replace")[:longest].decode(errors="ignore")


def _keep(record: Record, name: str, value: Any) -> None:
    """Write a value that only people read. One that cannot be written is left out, and the work goes on.

    :raises RecordLost: a newer try exists: this one is to end.
    """
    try:
        record.write(name, value, copied=False)
    except (ValueError, TypeError) as error:
        log.warning("The page will lack %r of this task: %s.", name, type(error).__name__)


def sending_state(entries: Sequence[RecordedPart], state: dict[str, Any]) -> dict[str, Any]:
    """The state now of a task that checks or sends, over all its tries.

    :param entries: all recorded parts.
    """
    return {**state, "parts_sent": sum(one.state is PartState.SENT for one in entries)}


#: What a row takes from a recorded result, where no plan was read.
RESULT_IN_ROW = ("parts", "bytes", "lines_read", "lines_rejected", "rejects_uri")


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
