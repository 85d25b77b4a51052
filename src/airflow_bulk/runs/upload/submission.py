"""Bring every part of a source to the platform, over all tries of a task: plan, create, reconcile, send.

What an earlier try has done is read from the record; what is left to do is done here, and nothing else.
How it ends is judged in :mod:`airflow_bulk.runs.upload.run`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk import judging
from airflow_bulk.documents.source.parts import SourceChanged
from airflow_bulk.hooks.endpoint import without_credentials
from airflow_bulk.hooks.executions import UploadExecutions
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.runs.creation import find_baseline, find_or_create
from airflow_bulk.runs.reconcile import Reconciliation
from airflow_bulk.runs.record import Record
from airflow_bulk.runs.recorded_parts import PartState, RecordedPart, RecordedParts
from airflow_bulk.runs.skeleton import CANCEL_SECONDS
from airflow_bulk.runs.upload import approval, planning
from airflow_bulk.runs.upload.gate import UploadGate, target_of
from airflow_bulk.runs.upload.planning import SourcePlan
from airflow_bulk.runs.upload.shown import keep_findings, sending_state
from airflow_bulk.runs.upload.spread import found_in_stretches
from airflow_bulk.runs.upload.upload_source import UploadSource

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.files import FoundFile
    from airflow_bulk.documents.source.sampling import SampledLine
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.hooks.sending.pool import SenderPool
    from airflow_bulk.platforms.upload_port import UploadPort
    from airflow_bulk.runs.seen.selection import SeenFiles
    from airflow_bulk.runs.upload.progress import SendingProgress
    from airflow_bulk.runs.upload.spool import Spool

log = logging.getLogger(__name__)

#: Import id and organisation -> link to the import in the platform's console.
ConsoleUrl = Callable[[str, str | None], str | None]


@dataclasses.dataclass(frozen=True)
class ExistingImport:
    """An import given from outside.

    :param import_id: the import.
    :param exclusive: nobody else feeds it.
    """

    import_id: str
    exclusive: bool = False


class UploadSubmission:
    """The way of a source to the platform.

    :param args: what was asked for.
    :param hook: the platform.
    :param port: how the platform takes uploads.
    :param record: the task's memory.
    :param identity: dag, run, task and map index, for the reject file's name.
    :param push: pushes a value to XCom as soon as it is known.
    :param existing: the import to upload into; None creates one.
    :param console_url: how a person finds the import; None where the platform has no console.
    :param seen: which files are known across runs; None imports every file.
    :param progress: told how far the work has come, and before anything is sent; None tells the log.
    :param spool: makes the source by calling a function; None: the source is there.
    :ivar live: executions that this try wrote or adopted and that are not known to be over; in memory, for
        ``on_kill`` must not touch the record.
    """

    def __init__(
        self,
        args: UploadArguments,
        hook: PlatformHook,
        port: UploadPort,
        record: Record,
        *,
        identity: str,
        push: Callable[[str, Any], None],
        existing: ExistingImport | None = None,
        console_url: ConsoleUrl | None = None,
        progress: SendingProgress | None = None,
        spool: Spool | None = None,
        seen: SeenFiles | None = None,
    ) -> None:
        self.args = args
        self.hook = hook
        self.record = record
        self.port = port
        self.import_id: str | None = existing.import_id if existing else None
        self.existing = existing
        self.seen = seen
        self.source = UploadSource(args, spool, seen)
        self.started = time.time()
        self.plan: SourcePlan | None = None
        #: What this try's check has found, also where it refuses the source.
        self.found: SourcePlan | None = None
        #: Told each step, and what changes while parts are checked and sent; for the page.
        self.show: Callable[[str], None] = lambda _: None
        self.show_now: Callable[[dict[str, Any]], None] = lambda _: None
        self.recorded = RecordedParts.empty(record)
        self.live: set[str] = set()
        self.organisation_id: str | None = None
        self._identity = identity
        self._push = push
        self._console_url = console_url
        self._progress = progress
        self._baseline = ""
        self._fingerprint = ""
        self._unrecorded = False
        self._begun_before: str | None = None
        self._pool: SenderPool | None = None

    def open(self) -> None:
        """Read what earlier tries left; from now on this try may cancel what it takes over."""
        # Before the plan: a record of Airflow 3.3 is copied as it is read, and a plan alone says that nothing was sent.
        recorded = RecordedParts(self.record)
        self.read_plan()
        self.started, cleared = self.record.started(submitted=self.plan is not None)
        if self.plan is not None:
            self._fingerprint = self.plan.fingerprint
            self.recorded = recorded
        if cleared:
            for entry in self.recorded.entries:
                entry.given_up = 0
        self.hook.prepare()
        if self.seen is not None:
            self.seen.open()
        self._take_over()
        every = (one for entry in self.recorded.entries for one in entry.executions)
        self._begun_before = self.record.begin_try(max(every, key=judging.id_order, default=None))

    def read_plan(self) -> None:
        """Read the recorded plan, if there is one."""
        stored = self.record.read("plan")
        if stored is not None:
            self.plan = msgspec.convert(stored, SourcePlan)

    def is_of_an_earlier_try(self, execution_id: str) -> bool:
        """Whether an earlier try has begun it; that one's end may still cancel it."""
        return self._begun_before is not None and judging.id_order(execution_id) <= judging.id_order(
            self._begun_before
        )

    def _take_over(self) -> None:
        self.live.update(one.executions[-1] for one in self.recorded.entries if one.executions)

    # Submitting: everything up to the last recorded execution.

    def submit(self) -> bool:
        """Bring every part to the platform; return False where the source holds nothing to send.

        :raises Overdue: the task's own deadline passed while parts were still to be sent.
        """
        if self._planned():
            self._find_import()
            self.reconcile()
            if not self._to_send():
                return True
            approval.refuse_unexpected(
                self.args, self.port.place, [one.part for one in self.recorded.entries]
            )
        try:
            files, found = self._find_source()
            if not files:
                self.plan = SourcePlan(fingerprint="", files=[], file_count=0)
                return False
            self._fingerprint = found.fingerprint
            if self.plan is not None:
                planning.compare(self.plan, found, spread=bool(self.args.stretches))
        except SourceChanged:
            if self.args.on_source_change != "restart":
                raise
            return self._restart()
        found.layout = planning.layout_of(self.args, self.plan)
        rejects = None if self._planned() else planning.reject_file(self.args, self.file_name())
        try:
            with planning.open_pool(self.args, files, rejects, found.layout) as pool:
                self._pool = pool
                gate = self._gate(overlap=bool(self.args.sending.overlap))
                if not self._planned() and not self._first_pass(pool, gate, found, files, rejects):
                    return False
                self._send(pool, gate)
        finally:
            self._pool = None
            if rejects is not None:
                rejects.discard()  # does nothing to a finished file
        return True

    def _find_source(self) -> tuple[list[FoundFile], SourcePlan]:
        files, found = self.source.find(self.plan)
        if self.source.is_new:
            self.started, _ = self.record.started(submitted=False)
        return files, found

    def push_results(self, results: dict[str, Any]) -> None:
        """Push what a resend has to know, also where the task fails."""
        self._push("results", results)

    def _planned(self) -> bool:
        return self.plan is not None and self.plan.complete

    def _gate(self, *, overlap: bool) -> UploadGate:
        gate = UploadGate(
            self.recorded,
            self.port,
            credentials=self.hook.credentials,
            without_credentials=lambda reply: without_credentials(reply, self.hook.endpoint),
            recording=overlap,
            deadline=self._deadline,
            on_execution=self._note_execution,
            silence=self.hook.silence,
            progress=self._progress,
        )
        gate.progress.show = lambda state: self.show_now(sending_state(self.recorded.entries, state))
        return gate

    @property
    def _deadline(self) -> float:
        return self.started + self.args.timeout

    def _aim(self, pool: SenderPool) -> None:
        request = self.port.upload(str(self.import_id), self.args.mime_type)
        pool.aim(target_of(self.hook, request, self._deadline))

    def _note_execution(self, execution_id: str, organisation_id: str | None) -> None:
        self.live.add(execution_id)
        if organisation_id and not self.organisation_id:
            self.organisation_id = organisation_id
            self._push("console_url", self.console_url())

    def file_name(self) -> str:
        """How the files about this import's lines are named, before their kind: the same at every try."""
        return f"{self._identity}.g{self.record.generation}"

    def _first_pass(
        self, pool: SenderPool, gate: UploadGate, found: SourcePlan, files: Sequence[FoundFile], rejects: Any
    ) -> bool:
        """Check everything, judge it, and record the plan; with ``overlap`` parts leave meanwhile.

        :returns: False where no line is to be sent; nothing is recorded then.
        """
        if self.args.sending.overlap:
            self._find_import()
        # What the import holds can be told only once every part is known.
        if self.args.sending.overlap and not self._unrecorded:
            self._check_and_send(pool, gate, found, files, whole=rejects is not None)
        else:
            gate.progress.checking(planning.bytes_to_read(files, ()))
            planning.check_all_before_sending(pool, gate)
            if self.plan is None:
                self.recorded.forget()  # else an earlier try with overlap has sent parts: they stay recorded
        planning.still_the_same(self.source.args, files)
        parts = gate.all_parts()
        found.add_up(parts)
        found.rejects_uri = rejects.finish() if rejects is not None else ""
        keep_findings(self.record, gate.totals)
        self.found = found
        self.show("checked")
        try:
            planning.judge_plan(self.args, found, gate.totals)
            approval.refuse_unexpected(self.args, self.port.place, parts)
        except AirflowFailException:
            if self.live and self.args.cancel_on_kill:
                self.record.hold()
                self.cancel(sorted(self.live), CANCEL_SECONDS)
            raise
        if found.lines_to_send and not self.args.sending.overlap:
            gate.progress.before_sending(parts)
        self.plan = found
        if not found.lines_to_send:
            return False
        planning.hint_small_parts(parts, self.args.lines_worth_a_part)
        self.recorded.add(parts[len(self.recorded.entries) :])
        found.complete = True
        self.record.write("plan", msgspec.to_builtins(found))
        self._find_import()
        return True

    def _check_and_send(
        self,
        pool: SenderPool,
        gate: UploadGate,
        found: SourcePlan,
        files: Sequence[FoundFile],
        *,
        whole: bool,
    ) -> None:
        """Pass 1 with ``overlap``: each part is recorded and sent as soon as it is checked.

        A later try goes on after the last recorded part, unless reject rows are wanted: then it checks
        everything again, and what was not sent leaves in the second pass.

        :param whole: reject rows are wanted.
        """
        known = len(self.recorded.entries)
        if self.plan is None:
            self.recorded.forget()
            self.record.write("plan", msgspec.to_builtins(found))
            self.plan = found
        self.reconcile()
        self._aim(pool)
        again = whole and known
        gate.begin_after(0 if again else known)
        after = self.recorded.entries[-1].part if known and not again else None
        recorded = [entry.part for entry in self.recorded.entries] if after else []
        gate.progress.sending_unchecked(planning.bytes_to_read(files, recorded))
        jobs = pool.first_pass(send=not again, after=after)
        while True:
            pool.run(gate.unless_unreconciled(jobs), gate)
            if not gate.unreconciled:
                return
            self.reconcile_committed()
            time.sleep(gate.take_pause())

    def _find_import(self) -> None:
        """Create the import, or find the one an earlier try created; push its id at once."""
        if self.existing is None:
            self.import_id, unrecorded = find_or_create(
                self.hook,
                self.port,
                self.record,
                name=self.args.name,
                fields=self.args.fields,
                marked=self.args.sending.name_marker,
                settle=float(self.args.sending.settle),
                source=self._fingerprint,
            )
            self._unrecorded = unrecorded
            if unrecorded:
                self.recorded.doubt()
        elif not self._baseline:
            self._baseline = find_baseline(
                self.record,
                str(self.import_id),
                lambda: [one.id for one in self.executions().snapshots()],
                sent=any(one.executions or one.state is PartState.COMMIT for one in self.recorded.entries),
            )
        self._push("import_id", self.import_id)
        self._push("console_url", self.console_url())
        self.show("sending")

    def executions(self) -> UploadExecutions:
        """The import's executions; only once the import is known."""
        assert self.import_id is not None  # noqa: S101
        return UploadExecutions(self.hook, self.port, self.import_id)

    @functools.cached_property
    def marker(self) -> str | None:
        """The marker in the name of the import, by which a person finds this task from the platform's console.

        Only once the import is known, or the end is recorded.
        """
        if self.existing is not None or not self.args.sending.name_marker:
            return None
        return (self.record.read("import") or {}).get("marker")

    def reconcile(self) -> None:
        """Settle what an earlier act left; adopted executions become ours."""
        existing = self.existing
        Reconciliation(
            self.executions(),
            self.recorded,
            self.args.sending,
            own=existing is None,
            exclusive=bool(existing and existing.exclusive),
            cancels=not self._unrecorded,
            baseline=self._baseline,
        ).run()
        self._take_over()

    def reconcile_committed(self) -> None:
        """Settle, if anything is committed without an outcome."""
        if self.recorded.in_state(PartState.COMMIT):
            self.reconcile()

    def settle_sent(self) -> bool:
        """Find the import of what earlier tries have sent, and settle what they left; False where they have sent nothing."""
        if not self.recorded.in_state(PartState.COMMIT, PartState.SENT):
            return False
        self._find_import()
        self.reconcile_committed()
        return True

    def _to_send(self) -> list[RecordedPart]:
        return [one for one in self.recorded.entries if one.state is not PartState.SENT and one.part.lines]

    def _send(self, pool: SenderPool, gate: UploadGate) -> None:
        """Send until every part is recorded: look first where an answer was lost, wait where asked to."""
        self._aim(pool)
        self.reconcile_committed()
        gate.progress.sending([one.part for one in gate.to_send()])
        while gate.to_send():
            time.sleep(gate.take_pause())
            pool.run(gate.next_send(pool.needs_check), gate)
            self.reconcile_committed()

    def dry_run(self) -> tuple[SourcePlan, dict[str, Any]]:
        """Pass 1 alone: what would be sent, what would be refused, and by what a person approves it.

        The record is not touched.
        """
        sample: list[SampledLine] = []
        line_behind = 1
        files, found = self.source.find_dry()
        gate = self._gate(overlap=False)
        rejects = planning.reject_file(self.args, f"{self.file_name()}.dry")
        try:
            if files:
                with planning.open_pool(self.args, files, rejects) as pool:
                    self._pool = pool
                    gate.progress.checking(planning.bytes_to_read(files, ()))
                    planning.check_all_before_sending(pool, gate)
                    sample = approval.sample_of(pool, gate.all_parts(), self.args.sample)
                    line_behind = pool.line_behind
                planning.still_the_same(self.source.args, files)
            found.add_up(gate.all_parts())
            found.rejects_uri = rejects.finish() if rejects is not None else ""
        finally:
            self._pool = None
            if rejects is not None:
                rejects.discard()  # does nothing to a finished file
        planning.judge_plan(self.args, found, gate.totals)
        if files and not found.lines_read:
            planning.nothing_to_send(self.args, "The source holds no line.")
        approval.refuse_unexpected(self.args, self.port.place, gate.all_parts())
        log.info("Dry run: nothing was sent, and no import was created.")
        approvable = approval.approvable(self.args, self.port.place, gate.all_parts(), sample)
        if self.args.stretches:
            approvable |= found_in_stretches(line_behind, gate.totals)
        return found, approvable

    def sent(self) -> list[RecordedPart]:
        """Parts that have an execution."""
        return [one for one in self.recorded.entries if one.executions]

    @property
    def what(self) -> str:
        """The import in words, with its id."""
        return f"{self.port.noun} {self.import_id}"

    def console_url(self) -> str | None:
        """Link to the import in the platform's console; None where there is none, or while a piece is missing."""
        if self.import_id is None or self._console_url is None:
            return None
        return self._console_url(self.import_id, self.organisation_id)

    def _restart(self) -> bool:
        """The source changed and the caller wants it as it is now: cancel or declare what was sent, begin anew."""
        if self.recorded.entries:
            self._find_import()
            self.reconcile_committed()  # what may have been taken without our knowing is cancelled, or named, too
        left = self.cancel(sorted(self.live), CANCEL_SECONDS) if self.live else []
        log.warning(
            "The source changed: beginning again, as generation %d. The %s keeps what it has taken; "
            "not cancelled: %s.",
            self.record.generation + 1,
            self.what,
            judging.name_ids([one.id for one in left]) or "nothing",
        )
        self.live.clear()
        self.record.next_generation()
        self.plan, self.recorded = None, RecordedParts.empty(self.record)
        # The next generation's own import and baseline: recorded before anything of it is sent.
        self.import_id, self._baseline = self.existing.import_id if self.existing else None, ""
        self.__dict__.pop("marker", None)
        self.open()
        return self.submit()

    def cancel(self, executions: Sequence[str], seconds: float) -> list[RemoteSnapshot]:
        """Cancel executions of ours; return those that are neither cancelled nor over."""
        left = self.executions().cancel_pending(executions, seconds)
        if left:
            named = judging.name_ids([one.id for one in left])
            log.warning("Not cancelled, since only PENDING executions can be: %s.", named)
        return left

    def cut(self) -> None:
        """Stop sending at once; safe in a signal handler."""
        if self._pool is not None:
            self._pool.cut()
