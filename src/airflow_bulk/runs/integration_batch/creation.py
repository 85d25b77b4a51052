"""The execution of a batch run: created once over all tries of a task, and found again after a lost answer.

An execution has no name, and the platform has no idempotency key (mediarithmics.md sections 1.6 and 9), so the platform
cannot be asked for this task's execution. So the intent holds the id of the newest execution before the POST and each
start that was asked for, and a later try looks for a newer MANUAL execution with such a start.
"""

from __future__ import annotations

import logging
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.judging import id_order, name_ids
from airflow_bulk.platforms.call import run_calls
from airflow_bulk.platforms.errors import PlatformError, TryLater
from airflow_bulk.platforms.mediarithmics.integration_batches import MANUAL, IntegrationBatchSnapshot
from airflow_bulk.runs.creation import act_until_taken, create_once
from airflow_bulk.runs.integration_batch.arguments import refuse_past

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.platforms.call import Call
    from airflow_bulk.runs.integration_batch.arguments import RunArguments
    from airflow_bulk.runs.record import Record

T = TypeVar("T")
log = logging.getLogger(__name__)


class ExecutionCreation:
    """Creates the executions of one run, each exactly once.

    :param args: the arguments of the run.
    :param hook: the hook of the platform.
    :param record: the task's record.
    :param executions: the executions of the instance.
    """

    def __init__(
        self,
        args: RunArguments,
        hook: MediarithmicsHook,
        record: Record,
        executions: IntegrationBatchExecutions,
    ) -> None:
        self._args = args
        self._hook = hook
        self._record = record
        self._executions = executions
        #: The intent of a POST that may have been carried out, in memory: on_kill cannot read the record.
        self.asked: dict[str, Any] | None = None

    def run(self, number: int) -> tuple[str, dict[str, Any]]:
        """Create an execution, or find the one that an earlier try created.

        :param number: the number of the execution within the run, from 1.
        :returns: the execution's id, and the intent.
        """
        name = f"execution.{number}"
        return create_once(
            self._record,
            name,
            self._intent,
            lambda stored: self._create(name, stored),
            self._look_again,
            settle=self._args.settle,
            work=f"batch instance {self._args.instance_id}" if number == 1 else None,
        )

    def look_for(self, stored: dict[str, Any]) -> list[str]:
        """Return the executions that a POST with this intent may have made."""
        return fitting(stored, self._executions.snapshots())

    def find_at_once(self, seconds: float) -> str | None:
        """Return the one execution that a POST of this task has made, for ``on_kill``; else None, and log a warning.

        :param seconds: the time for all calls together.
        """
        asked = self.asked
        if asked is None:
            return None
        until = time.monotonic() + seconds
        # Only executions since the intent: an instance may have years of them.
        recent = IntegrationBatchExecutions(self._hook, self._args.instance_id, since=asked["created_after"])
        try:
            found = fitting(asked, run_calls(recent.listing(), lambda call: self._send_until(call, until)))
        except PlatformError as error:
            why = f"the platform could not be asked ({error.why})"
        else:
            if len(found) == 1:
                return found[0]
            why = f"{len(found)} fit: {name_ids(found)}" if found else "none is there yet"
        log.warning(
            "An execution of batch instance %s was being created, to start at %s, and %s. It is not cancelled: look "
            "for it in the console.",
            self._args.instance_id,
            " or ".join(datetime.fromtimestamp(start / 1000, UTC).isoformat() for start in asked["starts"]),
            why,
        )
        return None

    def _send_until(self, call: Call[T], until: float) -> T:
        return self._hook.send(call, tries=1, timeout=max(0.1, until - time.monotonic()))

    def _look_again(self, stored: dict[str, Any]) -> list[str]:
        """Return what an earlier try may have made; a try that did not come to its POST has made nothing."""
        if not stored["posts"]:
            return []
        self.asked = stored
        return self.look_for(stored)

    def _intent(self) -> dict[str, Any]:
        """Return the intent: what is needed to create the execution and to find it again."""
        instance = self._hook.get_batch_instance(self._args.instance_id)
        if instance.archived:
            raise ArgumentError(
                "instance_id", f"names the archived instance {instance.id}, which runs nothing"
            )
        start = self._args.expected_start
        if start is not None and self._record.generation == 1 and not self._record.read("runs"):
            # A run that a clear or a retry asks for again starts now: its first start lies in the past.
            refuse_past("expected_start_date", start)
        known = self._executions.snapshots()
        newest = max((one.id for one in known), key=id_order, default="0")
        owner = self._args.organisation_id or instance.organisation_id
        return {
            "instance_id": self._args.instance_id,
            "conn_id": self._hook.conn_id,
            "organisation_id": None if owner is None else str(owner),
            "newest": newest,
            "created_after": max((one.created or 0.0 for one in known), default=0.0),
            "starts": [int(time.time() * 1000) if start is None else _own_start(start)],
            "posts": 0,
        }

    def _create(self, name: str, stored: dict[str, Any]) -> str:
        """Create the execution: one POST, and again only while the platform says that it did nothing.

        Each POST follows a write to the record that returned, so a superseded try sends no POST: a run of a batch
        cannot be undone.
        """
        before = self.asked

        def write() -> None:
            now = int(time.time() * 1000)
            if stored["starts"][-1] < now - now % 60_000:
                # Time has passed since the intent, and the platform refuses past minutes: ask for a start now.
                stored["starts"].append(now)
            stored["posts"] += 1
            self._record.write(name, stored)

        def post() -> str:
            self.asked = stored
            try:
                made = self._hook.create_batch_execution(
                    self._args.instance_id,
                    stored["starts"][-1],
                    organisation_id=stored["organisation_id"],
                    tries=1,
                )
            except TryLater:
                self.asked = before  # this POST was not carried out
                raise
            log.info("Created execution %s of batch instance %s.", made.id, self._args.instance_id)
            return made.id

        return act_until_taken(write, post, pause=self._args.settle)


def _own_start(start: float) -> int:
    """Return the start to ask for, in ms: the start that was given, or up to a second later.

    Only the start tells this task's execution from others of the instance. Others may be to start at the same time:
    a second task of the DAG asked for them, or a person in the console, at a full second. That the platform keeps the
    milliseconds is [assumed]; its dates are documented to have them (mediarithmics.md section 1.7).
    """
    return int(max(start, time.time()) * 1000) + 1 + secrets.randbelow(999)


def fitting(stored: dict[str, Any], found: Sequence[IntegrationBatchSnapshot]) -> list[str]:
    """Return those executions of a list that a POST with this intent may have made."""
    starts = set(stored["starts"])
    return [
        one.id
        for one in found
        if one.execution_type == MANUAL
        and one.expected_start is not None
        and round(one.expected_start * 1000) in starts
        and id_order(one.id) > id_order(stored["newest"])
    ]
