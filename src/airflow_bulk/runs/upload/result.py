"""What an import's end says: the result with its documented names, whether the sum closes, and how a failure is told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_bulk import judging
from airflow_bulk.judging import Tolerance, how_many, name_ids
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.runs import failures
from airflow_bulk.runs.record import Record
from airflow_bulk.runs.recorded_parts import RecordedPart, RecordedParts

if TYPE_CHECKING:
    from airflow_bulk.runs.upload.planning import SourcePlan

log = logging.getLogger(__name__)

#: What XCom holds under the key ``results`` after every end, good or not: what a resend has to know.
RESULTS_PUSHED = (
    "import_id",
    "former_import_id",
    "lines_read",
    "lines_rejected",
    "lines_accepted",
    "lines_failed",
    "lines_unprocessed",
    "results_uri",
    "totals",
)

#: Each sent part with its execution as last seen.
Pairs = Sequence[tuple[RecordedPart, RemoteSnapshot]]


class WrittenResults(NamedTuple):
    """The results file of an import.

    :param uri: of the file; empty where there is no bad line, or no file is wanted.
    :param unjoined: failed lines that could not be told one by one; None where nobody has looked.
    """

    uri: str = ""
    unjoined: int | None = None


def result_of(
    plan: SourcePlan,
    *,
    import_id: str | None,
    executions: Sequence[str],
    seconds: float,
    console_url: str | None,
    seen: Sequence[RemoteSnapshot] | None,
    results: WrittenResults,
    unprocessed: int,
    verified: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the operator's result, with exactly the documented names.

    :param seen: the executions as last seen; None where nobody waited, so their counts are unknown (None).
    :param results: the results file.
    :param verified: what came of reading back the platform's copies; None where nobody asked for it.
    :param unprocessed: lines of parts that the platform has not worked on, as far as it is known.
    """
    counted = seen is not None
    looked = seen or ()
    return {
        "import_id": import_id,
        "execution_ids": list(executions),
        "lines_read": plan.lines_read,
        "lines_rejected": plan.rejected,
        "lines_accepted": sum(one.accepted or 0 for one in looked) if counted else None,
        "lines_failed": sum(one.failed or 0 for one in looked) if counted else None,
        "lines_unprocessed": unprocessed if counted else None,
        "lines_unjoined": results.unjoined if counted else None,
        "blank_lines": plan.blank,
        "parts": plan.parts,
        "bytes": plan.body,
        "seconds": round(seconds, 3),
        "rejects_uri": plan.rejects_uri or None,
        "results_uri": results.uri or None,
        "error_file_uris": [one.error_file for one in looked if one.error_file],
        "possible_issue_on_identifiers": any(one.doubtful_identifiers for one in looked) if counted else None,
        "console_url": console_url,
        "verified": verified,
    }


def with_executions(result: dict[str, Any], record: Record) -> dict[str, Any]:
    """Return a recorded result with the ids that it was too large to hold: the record's parts have them."""
    if "execution_ids" in result and "error_file_uris" in result:
        return result
    ids = [one.executions[-1] for one in RecordedParts(record).entries if one.executions]
    return {"error_file_uris": [], "execution_ids": ids, **result}


def reason_not_good(thing: str, result: dict[str, Any], tolerance: Tolerance, pairs: Pairs) -> str:
    """Say why a finished import is not good; empty when it is.

    :param thing: the import in words, with its id.
    """
    reason = _open_sum(thing, result, pairs) or _too_many_failures(thing, result, tolerance, pairs)
    return f"{reason} {sum_in_words(result)}" if reason else ""


def _open_sum(thing: str, result: dict[str, Any], pairs: Pairs) -> str:
    """Everything is accounted for: read = rejected + accepted + failed."""
    left = result["lines_read"] - sum(
        result[key] for key in ("lines_rejected", "lines_accepted", "lines_failed")
    )
    odd = [
        f"part {entry.part.index + 1} (execution {one.id}): {how_many(entry.part.lines, 'line')} sent, "
        f"{(one.accepted or 0) + (one.failed or 0)} counted by the platform"
        for entry, one in pairs
        if (one.accepted or 0) + (one.failed or 0) != entry.part.lines
    ]
    if not left and not odd:
        return ""
    kind = "missing" if left > 0 else "too many"
    by = (
        f"{how_many(abs(left), 'line')} {kind}"
        if left
        else "parts are counted wrong, though the totals agree"
    )
    where = f" {'; '.join(odd[: judging.NAMED])}." if odd else ""
    return (
        f"The sum does not close: {by}.{where} Nothing is sent again: a retry ends in the same way, and clearing "
        f"the task asks the platform once more. {thing}:"
    )


def _too_many_failures(thing: str, result: dict[str, Any], tolerance: Tolerance, pairs: Pairs) -> str:
    return failures.say_too_many(
        thing,
        result["lines_rejected"] + result["lines_failed"],
        result["lines_read"],
        tolerance,
        parts=f"{result['lines_rejected']} rejected before sending, {result['lines_failed']} failed on the platform",
        kinds=(one.message for _, one in pairs),
        more="The accepted lines stay imported.",
    )


def sum_in_words(result: dict[str, Any]) -> str:
    """The sum in one sentence."""
    return (
        f"{how_many(result['lines_read'], 'line')} read = {result['lines_rejected']} rejected + "
        f"{result['lines_accepted']} accepted + {result['lines_failed']} failed."
    )


def log_bad_lines(result: dict[str, Any], pairs: Pairs) -> None:
    """Say where the bad lines of a good import are: nobody else would look for them."""
    if result["results_uri"] and result["lines_failed"]:
        log.warning("All bad lines, rejected and failed, are in %s.", result["results_uri"])
    if result["rejects_uri"]:
        log.warning("Rejected lines (%d) are in %s.", result["lines_rejected"], result["rejects_uri"])
    if result["lines_failed"]:
        kinds = failures.say_kinds(one.message for _, one in pairs)
        failed = how_many(result["lines_failed"], "line")
        log.warning("%s failed on the platform, within max_failures.%s", failed, kinds)


def _place(entry: RecordedPart, plan: SourcePlan | None) -> str:
    """A part's place in the source: file and line range, never content."""
    part = entry.part
    name = plan.files[part.file][0] if plan and part.file < len(plan.files) else f"file {part.file + 1}"
    last = part.line + part.lines + part.rejected + part.blank - 1
    return f"{name}, from line {part.line}, {how_many(last - part.line + 1, 'line')}"


def say_failed(failed: Pairs, reason: str, plan: SourcePlan | None) -> str:
    """Say which parts failed as a whole, and what can be done."""
    parts = "; ".join(f"part {one.part.index + 1}: {_place(one, plan)}" for one, _ in failed[: judging.NAMED])
    return (
        f"{reason}. It is not known whether lines of a failed execution were taken, so nothing is sent again: "
        f"{parts}. Check these lines; SendingOptions(resend_failed_parts=True) and a clear send them once more."
    )


def say_given_up(entry: RecordedPart, status: str, plan: SourcePlan | None) -> str:
    """Say that a part came back too often."""
    return (
        f"Part {entry.part.index + 1} ({_place(entry, plan)}) ended {status} {how_many(entry.given_up + 1, 'time')}: executions "
        f"{name_ids(entry.executions)}. It is not sent again; a retry cannot help, and clearing the task tries anew."
    )
