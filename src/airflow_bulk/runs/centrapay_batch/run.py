"""The life of one Centrapay batch over all tries of its task: check, create, look, judge, end.

``advance`` does all that can be done now and is the only entrance, as for an import (ARCHITECTURE.md section 5.8).
Centrapay has neither an idempotency key nor a list of batches (centrapay.md section 3), so a creation whose answer
was lost is never repeated by itself: the error says that a batch may exist, and which read can tell.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk import judging
from airflow_bulk.judging import KeepWaiting, WaitingProgress
from airflow_bulk.platforms import centrapay as api
from airflow_bulk.runs.centrapay_batch import file as source
from airflow_bulk.runs.centrapay_batch import judgement as words
from airflow_bulk.runs.failures import DeadlinePassed, TaskStopped
from airflow_bulk.runs.reconcile import NoLookup, create_once
from airflow_bulk.runs.record import EndMeaning, Record
from airflow_bulk.runs.upload import plan as planning

if TYPE_CHECKING:
    from airflow_bulk.hooks.centrapay import CentrapayHook
    from airflow_bulk.runs.centrapay_batch.arguments import CentrapayBatchArguments

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FileFindings:
    """What is known of a batch's file, as recorded with the intent.

    :param lines: its records; None where nobody counted them.
    :param broken: how many of them break a rule of ours; they are in the file all the same.
    :param rejects_uri: where their positions are.
    :param expires: seconds since 1970 at which its URL stops working; None where it does not say.
    """

    lines: int | None = None
    broken: int | None = None
    rejects_uri: str | None = None
    expires: float | None = None


class CentrapayBatchRun:
    """One batch that a task asked for.

    :param args: what was asked for.
    :param hook: the platform.
    :param record: the task's memory.
    :param identity: dag, run, task and map index, for the names of files.
    :param push: pushes a value to XCom as soon as it is known.
    """

    def __init__(
        self,
        args: CentrapayBatchArguments,
        hook: CentrapayHook,
        record: Record,
        *,
        identity: str,
        push: Callable[[str, Any], None],
    ) -> None:
        self.args = args
        self.hook = hook
        self.record = record
        self.batch_id: str | None = None
        self.started = time.time()
        self.findings = FileFindings()
        self._identity = identity
        self._push = push
        self._waiting = WaitingProgress(log)
        self._file = source.CentrapayFile(args)
        self._posting = False

    def advance(self) -> KeepWaiting | dict[str, Any]:
        """Do everything that can be done now; return the result, or when to look again."""
        if self.args.dry_run:
            self._check("dry")
            log.info("Dry run: no batch was created.")
            return self._result(None)
        if self.batch_id is None:
            result = self._recorded_end()
            if result is not None:
                return result
            self.started, _ = self.record.started()
            self._submit()
        return self._look() if self.args.wait_for_completion else self._end(None)

    def rules(self) -> judging.WaitingRules:
        """What the waiting obeys."""
        return judging.WaitingRules(
            started=self.started,
            deadline=self.started + self.args.timeout,
            poll_interval=self.args.poll_interval,
        )

    # What earlier tries left.

    def _recorded_end(self) -> dict[str, Any] | None:
        """What a recorded end means for this try (ARCHITECTURE.md section 5.5)."""
        meaning, end = self.record.recorded_end(
            keep=self.args.on_clear == "keep",
            # Nothing was processed: there is nothing to judge.
            works_again=lambda end, cleared: cleared and end.result.get("status") == api.ERROR,
        )
        if end is None or meaning is EndMeaning.JUDGE_AGAIN:
            return None
        if meaning is EndMeaning.STANDS:
            return end.result
        log.warning(
            "Creating another batch, as generation %d. The former one is %s (%s); what it loaded stays loaded.",
            self.record.generation + 1,
            end.result.get("batch_id"),
            end.result.get("status") or "not waited for",
        )
        self.record.next_generation()
        return None

    # Submitting.

    def _submit(self) -> None:
        """Create the batch, or go on with the one that an earlier try created."""
        no_lookup = NoLookup(
            "Centrapay neither lists batches nor takes an idempotency key, so a batch may exist, and a second one would "
            "load the file again",
            self._who_can_tell(),
            again=self.args.repeat_lost_post,
        )
        self.batch_id, stored = create_once(
            self.record, "batch", self._intent, self._create, None, settle=0.0, no_lookup=no_lookup
        )
        self.findings = FileFindings(**stored["findings"])
        self._push("batch_id", self.batch_id)

    def _intent(self) -> dict[str, Any]:
        """Check the file and have its URL made, before anything is posted; no secret is recorded."""
        known = self.record.read("batch")
        if known is not None and not known.get("undone"):
            log.warning(
                "An earlier try posted this batch and lost the answer. It is posted again, as repeat_lost_post allows: "
                "the file may be loaded twice."
            )
        self._check("file")
        expires = self._file.sign()
        self.findings = dataclasses.replace(self.findings, expires=expires)
        return {
            "type": self.args.batch_type,
            "conn_id": self.hook.conn_id,
            "account_id": self.hook.account(self.args.account_id),
            "findings": dataclasses.asdict(self.findings),
        }

    def _create(self, stored: dict[str, Any]) -> str:
        self._posting = True
        made = self.hook.create_batch(
            batch_type=stored["type"],
            url=self._file.url,
            account_id=stored["account_id"],
            test=self.args.test,
        )
        self._posting = False
        log.info("Created batch %s (%s) for account %s.", made.id, stored["type"], stored["account_id"])
        return made.id

    def _check(self, kind: str) -> None:
        plan = self._file.check(f"{self._name()}.dry" if kind == "dry" else self._name())
        if plan is not None:
            self.findings = FileFindings(plan.lines_read, plan.rejected, plan.rejects_uri or None)

    def _who_can_tell(self) -> str:
        told = (
            "Look for the asset of a record of the file, by its externalId: "
            f"CentrapayHook.get_asset_by_external_id({api.FARMLANDS_ASSETS[bool(self.args.test)]!r}, externalId). "
            if self.args.batch_type == api.FARMLANDS
            else "No read is documented that tells for this type: ask Centrapay. "
        )
        return (
            f"{told}A retry posts nothing. If it was loaded, mark this task a success; if not, "
            "repeat_lost_post=True lets a retry or a clear post it again."
        )

    # Waiting and judging.

    def _look(self) -> KeepWaiting | dict[str, Any]:
        assert self.batch_id is not None  # noqa: S101
        batch = self.hook.get_batch(self.batch_id)
        verdict = judging.judge([api.snapshot(batch)], self.rules(), time.time())
        if isinstance(verdict, KeepWaiting):
            self._waiting.tell(verdict.totals, f"batch {batch.id} is {batch.status[:40]}", verdict.unknown)
            return verdict
        if isinstance(verdict, judging.PastDeadline):
            late = words.say_late(batch.id, verdict, self.args.timeout, "its submission")
            raise DeadlinePassed(
                f"{late} The record is kept: a retry looks once more, and clearing the task goes on with a new deadline."
            )
        return self._end(batch)

    # Ends.

    def _end(self, batch: api.CentrapayBatch | None) -> dict[str, Any]:
        """Record the end, good or not; None where nobody waited."""
        result = self._result(batch)
        reason = ""
        if batch is not None:
            result["errors_uri"] = self._write_errors(batch)
            words.tell_errors(batch, result["errors_uri"])
            reason = words.why_not_good(batch, self.args.tolerance, self.findings.lines)
            if batch.status == api.ERROR:
                reason += self._why_unreadable()
            if reason and result["errors_uri"]:
                reason += f" All listed errors: {result['errors_uri']}."
        self.record.write_end(good=not reason, result=result, reason=reason)
        if reason:
            raise AirflowFailException(reason)
        if batch is not None:
            log.info(
                "Batch %s is complete: %s records counted, %s failed.",
                batch.id,
                batch.count,
                batch.error_count,
            )
        return result

    def _why_unreadable(self) -> str:
        """What a person can do about a file that Centrapay could not fetch or read."""
        expires = self.findings.expires
        until = "" if expires is None else f" Its URL worked until {api.clock_time(expires)}"
        if expires is not None and expires <= time.time():
            until += ", which is past: make it live longer (url_expires_in)"
        return (
            f"{until + '.' if until else ''} Its URL must be reachable for Centrapay's servers. A retry posts nothing; "
            "clearing the task creates another batch."
        )

    def _write_errors(self, batch: api.CentrapayBatch) -> str | None:
        """Write what the platform lists; the file has the same name at every try."""
        file = planning.reject_file(self.args, self._name(), kind="errors")
        if file is None:
            return None
        try:
            for row in words.error_rows(batch):
                file.write_row(row)
            return file.finish() or None
        finally:
            file.discard()  # does nothing to a finished file

    def _result(self, batch: api.CentrapayBatch | None) -> dict[str, Any]:
        counted = (
            words.numbers(batch)
            if batch is not None
            else {
                "batch_id": self.batch_id,
                "status": None,
                "type": self.args.batch_type,
                "count": None,
                "lines_accepted": None,
                "lines_failed": None,
            }
        )
        return {
            **counted,
            "lines_read": self.findings.lines,
            "lines_breaking_rules": self.findings.broken,
            "rejects_uri": self.findings.rejects_uri,
            "errors_uri": None,
            "seconds": round(time.time() - self.started, 3),
        }

    def _name(self) -> str:
        return f"{self._identity}.g{self.record.generation}"

    # Stopping.

    def kill(self) -> None:
        """Stop at once, for ``on_kill``: the batch itself goes on, and that is said.

        :raises TaskStopped: always; it makes ``execute`` end.
        """
        self._file.cut()
        if self.batch_id is not None:
            log.warning("Batch %s goes on at Centrapay. %s", self.batch_id, words.NO_CANCEL)
        elif self._posting:
            log.warning("A batch may have been created just now, and goes on then. %s", words.NO_CANCEL)
        raise TaskStopped("The task was stopped.")
