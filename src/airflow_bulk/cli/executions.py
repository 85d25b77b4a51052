"""``airflow bulk executions``: the executions of a document import, to list, to watch and to cancel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_bulk.cli.connecting import opened
from airflow_bulk.cli.errors import Ended
from airflow_bulk.cli.output import NOT_GOOD, WRONG_USE, Output, command
from airflow_bulk.cli.progress import Bars
from airflow_bulk.cli.stopping import Signals, cancel_pending
from airflow_bulk.cli.watching import View, times, watch_until_over
from airflow_bulk.hooks.executions import UploadExecutions, newest_first
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.judging import add_up, name_ids
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.document_import.watch import ImportWatch, read_arguments

if TYPE_CHECKING:
    import argparse

TITLES = {
    "execution": "left",
    "status": "left",
    "lines": "right",
    "accepted": "right",
    "failed": "right",
    "created (UTC)": "left",
    "message": "left",
}
#: What a person looks at first.
_ORDER = (RemoteStatus.GOING, RemoteStatus.PENDING, RemoteStatus.FAILED)


def _row(one: RemoteSnapshot) -> list[object]:
    return [one.id, one.status, one.lines, one.accepted, one.failed, _time(one.created), one.message]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _report(one: RemoteSnapshot) -> dict[str, Any]:
    return {
        "id": one.id,
        "status": one.status,
        "over": one.remote_status.over,
        "lines": one.lines,
        "accepted": one.accepted,
        "failed": one.failed,
        "created": _time(one.created) or None,
        "error_file_uri": one.error_file,
        "message": one.message,
    }


def _executions(args: argparse.Namespace) -> tuple[MediarithmicsHook, UploadExecutions, str]:
    hook = opened(MediarithmicsHook(args.conn_id))
    datamart = hook.datamart(args.datamart_id)
    # An import that does not exist is said so, also where its list would be empty.
    hook.get_document_import(args.import_id, datamart)
    return hook, hook.executions(args.import_id, datamart), datamart


@command
def list_executions(args: argparse.Namespace, output: Output) -> int:
    """List all executions of an import, the newest first."""
    _, executions, _ = _executions(args)
    seen = {one.id: one for one in executions.snapshots()}
    found = [seen[one] for one in newest_first(seen)]
    totals = add_up(found)
    output.document(
        {
            "ok": True,
            "import_id": args.import_id,
            "totals": dict(totals.executions),
            "executions": [_report(one) for one in found],
        }
    )
    if found:
        output.table(TITLES, [_row(one) for one in found])
    output.line(f"Document import {args.import_id}: {totals}.")
    return 0


class _ListingWatch(ImportWatch):
    """A watch that shows what it has seen, what still goes on first."""

    def rows(self) -> list[list[object]]:
        """The rows of a table."""
        ids = {one: number for number, one in enumerate(newest_first([one.id for one in self._counting]))}

        def order(one: RemoteSnapshot) -> tuple[int, int]:
            first = _ORDER.index(one.remote_status) if one.remote_status in _ORDER else len(_ORDER)
            return first, ids[one.id]

        return [_row(one) for one in sorted(self._counting, key=order)]


@command
def watch(args: argparse.Namespace, output: Output) -> int:
    """Look until all executions are over."""
    given = {
        "import_id": args.import_id,
        "execution_ids": args.execution_id or None,
        "datamart_id": args.datamart_id,
        "min_executions": 1,
        "quiet_for": 0,
        "max_failures": args.max_failures,
    }
    asked = read_arguments(given)
    hook, _, datamart = _executions(args)
    watching = _ListingWatch(asked, hook, datamart, push=lambda key, value: None, **times(args))
    return watch_until_over(watching, View(TITLES, watching.rows), output, watching.thing)


@command
def cancel(args: argparse.Namespace, output: Output) -> int:
    """Cancel what has not begun, and name what cannot be cancelled."""
    _, executions, _ = _executions(args)
    seen = executions.snapshots()
    asked = set(args.execution_id) if args.execution_id else {one.id for one in seen}
    if unknown := newest_first(asked - {one.id for one in seen}):
        raise Ended(
            f"Document import {args.import_id} has no execution {name_ids(unknown)}. To see those that it has: airflow bulk "
            f"executions list {args.import_id}.",
            WRONG_USE,
        )
    pending = [one.id for one in seen if one.id in asked and one.remote_status is RemoteStatus.PENDING]
    others = [one for one in seen if one.id in asked and one.remote_status is not RemoteStatus.PENDING]
    if not pending:
        return _say_end(args, output, [], others, bool(args.execution_id))
    question = f"Cancel {len(pending):,} PENDING {'execution' if len(pending) == 1 else 'executions'} of document import {args.import_id}?"
    if not args.yes and not output.asks(question):
        raise Ended("Nothing was cancelled.", NOT_GOOD)
    done = _cancel(executions, set(pending), output)
    left = [one for one in executions.snapshots() if one.id in asked and one.id not in done]
    return _say_end(args, output, done, left, bool(args.execution_id))


def _cancel(executions: UploadExecutions, pending: set[str], output: Output) -> list[str]:
    with Signals() as signals, Bars(output) as bars:
        bars.counting("Cancelling", len(pending))
        found = cancel_pending(executions, pending, tell=bars.count, signals=signals)
    if found.unproved:
        raise Ended(
            f"{len(found.cancelled):,} cancelled. Whether others were is not proved: {found.unproved}. Run the command "
            "again: it looks first, and cancels what is still PENDING."
        )
    return found.cancelled


def _say_end(
    args: argparse.Namespace,
    output: Output,
    cancelled: Sequence[str],
    left: Sequence[RemoteSnapshot],
    named: bool,
) -> int:
    """Say what was cancelled and what was not; with ids, each that was not cancelled is a failure."""
    pending = [one for one in left if one.remote_status is RemoteStatus.PENDING]
    going = [one for one in left if one.remote_status is RemoteStatus.GOING]
    over = [one for one in left if one.remote_status.over and one.remote_status is not RemoteStatus.CANCELED]
    bad = [*pending, *going, *(over if named else [])]
    output.document(
        {
            "ok": not bad,
            "import_id": args.import_id,
            "cancelled": list(cancelled),
            "not_cancelled": [_report(one) for one in (*pending, *going, *over)],
        }
    )
    output.line(f"Document import {args.import_id}: {len(cancelled):,} cancelled.")
    for what, which in (
        ("still PENDING, although a cancel was asked for", pending),
        ("begun, and cannot be cancelled", going),
        ("over before", over),
    ):
        if which:
            output.line(f"{len(which):,} {what}: {name_ids(newest_first(one.id for one in which))}.")
    return NOT_GOOD if bad else 0
