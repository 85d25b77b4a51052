"""``airflow bulk batches``: what other platforms call a batch, to list, to look at and to watch.

An integration batch instance has executions (runs); a Centrapay batch and an extract/load batch run once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk import arguments as read
from airflow_bulk import judging
from airflow_bulk.cli.connecting import opened
from airflow_bulk.cli.errors import Ended
from airflow_bulk.cli.output import WRONG_USE, Output, command
from airflow_bulk.cli.watching import View, times, watch_until_over
from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.platforms.extract_load import batch_report
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    IntegrationBatchInstance,
    IntegrationBatchSnapshot,
    iso,
    run_report,
    run_snapshot,
)
from airflow_bulk.runs import failures
from airflow_bulk.runs.centrapay_batch.judgement import numbers
from airflow_bulk.runs.centrapay_batch.watch import CentrapayBatchWatch
from airflow_bulk.runs.extract_load.watch import ExtractLoadBatchWatch
from airflow_bulk.runs.watching import Watch

if TYPE_CHECKING:
    import argparse

#: Runs of an instance that ``get`` shows.
RUNS_SHOWN = 20
INSTANCE_TITLES = {
    "instance": "left",
    "name": "left",
    "group": "left",
    "artifact": "left",
    "version": "left",
    "cron": "left",
    "cron status": "left",
}
RUN_TITLES = {
    "execution": "left",
    "status": "left",
    "type": "left",
    "to start": "left",
    "started": "left",
    "tasks": "right",
    "failed": "right",
}
NO_LIST = "Centrapay's API has no call that lists batches: give the id of one to `batches get`."


def _mediarithmics(args: argparse.Namespace) -> MediarithmicsHook:
    return opened(MediarithmicsHook(args.conn_id or MediarithmicsHook.default_conn_name))


def _centrapay(args: argparse.Namespace) -> CentrapayHook:
    return opened(CentrapayHook(args.conn_id or CentrapayHook.default_conn_name))


def _extract_load(args: argparse.Namespace) -> ExtractLoadHook:
    return opened(ExtractLoadHook(args.conn_id or ExtractLoadHook.default_conn_name))


def _only_for_integration(args: argparse.Namespace, *options: str) -> None:
    for name in options:
        if getattr(args, name) is not None and args.platform != "integration":
            raise Ended(
                f"--{name.replace('_', '-')} is for --platform integration alone: leave it out.", WRONG_USE
            )


# List.


@command
def list_batches(args: argparse.Namespace, output: Output) -> int:
    """List the batches of a platform."""
    _only_for_integration(args, "organisation_id")
    if args.platform == "centrapay":
        raise Ended(NO_LIST)
    if args.platform == "integration":
        found = [_instance(one) for one in _mediarithmics(args).list_batch_instances(args.organisation_id)]
        titles = INSTANCE_TITLES
    else:
        batches = _extract_load(args).list_batches()
        found = [{**batch_report(one, one.id), "created_at": _text(one.created_at)} for one in batches]
        found = [
            {key: one[key] for key in ("batch_id", "created_at", "finished_at", "status")} for one in found
        ]
        titles = {"batch": "left", "created": "left", "finished": "left", "status": "left"}
    output.document({"ok": True, "platform": args.platform, "batches": found})
    if found:
        output.table(titles, [[str(value or "") for value in one.values()] for one in found])
    output.line(f"{judging.how_many(len(found), 'batch', 'batches')}.")
    return 0


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _instance(one: IntegrationBatchInstance) -> dict[str, Any]:
    return {
        "instance_id": one.id,
        "name": one.name,
        "group_id": one.group_id,
        "artifact_id": one.artifact_id,
        "version": one.version_value or one.version_id,
        "cron": one.cron,
        "cron_status": one.cron_status,
    }


# Get.


@command
def get(args: argparse.Namespace, output: Output) -> int:
    """Show one batch as its platform shows it."""
    if args.platform == "integration":
        return _get_instance(args, output)
    if args.platform == "centrapay":
        found = numbers(_centrapay(args).get_batch(args.batch_id))
    else:
        batch = _extract_load(args).get_batch(args.batch_id)
        found = {**batch_report(batch, batch.id), "created_at": _text(batch.created_at)}
    output.document({"ok": True, "platform": args.platform, **found})
    _list_fields(output, found)
    return 0


def _get_instance(args: argparse.Namespace, output: Output) -> int:
    hook = _mediarithmics(args)
    instance = _instance(hook.get_batch_instance(args.batch_id))
    newest = itertools.islice(hook.list_batch_executions(args.batch_id), RUNS_SHOWN)
    runs = [run_snapshot(one) for one in newest]
    output.document(
        {
            "ok": True,
            "platform": args.platform,
            **instance,
            "runs": [run_report(args.batch_id, one) for one in runs],
        }
    )
    _list_fields(output, instance)
    if runs:
        output.table(RUN_TITLES, [_run(one) for one in runs])
    return 0


def _list_fields(output: Output, found: dict[str, Any]) -> None:
    width = max(map(len, found))
    for name, value in found.items():
        output.line(f"{name:<{width}}  {'-' if value is None else value}")


def _run(one: IntegrationBatchSnapshot) -> list[object]:
    starts = [iso(when) or "" for when in (one.expected_start, one.started)]
    return [one.id, one.status, one.execution_type, *starts, one.lines, one.failed]


# Watch.


class IntegrationRunWatch(Watch):
    """One run of an integration batch.

    :param hook: the platform.
    :param instance_id: the instance.
    :param execution_id: the run.
    :param tolerance: failed tasks that are good enough.
    """

    def __init__(
        self,
        hook: MediarithmicsHook,
        instance_id: str,
        execution_id: str,
        tolerance: judging.Tolerance,
        **timing: float,
    ) -> None:
        super().__init__(**timing)
        self.execution_id = execution_id
        self.instance_id = instance_id
        self._runs = IntegrationBatchExecutions(hook, instance_id)
        self._tolerance = tolerance
        self.run: IntegrationBatchSnapshot | None = None

    @property
    def thing(self) -> str:
        """The run, in words."""
        return f"Execution {self.execution_id} of batch instance {self.instance_id}"

    def poll(self) -> judging.Verdict:
        """Ask the platform once and judge what it shows."""
        self.run = self._runs.get(self.execution_id)
        return self._judge([self.run])

    def why_not_good(self, verdict: judging.Finished | judging.FailedBecause) -> str:
        """Say why a run that is over is not good; empty when it is."""
        if isinstance(verdict, judging.FailedBecause):
            return f"{self.thing}: {verdict.reason}."
        if verdict.canceled:
            return f"{self.thing} was cancelled, and never ran; name another run with --execution-id."
        assert self.run is not None  # noqa: S101
        return failures.say_too_many(
            self.thing, verdict.totals.failed, self.run.lines or 0, self._tolerance, noun="task"
        )

    def _describe(self, last: judging.PastDeadline) -> str:
        assert self.run is not None  # noqa: S101
        return self.run.status

    def _goes_on(self, last: judging.PastDeadline) -> str:
        return "It goes on; nothing was cancelled."

    def result(self, verdict: judging.Verdict) -> dict[str, Any]:
        """The run as it was last seen."""
        assert self.run is not None  # noqa: S101
        return run_report(self.instance_id, self.run)


@command
def watch(args: argparse.Namespace, output: Output) -> int:
    """Look until a batch, or one run of an instance, is over."""
    _only_for_integration(args, "execution_id")
    timing = times(args)
    tolerance = read.read_tolerance(args.max_failures)
    if args.platform == "integration":
        hook = _mediarithmics(args)
        run = IntegrationRunWatch(hook, args.batch_id, _which_run(args, hook), tolerance, **timing)
        view = View(RUN_TITLES, lambda: [_run(run.run)] if run.run else [])
        return watch_until_over(run, view, output, run.thing)
    watching: Watch
    if args.platform == "centrapay":
        watching = CentrapayBatchWatch(args.batch_id, _centrapay(args), tolerance, **timing)
    else:
        watching = ExtractLoadBatchWatch(args.batch_id, _extract_load(args), **timing)
    return watch_until_over(watching, View({"batch": "left"}, _rows(args.batch_id)), output, watching.thing)


def _rows(batch_id: str) -> Callable[[], Sequence[Sequence[object]]]:
    return lambda: [[batch_id]]


def _which_run(args: argparse.Namespace, hook: MediarithmicsHook) -> str:
    """The run that was named, else the newest one that is to start by now: a cron has a run in the future, always."""
    if args.execution_id is not None:
        return str(args.execution_id)
    hook.get_batch_instance(args.batch_id)
    now = time.time()
    runs = [
        one
        for one in IntegrationBatchExecutions(hook, args.batch_id, now - 24 * 3600.0).snapshots()
        if one.expected_start is None or one.expected_start <= now
    ]
    if not runs:
        raise Ended(
            f"Batch instance {args.batch_id} has no run that is to start by now; name one with --execution-id."
        )
    return max((one.id for one in runs), key=judging.id_order)
