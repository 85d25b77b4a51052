"""The life of one Centrapay batch over all tries of its task: what Centrapay adds to the skeleton.

Centrapay has neither an idempotency key nor a list of batches (centrapay.md section 3), so a creation whose answer was
lost is never repeated by itself: the error says that a batch may exist, and which read can tell.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_bulk.documents.source.files import shown
from airflow_bulk.platforms import centrapay as api
from airflow_bulk.runs import failures
from airflow_bulk.runs.centrapay_batch import file as source
from airflow_bulk.runs.centrapay_batch import judgement
from airflow_bulk.runs.centrapay_batch.results import write_results
from airflow_bulk.runs.creation import NoLookup, create_once
from airflow_bulk.runs.failures import DeadlinePassed
from airflow_bulk.runs.skeleton import RemoteRun

if TYPE_CHECKING:
    from airflow_bulk.hooks.centrapay import CentrapayHook
    from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline
    from airflow_bulk.platforms.status import RemoteSnapshot
    from airflow_bulk.runs.centrapay_batch.arguments import CentrapayBatchArguments
    from airflow_bulk.runs.record import Record, RecordedEnd

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FileFindings:
    """What is known of a batch's file, as recorded with the intent.

    :param lines: its records; None where nobody counted them.
    :param broken: how many of them break a rule of ours; they are in the file all the same.
    :param rejects_uri: where their positions are.
    :param expires: seconds since 1970 at which its URL stops working; None where it does not say.
    :param fingerprint: of the file as it was checked; empty where there is none.
    """

    lines: int | None = None
    broken: int | None = None
    rejects_uri: str | None = None
    expires: float | None = None
    fingerprint: str = ""


class CentrapayBatchRun(RemoteRun["CentrapayBatchArguments"]):
    """One batch that a task asked for.

    :param args: what was asked for.
    :param hook: the platform.
    :param record: the task's memory.
    :param identity: dag, run, task and map index, for the names of files.
    :param push: pushes a value to XCom as soon as it is known.
    """

    kind = "centrapay_batch"

    def __init__(
        self,
        args: CentrapayBatchArguments,
        hook: CentrapayHook,
        record: Record,
        *,
        identity: str,
        push: Callable[[str, Any], None],
    ) -> None:
        super().__init__(args, record, platform="centrapay")
        self.hook = hook
        self.batch_id: str | None = None
        self.findings = FileFindings()
        self._identity = identity
        self._push = push
        self._batch: api.CentrapayBatch | None = None
        self._errors_uri: str | None = None
        self._file = source.CentrapayFile(args)
        self._posting = False
        self._account: str | None = None

    def _dry_run(self) -> dict[str, Any] | None:
        if not self.args.dry_run:
            return None
        self._check("dry")
        log.info("Dry run: no batch was created.")
        return self._result()

    # What earlier tries left.

    def _is_done_again(self, end: RecordedEnd, cleared: bool) -> bool:
        """Nothing was processed: there is nothing to judge."""
        return cleared and end.result.get("status") == api.ERROR

    def _recorded_result(self, result: dict[str, Any]) -> dict[str, Any]:
        stored = self.record.read("batch")
        self._account = stored and stored.get("account_id")
        return result

    def _describe_former(self, former: dict[str, Any]) -> str:
        return (
            f"The former batch is {former.get('batch_id')} ({former.get('status') or 'not waited for'}), and what it "
            "loaded stays loaded. Creating another batch"
        )

    # Submitting.

    def _submit(self) -> None:
        """Create the batch, or go on with the one that an earlier try created."""
        no_lookup = NoLookup(
            "Centrapay neither lists batches nor takes an idempotency key, so a batch may exist, and a second one would "
            "load the file again",
            self._where_to_look(),
            accepts_second=self.args.repeat_lost_post,
        )
        self.batch_id, stored = create_once(
            self.record,
            "batch",
            self._intent,
            self._create,
            None,
            settle=0.0,
            no_lookup=no_lookup,
            work=f"a Centrapay batch of account {self.account()}",
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
        self.findings = dataclasses.replace(
            self.findings, expires=expires, fingerprint=self._file.fingerprint
        )
        # The POST is next: the check, and tries that posted nothing, must not use up the time of the batch.
        self._began, _ = self.record.started(submitted=False)
        return {
            "type": self.args.batch_type,
            "conn_id": self.hook.conn_id,
            "account_id": self.account(),
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

    def _where_to_look(self) -> str:
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

    def _snapshots(self) -> list[RemoteSnapshot]:
        self._batch = self.hook.get_batch(str(self.batch_id))
        return [api.snapshot(self._batch)]

    def _waits_for(self, verdict: KeepWaiting) -> str:
        status = self._batch.status if self._batch else ""
        return f"batch {self.batch_id} is {status[:40]}"

    def _late(self, verdict: PastDeadline) -> NoReturn:
        raise DeadlinePassed(
            judgement.say_late(
                self._batch, str(self.batch_id), self.args.timeout, "its submission", failures.LOOKS_AGAIN
            )
        )

    def _why_not_good(self, verdict: Finished | FailedBecause) -> str:
        batch = self._batch
        assert batch is not None  # noqa: S101
        self._errors_uri = write_results(
            self.args,
            self._name(),
            batch,
            self._file,
            fingerprint=self.findings.fingerprint,
            lines=self.findings.lines,
        )
        judgement.tell_errors(batch, self._errors_uri)
        reason = judgement.why_not_good(batch, self.args.tolerance, self.findings.lines)
        if batch.status == api.ERROR:
            reason += self._why_unreadable()
        if reason and self._errors_uri:
            reason += f" All listed errors: {self._errors_uri}."
        return reason

    # Ends.

    def _log_end(self, result: dict[str, Any]) -> None:
        batch = self._batch
        assert batch is not None  # noqa: S101
        log.info(
            "Batch %s is complete: %s records counted, %s failed.", batch.id, batch.count, batch.error_count
        )

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

    def _result(self) -> dict[str, Any]:
        counted = (
            judgement.numbers(self._batch)
            if self._batch is not None
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
            "errors_uri": self._errors_uri,
            "seconds": round(time.time() - self.started, 3),
        }

    def _row(self, result: dict[str, Any]) -> dict[str, Any]:
        known = {"lines_accepted": None, "lines_failed": None} | result
        return {
            "name": self.args.batch_type,
            "id": self.batch_id or result.get("batch_id"),
            "status": known.get("status"),
            "lines_read": self.findings.lines if self.findings.lines is not None else known.get("count"),
            "lines_accepted": known["lines_accepted"],
            "lines_failed": known["lines_failed"],
            "lines_breaking_rules": self.findings.broken,
            "rejects_uri": self.findings.rejects_uri,
            "errors_uri": self._errors_uri,
            "seconds": known.get("seconds"),
        }

    def _name(self) -> str:
        return f"{self._identity}.g{self.record.generation}"

    def account(self) -> str:
        """The account that owns the batch."""
        self._account = self.hook.account(self.args.account_id)
        return self._account

    @property
    def destination_uri(self) -> str | None:
        """The asset URI of what the batch brings to its account; None where none was created. It asks for nothing."""
        return f"centrapay://{self._account}/{self.args.batch_type.lower()}" if self._account else None

    def sources(self) -> Sequence[str]:
        """The object that Centrapay fetches; a URL that somebody else made is a secret, and is not named."""
        return [shown(self.args.file)] if self.args.file else []

    # Stopping.

    def _stop(self) -> None:
        """The batch itself goes on, and that is said."""
        self._file.cut()
        if self.batch_id is not None:
            log.warning("Batch %s goes on at Centrapay. %s", self.batch_id, api.NO_CANCEL)
        elif self._posting:
            log.warning("A batch may have been created just now, and goes on then. %s", api.NO_CANCEL)
