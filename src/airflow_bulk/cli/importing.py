"""``airflow bulk import``: a whole import outside of any DAG, by the code of ``ImportDocumentsOperator``.

A task has Airflow behind it: a record that survives, retries, a triggerer. Here there is this process, and with
``--record`` a file. The help, and the first lines of each run, say which promises hold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_bulk.cli.connecting import opened
from airflow_bulk.cli.errors import Ended, ended_by
from airflow_bulk.cli.output import NOT_GOOD, Output, command
from airflow_bulk.cli.progress import Bars
from airflow_bulk.cli.record_file import must_be_a_name, open_record
from airflow_bulk.cli.recorded_source import was_over
from airflow_bulk.cli.sources import read_import
from airflow_bulk.cli.stopping import Cancelled, Signals, Stopped, cancel_pending
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.judging import KeepWaiting, how_many
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics.document_import_calls import list_document_imports
from airflow_bulk.runs.recorded_parts import PartState
from airflow_bulk.runs.upload.progress import gigabytes
from airflow_bulk.runs.upload.run import UploadRun
from airflow_bulk.runs.upload.submission import UploadSubmission

if TYPE_CHECKING:
    import argparse

    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.parts import Part
    from airflow_bulk.platforms.mediarithmics.document_import_calls import DocumentImports
    from airflow_bulk.runs.record import Record

HOLDS = "Every line is accounted for, or the command fails. Ctrl-C cancels what is still PENDING and names what goes on."
WITHOUT_RECORD = (
    "A killed process does not go on, and nobody cancels what it has sent: use --record FILE, or a DAG."
)
WITH_RECORD = "The same command with the same record goes on where this one stops, also after a kill."


@command
def import_documents(args: argparse.Namespace, output: Output) -> int:
    """Check, ask, send, wait and judge."""
    arguments = read_import(args)
    must_be_a_name(args.record)
    if not args.yes:
        output.must_be_able_to_ask()
    hook = opened(MediarithmicsHook(args.conn_id))
    port = hook.document_imports(args.datamart_id)
    # A token that is refused is better known before hours of checking than after.
    hook.send(list_document_imports(port.datamart_id, max_results=1))
    with open_record(args.record, _asked(arguments, hook, port)) as record:
        return _Import(args, arguments, hook, port, record, output).run()


def _asked(arguments: UploadArguments, hook: MediarithmicsHook, port: DocumentImports) -> dict[str, Any]:
    """What must be the same over all runs of the command with one record."""
    server = urlsplit(hook.endpoint.base_url)
    return {
        # Without a user and a password, which an address may hold.
        "server": f"{server.scheme}://{server.netloc.rpartition('@')[2].lower()}{server.path}",
        "name": arguments.name,
        "document_type": arguments.document_type,
        "mime_type": arguments.mime_type,
        "datamart": port.datamart_id,
        "files": list(arguments.source),
    }


class _Import:
    """One run of the command."""

    def __init__(
        self,
        args: argparse.Namespace,
        arguments: UploadArguments,
        hook: MediarithmicsHook,
        port: DocumentImports,
        record: Record,
        output: Output,
    ) -> None:
        self._args, self._arguments, self._output = args, arguments, output
        self._record, self._conn_id, self._datamart = record, hook.conn_id, port.datamart_id
        self._told: dict[str, Any] = {}
        self._bars = Bars(output, self._ask)
        self._work = UploadSubmission(
            arguments,
            hook,
            port,
            record,
            identity=f"airflow-bulk-import.{record.identity.run_id[:12]}",
            push=self._push,
            console_url=lambda import_id, owner: hook.console_url(import_id, port.datamart_id, owner),
            progress=self._bars,
        )

    def run(self) -> int:
        self._introduce()
        already = was_over(self._record, self._arguments, self._args.record)
        result: dict[str, Any] | None = None
        try:
            with Signals() as signals, self._bars:
                try:
                    result = self._until_over(UploadRun(self._work), signals)
                except Stopped as stopped:
                    self._bars.close()
                    raise self._stopped(stopped, signals) from None
        except Stopped:
            if result is None:
                raise
            # Everything was over in that moment, and there is nothing to stop.
        if already:
            self._output.tell("Imported before, by this record; nothing was sent now.")
            result = {"already": True, **result}
        try:
            self._tell_result(result)
        except BrokenPipeError:  # everything is imported, whoever hears of it
            self._output.tell(_say_result(result))
        except Ended as ended:
            raise Ended(f"{ended.text} {_say_result(result)}", ended.code) from None
        return 0

    def _until_over(self, run: UploadRun, signals: Signals) -> dict[str, Any]:
        try:
            outcome: KeepWaiting | dict[str, Any] = run.advance()
            while not isinstance(outcome, dict):
                self._bars.waiting(outcome.totals)
                time.sleep(outcome.seconds)
                outcome = run.advance()
        except Exception as error:  # noqa: BLE001  (said by the caller; first, nothing may be left behind)
            if signals.number:  # what a library made of the interruption
                raise Stopped(signals.number) from None
            self._bars.close()
            raise self._failed(error, signals) from None
        return outcome

    # Before anything is sent.

    def _introduce(self) -> None:
        type_, place = self._arguments.document_type, f"datamart {self._datamart}, connection {self._conn_id}"
        self._output.tell(f"Import of {type_} into {place}.")
        self._output.tell(HOLDS)
        self._output.tell(WITH_RECORD if self._args.record else WITHOUT_RECORD)

    def _ask(self, parts: Sequence[Part]) -> None:
        if self._args.yes:
            return
        lines = sum(part.lines for part in parts)
        sent = [part for part in parts if part.lines]
        rejected = sum(part.rejected for part in parts)
        what = f"{lines:,} {self._arguments.document_type} {'line' if lines == 1 else 'lines'}"
        question = (
            f"Send {what} in {how_many(len(sent), 'part')} ({gigabytes(sum(part.body for part in sent))}), {rejected:,} "
            f"rejected, to datamart {self._datamart} over connection {self._conn_id}?"
        )
        if not self._output.asks(question):
            raise Ended("Nothing was sent.", NOT_GOOD)

    def _push(self, key: str, value: Any) -> None:
        if value is None or self._told.get(key) == value:
            return
        self._told[key] = value
        if key == "import_id":
            self._output.tell(f"Sending into document import {value}.")

    # Ends.

    def _tell_result(self, result: dict[str, Any]) -> None:
        self._output.document({"ok": True, **result})
        self._output.sentence(_say_result(result))
        if result["rejects_uri"]:
            self._output.line(f"Rejected lines: {result['rejects_uri']}")
        if result["results_uri"] and result["lines_failed"]:
            self._output.line(f"All bad lines: {result['results_uri']}")
        if result["import_id"] is not None and result["console_url"]:
            self._output.line(result["console_url"])

    def _failed(self, error: Exception, signals: Signals) -> Ended:
        """Say why, and what became of what was sent: only a record lets somebody go on with it."""
        ended = ended_by(error)
        if self._work.import_id is None:
            return ended
        details: dict[str, Any] = {"import_id": self._work.import_id}
        end = self._record.end()
        if end is not None:  # it was judged: everything is over
            return Ended(ended.text, ended.code, **{**end.result, **ended.details})
        sent, every = len(self._work.sent()), len(self._work.recorded.entries)
        text = (
            f"{ended.text} Document import {self._work.import_id}: {sent} of {how_many(every, 'part')} sent."
        )
        if self._args.record:
            text += f" The same command with --record {self._args.record} goes on."
        else:
            cancelled = self._cancel(signals)
            text += f" {cancelled.say('Nobody goes on with it, so')}{self._later(cancelled)}"
            details |= cancelled.report()
        return Ended(text, ended.code or NOT_GOOD, **details)

    def _stopped(self, stopped: Stopped, signals: Signals) -> Ended:
        import_id = self._work.import_id
        if import_id is None:
            created = self._record.read("import")
            text = (
                f"An import {created['name']!r} may just have been created; it holds nothing."
                if created
                else "Nothing was sent."
            )
            return Ended(text, stopped.code, stopped=True)
        cancelled = self._cancel(signals)
        sent, every = len(self._work.sent()), len(self._work.recorded.entries)
        text = (
            cancelled.say(f"Document import {import_id}")
            + f" {sent} of {how_many(every, 'part')} had been sent."
        )
        text += self._later(cancelled)
        if self._args.record:
            text += f" The same command with --record {self._args.record} goes on."
        return Ended(text, stopped.code, stopped=True, import_id=import_id, **cancelled.report())

    def _later(self, cancelled: Cancelled) -> str:
        """What a person can do about executions that may still be PENDING."""
        if not cancelled.pending and not cancelled.unproved:
            return ""
        return f" To cancel them later: airflow bulk executions cancel {self._work.import_id}."

    def _cancel(self, signals: Signals) -> Cancelled:
        """Cancel everything of this import that is PENDING: nothing else feeds it."""
        self._output.tell("Looking for what can be cancelled.")
        unanswered = bool(self._work.recorded.in_state(PartState.COMMIT))
        with Bars(self._output) as bars:
            return cancel_pending(
                # A hook of its own: the interrupted one may have stopped in the middle of a call.
                self._fresh_executions(),
                settle=float(self._arguments.sending.settle) if unanswered else 0.0,
                tell=self._telling(bars),
                signals=signals,
            )

    def _fresh_executions(self) -> Any:
        try:
            hook = opened(MediarithmicsHook(self._conn_id))
        except (Ended, PlatformError):
            return self._work.executions()
        return hook.executions(str(self._work.import_id), self._datamart)

    def _telling(self, bars: Bars) -> Any:
        begun = False

        def tell(done: int, total: int) -> None:
            nonlocal begun
            if not total:
                return
            if not begun:
                begun = True
                self._output.tell(
                    f"Cancelling {total:,} PENDING {'execution' if total == 1 else 'executions'}."
                )
                bars.counting("Cancelling", total)
            bars.count(done, total)

        return tell


def _say_result(result: dict[str, Any]) -> str:
    """The result in one sum."""
    if result["import_id"] is None:
        return f"Nothing to send: {result['lines_read']:,} lines read, {result['lines_rejected']:,} rejected."
    accepted, failed = result["lines_accepted"], result["lines_failed"]
    counted = (
        f"{accepted:,} accepted + {failed:,} failed"
        if accepted is not None
        else f"{result['lines_read'] - result['lines_rejected']:,} sent, not waited for"
    )
    return (
        f"Document import {result['import_id']}: {result['lines_read']:,} lines read = {result['lines_rejected']:,} rejected + "
        f"{counted}. {how_many(result['parts'], 'part')}, {gigabytes(result['bytes'])}, {result['seconds']:.1f} s."
    )
