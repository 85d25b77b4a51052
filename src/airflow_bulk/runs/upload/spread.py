"""One source that several tasks bring to the platform: planned once, checked and sent in groups, judged once.

Each group is an import of its own (ARCHITECTURE.md section 5.11). What the tasks hand on are small values: where the
stretches of a group are, and what was counted there; never a line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.documents.source.spreading import FileStretch, gap_between, spread_files
from airflow_bulk.documents.source_check import CheckTotals, FirstReject
from airflow_bulk.judging import Tolerance, how_many, name_ids
from airflow_bulk.runs import failures
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.planning import SourcePlan

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.runs.record import Record

log = logging.getLogger(__name__)

#: Rejected lines of all groups that the judgement names.
NAMED = 10
#: What is added up over the groups.
SUMS = ("lines_read", "lines_rejected", "lines_accepted", "lines_failed", "lines_unprocessed", "blank_lines")
ADDED = (*SUMS, "parts", "bytes")
#: What each import says of itself.
OF_EACH = ("import_id", "console_url", *ADDED, "rejects_uri", "results_uri", "verified")
#: Lists of all groups, one after the other.
JOINED = ("execution_ids", "error_file_uris")


class SpreadGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several tasks sends of a source.

    :param number: of the group, from 1.
    :param of: how many groups there are.
    :param stretches: what it sends, in order.
    :param lines_read: lines that its check has read; 0 before.
    :param fingerprint: of the lines that its check has found good, by which the send is bound to them; empty before.
    """

    number: int
    of: int
    stretches: list[FileStretch]
    lines_read: int = 0
    fingerprint: str = ""


class SpreadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """By what all groups are judged together.

    :param max_deletions: None for what does not delete.
    """

    tolerance: Tolerance
    max_deletions: int | None = None
    on_empty: str = "fail"
    rejects_path: str | None = None
    rejects_content: str = "position"


Handed = list[dict[str, Any]]


def read_groups(handed: object) -> list[SpreadGroup] | None:
    """Read what an earlier task has handed on; None where it was skipped."""
    return None if handed is None else msgspec.convert(handed, list[SpreadGroup])


def plan_groups(args: UploadArguments, count: int, record: Record) -> Handed:
    """Find the source, and spread it over groups.

    A source that is what it was at an earlier try is spread as then: tasks may have sent some of it.

    :param count: how many groups, as the DAG file says now.
    :raises SourceError: the source cannot be used, or not be spread.
    """
    files = planning.find_source(args, may_be_empty=True)
    if not files:
        return []
    fingerprint = planning.fingerprint(files).fingerprint
    before = record.read("spread") or {}
    if before.get("fingerprint") == fingerprint and before["count"] != count:
        log.warning(
            "This source was spread over %s by an earlier try, and still is.",
            how_many(before["count"], "group"),
        )
        count = int(before["count"])
    groups = spread_files(files, planning.line_rules(args), count)
    record.write("spread", {"fingerprint": fingerprint, "count": count})
    if not groups:
        planning.nothing_to_send(args, "The source holds no line.")
    log.info(
        "Spread %s over %s (%d were asked for).",
        how_many(len(files), "file"),
        how_many(len(groups), "group"),
        count,
    )
    found = [SpreadGroup(number=n, of=len(groups), stretches=one) for n, one in enumerate(groups, 1)]
    return _hand_on(found)


def _hand_on(groups: Sequence[SpreadGroup]) -> Handed:
    plain: Handed = msgspec.to_builtins(groups)
    return plain


def found_in_stretches(line_behind: int, totals: CheckTotals) -> dict[str, Any]:
    """What the check of a group tells beside its counts, so that lines can be numbered over all groups.

    :param line_behind: number of the line behind its last one, in that file; counted from the group's own first line
        where the group is one stretch that begins in the middle of a file.
    """
    first = [[one.uri, one.line, list(one.reasons)] for one in totals.first]
    return {"line_behind": line_behind, "first_rejected": first}


# Before anything is sent.


def judge_check(groups: Sequence[SpreadGroup], results: Sequence[Any], limits: SpreadLimits) -> Handed:
    """Judge what the checks of all groups have found, and number the lines.

    :param results: of the checks, in any order.
    :returns: the groups, with what the send of each has to know.
    :raises AirflowFailException: more bad lines than ``max_failures``, or a check has no result.
    """
    found = _one_of_each(groups, results, "check")
    numbered = _number_lines(groups, [int(one["line_behind"]) for one in found])
    plan = _plan_of_all(numbered, found)
    totals = CheckTotals()
    totals.first = [
        reject for group, one in zip(numbered, found, strict=True) for reject in _first_rejects(group, one)
    ][:NAMED]
    if groups and not plan.lines_read:
        planning.nothing_to_send(limits, "The source holds no line.")
    planning.judge_checked(limits, plan, totals)
    planning.refuse_deletions(plan, limits.max_deletions)
    return _hand_on(
        [
            msgspec.structs.replace(group, lines_read=one["lines_read"], fingerprint=one["fingerprint"])
            for group, one in zip(numbered, found, strict=True)
        ]
    )


def _number_lines(groups: Sequence[SpreadGroup], behind: Sequence[int]) -> list[SpreadGroup]:
    """Say of each stretch that begins in the middle of a file in which line that is: the groups before it tell."""
    numbered, line = [], 1
    for group, line_behind in zip(groups, behind, strict=True):
        first, *others = group.stretches
        counted_from = 1
        if first.begin:
            first = msgspec.structs.replace(first, first_line=line)
            counted_from = 1 if others else line
        numbered.append(msgspec.structs.replace(group, stretches=[first, *others]))
        line = counted_from + line_behind - 1
    return numbered


def _first_rejects(group: SpreadGroup, result: Mapping[str, Any]) -> list[FirstReject]:
    """The first rejected lines of a group; those of its first stretch were counted from its beginning."""
    first = group.stretches[0]
    unnumbered = f"{first.uri} from byte {first.begin} on"
    return [
        FirstReject(first.uri, line + first.first_line - 1, tuple(reasons))
        if uri == unnumbered
        else FirstReject(uri, line, tuple(reasons))
        for uri, line, reasons in result["first_rejected"]
    ]


def _plan_of_all(groups: Sequence[SpreadGroup], results: Sequence[Mapping[str, Any]]) -> SourcePlan:
    uris = [one["rejects_uri"] for one in results if one["rejects_uri"]]
    return SourcePlan(
        fingerprint="",
        files=[],
        file_count=len({one.uri for group in groups for one in group.stretches}),
        parts=sum(one["parts"] for one in results),
        lines_read=sum(one["lines_read"] for one in results),
        rejected=sum(one["lines_rejected"] for one in results),
        blank=sum(one["blank_lines"] for one in results),
        body=sum(one["bytes"] for one in results),
        rejects_uri=name_ids(uris),
    )


def _one_of_each(groups: Sequence[SpreadGroup], results: Sequence[Any], step: str) -> list[Mapping[str, Any]]:
    """The result of each group, in the order of the groups.

    :param step: the task that has returned them.
    :raises AirflowFailException: the groups are not the whole source, or not each of them has one result.
    """
    numbers = [group.number for group in groups]
    gap = gap_between([group.stretches for group in groups])
    if gap or numbers != list(range(1, len(groups) + 1)):
        raise AirflowFailException(
            f"The groups are not the whole source, each stretch of it once{f' (look at {gap})' if gap else ''}. Clear the "
            "whole group of tasks; a retry cannot help."
        )
    there = [one for one in results if isinstance(one, Mapping)]
    found = {int(one["group"]): one for one in there}
    missing = [group for group in groups if group.number not in found]
    if missing or len(there) != len(groups):
        lines = how_many(sum(group.lines_read for group in missing), "line")
        raise AirflowFailException(
            f"Each of {how_many(len(groups), 'group')} needs one result of {step}, and there are {len(there)}. Without one: "
            f"{name_ids([str(group.number) for group in missing]) or 'none'}{f' ({lines})' if step == 'send' else ''}. Clear "
            f"the instances of {step} that have returned none (they go on where they were), then this task."
        )
    return [found[number] for number in numbers]


# When all is sent.


def judge_imports(
    groups: Sequence[SpreadGroup], results: Sequence[Any], tolerance: Tolerance
) -> dict[str, Any]:
    """Add up the imports of all groups, and judge them once.

    :param results: of the imports, in any order.
    :returns: one result, like that of one import, and ``imports``, those of the groups.
    :raises AirflowFailException: a result is missing, a sum does not close, or more lines are bad than ``max_failures``.
    """
    found = _one_of_each(groups, results, "send")
    total = _add_up(found)
    reason = _open_sums(groups, found, total) or failures.say_too_many(
        f"The {how_many(len(found), 'import')}",
        total["lines_rejected"] + total["lines_failed"],
        total["lines_read"],
        tolerance,
        parts=f"{total['lines_rejected']} rejected before sending, {total['lines_failed']} failed on the platform",
        more="The accepted lines stay imported."
        + (f" All bad lines: {name_ids(total['results_uris'])}." if total["results_uris"] else ""),
    )
    if reason:
        raise AirflowFailException(reason)
    log.info(
        "%s over. %s = %d rejected + %d accepted + %d failed.",
        how_many(len(found), "import"),
        how_many(total["lines_read"], "line read", "lines read"),
        *(total[name] for name in ("lines_rejected", "lines_accepted", "lines_failed")),
    )
    return total


def _add_up(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **{name: sum(one[name] for one in results) for name in ADDED},
        **{name: [value for one in results for value in one.get(name, ())] for name in JOINED},
        # They are sent at the same time: the longest one says how long it took.
        "seconds": max((one["seconds"] for one in results), default=0.0),
        "possible_issue_on_identifiers": any(one["possible_issue_on_identifiers"] for one in results),
        "rejects_uris": [one["rejects_uri"] for one in results if one["rejects_uri"]],
        "results_uris": [one["results_uri"] for one in results if one["results_uri"]],
        "import_ids": [one["import_id"] for one in results if one["import_id"]],
        "imports": [{"group": one["group"]} | {name: one[name] for name in OF_EACH} for one in results],
    }


def _open_sums(
    groups: Sequence[SpreadGroup], results: Sequence[Mapping[str, Any]], total: Mapping[str, Any]
) -> str:
    """Say where the sum of a group or of all does not close; empty where all close."""
    for group, one in zip(groups, results, strict=True):
        if one["lines_read"] != group.lines_read:
            return (
                f"The sum does not close: the check of group {group.number} has read {how_many(group.lines_read, 'line')}, its "
                f"import {one['import_id']} {one['lines_read']}. A retry cannot help."
            )
    left = total["lines_read"] - sum(
        total[name] for name in ("lines_rejected", "lines_accepted", "lines_failed")
    )
    return (
        f"The sum over {how_many(len(results), 'import')} does not close: {how_many(abs(left), 'line')} "
        f"{'missing' if left > 0 else 'too many'}. A retry cannot help."
        if left
        else ""
    )
