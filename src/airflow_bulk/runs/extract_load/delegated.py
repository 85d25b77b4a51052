"""The life of one batch that the extract/load server runs, over all tries of its task: what it adds to the skeleton.

The server has neither an idempotency key nor a marker, and a POST starts the run (extract_load.md sections 1 and 2). So
the intent holds the ids that were known before the POST and a fingerprint of what was sent; after a lost answer the list
tells which batch is new and the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_bulk.judging import name_ids
from airflow_bulk.platforms import extract_load as api
from airflow_bulk.platforms.errors import NotFound, TryLater
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs import failures
from airflow_bulk.runs.creation import act_until_taken, create_once
from airflow_bulk.runs.extract_load import judgement
from airflow_bulk.runs.failures import DeadlinePassed
from airflow_bulk.runs.reconcile import SeveralFit
from airflow_bulk.runs.skeleton import RemoteRun

if TYPE_CHECKING:
    from airflow_bulk.hooks.extract_load import ExtractLoadHook
    from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline
    from airflow_bulk.runs.extract_load.arguments import DelegatedBatchArguments
    from airflow_bulk.runs.record import Record, RecordedEnd

log = logging.getLogger(__name__)

#: Keys of the record: the intent, the ids that were known before the POST by pages, and what a person was asked.
INTENT, KNOWN, ASKED = "batch", "known.{}", "asked"
#: Ids in a page: 27 bytes each, so a value has about 40 kB.
PAGE = 1_500
ASK_A_PERSON = (
    "A retry looks again, and stores nothing while this is so. Look at these batches on the server: delete those that are "
    "not this task's, or mark this task; clearing it stores the batch once more."
)


class DelegatedBatchRun(RemoteRun["DelegatedBatchArguments"]):
    """One batch that a task asked the server to run.

    :param args: what was asked for.
    :param hook: the server.
    :param record: the task's memory.
    :param push: pushes a value to XCom as soon as it is known.
    """

    kind = "delegated_batch"

    def __init__(
        self,
        args: DelegatedBatchArguments,
        hook: ExtractLoadHook,
        record: Record,
        *,
        push: Callable[[str, Any], None],
    ) -> None:
        super().__init__(args, record, platform="extract_load")
        self.hook = hook
        self.batch_id: str | None = None
        self._push = push
        self._print = api.fingerprints(args.definition)
        self._intended: dict[str, Any] = {}
        self._same_objects: list[str] = []
        self._batch: api.ServerBatch | None = None
        self._posting = False

    # What earlier tries left.

    def _is_done_again(self, end: RecordedEnd, cleared: bool) -> bool:
        """A run that failed is not judged again: a clear starts another."""
        return cleared and bool(end.result.get("errors") or end.result.get("status") in api.FAILED)

    def _describe_former(self, former: dict[str, Any]) -> str:
        return (
            f"The former batch is {former.get('batch_id')} ({former.get('finished_at') or 'not waited for'}), and what it "
            "wrote stays written. Storing another batch"
        )

    # Submitting.

    def _submit(self) -> None:
        """Store the batch, or go on with the one that an earlier try stored."""
        try:
            self._store()
        except SeveralFit as error:
            if not self._asked_and_cleared():
                self.record.write(ASKED, {"max_tries": self.record.max_tries})
                raise SeveralFit(error.what, error.why, retry=ASK_A_PERSON) from None
            self._begin_again(f"{error.why}, and a person has cleared the task")
            self._open()
            self._store()

    def _store(self) -> None:
        self.batch_id, self._intended = create_once(
            self.record,
            INTENT,
            self._intent,
            self._create,
            self._look_for,
            settle=self.args.settle,
            work=f"an extract/load batch of connection {self.hook.conn_id}",
        )
        self._push("batch_id", self.batch_id)

    def _asked_and_cleared(self) -> bool:
        """Whether a person was asked which batch is ours, and has cleared the task since."""
        asked = self.record.read(ASKED)
        return asked is not None and asked["max_tries"] != self.record.max_tries

    def _open(self) -> None:
        """Tries that got no batch stored must not use up the time of its run."""
        intent = self.record.read(INTENT) or {}
        self._began, _ = self.record.started(submitted=bool(intent.get("id") or intent.get("posts")))

    def _begin_again(self, why: str) -> None:
        self.batch_id = None
        log.warning("%s: storing another batch, as generation %d.", why, self.record.generation + 1)
        self.record.next_generation()
        self._same_objects = []

    def _intent(self) -> dict[str, Any]:
        """What is needed to find the batch again: what is there before it."""
        known = [one.id for one in self.hook.list_batches()]
        pages = [known[first : first + PAGE] for first in range(0, len(known), PAGE)]
        for number, page in enumerate(pages):
            self.record.write(KNOWN.format(number), page)
        return {"conn_id": self.hook.conn_id, "pages": len(pages), "sent": [], "posts": 0}

    def _create(self, stored: dict[str, Any]) -> str:
        """Store the batch: each POST right after a write that returned."""
        if self._same_objects:
            raise SeveralFit(
                "tell whether an earlier try stored the batch",
                f"new batches have the same objects and differ in what else is compared: {name_ids(self._same_objects)}",
                retry=ASK_A_PERSON,
            )
        sent = list(self._print)
        before: dict[str, Any] = {}

        def write() -> None:
            before.update(posts=stored["posts"], sent=list(stored["sent"]))
            stored["posts"] += 1
            # The definition may have changed since the first try.
            stored["sent"] = [*(one for one in stored["sent"] if one != sent), sent]
            self.record.write(INTENT, stored)

        def post() -> str:
            self._posting = True
            try:
                made = self.hook.create_batch(self.args.definition, tries=1)
            except TryLater:
                # The server did nothing: a later try need not look for what this POST has made.
                self._posting = False
                stored.update(before)
                self.record.write(INTENT, stored)
                raise
            self._posting = False
            stored["answered"] = True
            log.info("Stored batch %s; its run has begun.", made.id)
            return made.id

        return act_until_taken(write, post, pause=self.args.settle)

    def _look_for(self, stored: dict[str, Any]) -> list[str]:
        """New batches that are what was sent; those that only have the same objects are kept aside."""
        self._same_objects = []
        if not stored["posts"]:
            return []
        known = {one for page in range(stored["pages"]) for one in self.record.read(KNOWN.format(page))}
        new = {one.id: api.fingerprints(one.raw) for one in self.hook.list_batches() if one.id not in known}
        sent, objects = ({one[part] for one in stored["sent"]} for part in (0, 1))
        same = [batch_id for batch_id, (whole, _) in new.items() if whole in sent]
        if not same:
            self._same_objects = [batch_id for batch_id, (_, named) in new.items() if named in objects]
        return same

    # Waiting and judging.

    def _snapshots(self) -> list[RemoteSnapshot]:
        """The batch as the server shows it; one that is gone counts as cancelled once a person has cleared the task."""
        try:
            self._batch = self.hook.get_batch(str(self.batch_id))
        except NotFound:
            if not self._cleared():
                raise failures.gone(
                    f"batch {self.batch_id}",
                    "A retry stores nothing; clearing the task stores another batch.",
                ) from None
            return [RemoteSnapshot(id=str(self.batch_id), remote_status=RemoteStatus.CANCELED, status="gone")]
        if self._cleared() and not self._batch.finished:
            # It is there: should it be gone later, the clear before this look does not ask for another.
            self._intended["max_tries"] = self.record.max_tries
            self.record.write(INTENT, self._intended)
        return [api.snapshot(self._batch)]

    def _canceled(self, verdict: Finished) -> KeepWaiting | dict[str, Any]:
        self._begin_again(f"Batch {self.batch_id} is gone from the server, and a person has cleared the task")
        self._submitted = False
        return self.advance()

    def _cleared(self) -> bool:
        """Whether a person has cleared the task since the batch was last known to be there."""
        return bool(self._intended["max_tries"] != self.record.max_tries)

    def _waits_for(self, verdict: KeepWaiting) -> str:
        return f"batch {self.batch_id} has no finished_at"

    def _late(self, verdict: PastDeadline) -> NoReturn:
        raise DeadlinePassed(
            judgement.say_late(
                self._batch,
                str(self.batch_id),
                self.args.timeout,
                "its submission",
                f"{failures.LOOKS_AGAIN} Once the batch is deleted on the server, a clear stores another.",
            )
        )

    def _why_not_good(self, verdict: Finished | FailedBecause) -> str:
        assert self._batch is not None  # noqa: S101
        if failed := judgement.why_not_good(self._batch, "clearing the task stores another batch."):
            return failed
        others = self._others()
        if not others:
            return ""
        return (
            f"Batch {self.batch_id} is finished, but another that is the same appeared after an answer was lost: "
            f"{name_ids(others)}. The batch may have run twice; a retry cannot change that. Look at the destination, then "
            "mark this task. A longer settle waits longer for such a one."
        )

    def _others(self) -> list[str]:
        """What this task sent besides, and must not be there: an earlier POST whose answer was lost; what it made appeared only later."""
        if self._intended["posts"] < 2 and self._intended.get("answered"):
            return []
        return [one for one in self._look_for(self._intended) if one != self.batch_id]

    # Ends.

    def _result(self) -> dict[str, Any]:
        return {
            **api.batch_report(self._batch, self.batch_id),
            "seconds": round(time.time() - self.started, 3),
        }

    def _row(self, result: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": f"batch of connection {self.hook.conn_id}",
            "id": self.batch_id or result.get("batch_id"),
            "status": result.get("status"),
            "errors": result.get("errors"),
            "error_kinds": result.get("error_kinds"),
            "seconds": result.get("seconds"),
        }

    def _log_end(self, result: dict[str, Any]) -> None:
        assert self._batch is not None  # noqa: S101
        judgement.tell_finished(self._batch)

    # Stopping.

    def _stop(self) -> None:
        """The batch itself goes on, and that is said."""
        if self.batch_id is not None:
            log.warning("Batch %s goes on at the server. %s", self.batch_id, api.NO_STOP)
        elif self._posting:
            log.warning("A batch may have been stored just now, and goes on then. %s", api.NO_STOP)
