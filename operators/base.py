"""The bases of the operators: of all remote work, and of all that upload a source.

The same path in both modes (ARCHITECTURE.md section 5.8): do all that can be done now, then wait; a resume, a
retry and a crash in any of them begin at ``execute`` again, and the record says what is left to do.
``docs/own_platform.md`` builds an operator for a platform of one's own on :class:`UploadOperator`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, conf

from airflow_bulk import arguments as read
from airflow_bulk.arguments import SendingOptions

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.error_files import ErrorFileReader
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.judging import KeepWaiting
    from airflow_bulk.platforms.upload_port import UploadPort
    from airflow_bulk.runs.record import Record
    from airflow_bulk.runs.seen.selection import SeenFiles
    from airflow_bulk.runs.skeleton import RemoteRun
    from airflow_bulk.runs.upload.run import UploadRun
    from airflow_bulk.runs.upload.spool import Spool
    from airflow_bulk.runs.upload.submission import ExistingImport, UploadSubmission
    from airflow_bulk.triggers.waiting import UploadTrigger


#: What is done with files that are known across runs, unless something else is said.
IMPORT_AGAIN = "import_again"


class RecordedOperator(BaseOperator):
    """Keeps a record over all tries, also where a clear deletes the task's state (Airflow 3.4).

    The record is copied into the state of one asset then. Airflow has to know that asset, so it is an inlet of the task.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inlets = with_record(self.inlets)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map the task: the inlet is given here, since a mapped task is not constructed where its DAG is parsed."""
        partial = super().partial(**kwargs)
        partial.kwargs["inlets"] = with_record(partial.kwargs.get("inlets") or [])
        return partial


def with_record(inlets: Any) -> list[Any]:
    """Inlets, and the asset of the record where this Airflow takes the record from a task that is cleared.

    By it Airflow 3.4 tells our tasks from all others, too.
    """
    from airflow_bulk.runs.record_copy import clears_discard, record_asset

    given = list(inlets) if isinstance(inlets, list | tuple | set) else [inlets]
    if not clears_discard() or record_asset() in given:
        return given
    return [*given, record_asset()]


def with_files(inlets: Any, on_seen: object) -> list[Any]:
    """Inlets, and the asset of the known files where they are asked for: a task can use the state of its own assets alone.

    :param on_seen: as it was given; a template may become anything.
    """
    given = list(inlets)
    if on_seen == IMPORT_AGAIN:
        return given
    from airflow_bulk.runs.seen.ledger import files_asset

    return given if files_asset() in given else [*given, files_asset()]


class RunOperator(RecordedOperator):
    """Run remote work (:mod:`airflow_bulk.runs.skeleton`): on a worker in a loop, or deferred between two polls."""

    #: Let the task end with its supervisor, so that an orphan does not work on for hours.
    ends_with_supervisor: ClassVar[bool] = True

    deferrable: bool
    _run: Any = None

    @abstractmethod
    def _open(self, context: Context) -> RemoteRun[Any]:
        """Read the arguments and open the record."""

    @abstractmethod
    def _trigger(self, run: Any, first: float) -> BaseTrigger:
        """What waits in the triggerer.

        :param first: seconds until its first poll.
        """

    def destination_uri(self, run: Any) -> str | None:
        """Return the asset URI of what the run writes to; None where it has none.

        It is the output in OpenLineage, and what an ``AssetAlias`` among the outlets becomes.

        :param run: what :meth:`_open` returned.
        """
        return None

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin, or go on where an earlier try stopped; see the class for the result."""
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.outlet_events import tell_outlets
        from airflow_bulk.runs.skeleton import ends_with_supervisor

        with ends_with_supervisor(self.ends_with_supervisor):
            with as_airflow_errors():
                run = self._run = self._open(context)
            with run.shown.failing(), as_airflow_errors():
                outcome = run.advance()
                while not isinstance(outcome, dict):
                    if self.deferrable:
                        self._wait_without_worker(run, outcome)
                    time.sleep(outcome.seconds)
                    outcome = run.advance()
                tell_outlets(context, self.outlets, outcome, self.destination_uri(run))
                return outcome

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger fired: the record says what is left to do, the platform how it ended."""
        from airflow_bulk.triggers.waiting import tell_event

        tell_event(event)
        return self.execute(context)

    def _wait_without_worker(self, run: RemoteRun[Any], outcome: KeepWaiting) -> None:
        from airflow_bulk.triggers.waiting import DEFERRAL_SLACK, first_poll

        rules = run.rules()
        left = timedelta(seconds=max(0.0, (rules.deadline or 0) - time.time()))
        self.defer(
            trigger=self._trigger(run, max(first_poll(), min(outcome.seconds, rules.poll_interval))),
            method_name="execute_complete",
            timeout=left + DEFERRAL_SLACK,
        )

    def on_kill(self) -> None:
        """Stop at once and cancel what still can be; what cannot is named in the log."""
        if self._run is not None:
            self._run.kill()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what was read, where it went, and how many lines; its provider calls this."""
        from airflow_bulk.runs.lineage import lineage_of

        run = self._run
        row = run.shown.row if run is not None else {}
        return lineage_of(
            row,
            run.sources() if run is not None else (),
            self.destination_uri(run) if row.get("id") else None,
            inlets=self.inlets,
            outlets=self.outlets,
        )

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the same of a run that failed: as far as it came."""
        return self.get_openlineage_facets_on_complete(task_instance)

    def _identity(self, context: Context) -> str:
        ti = context["ti"]
        mapped = f".{ti.map_index}" if (ti.map_index or 0) >= 0 and ti.map_index is not None else ""
        region = getattr(ti, "region_id", None)
        index = getattr(ti, "region_index", None)
        looped = f".{region.hex[:8]}.{index}" if region is not None and region.int else ""
        return f"{ti.dag_id}.{ti.run_id}.{ti.task_id}{mapped}{looped}"

    def _push(self, context: Context) -> Any:
        def push(key: str, value: Any) -> None:
            if value is not None:
                context["ti"].xcom_push(key=key, value=value)

        return push


class UploadOperator(RunOperator):
    """Check a source, send it in parts, wait, judge: everything accounted for, exactly once.

    A subclass says which platform: :meth:`hook`, :meth:`port`, :meth:`upload_arguments` and :meth:`upload_trigger`.
    It adds the arguments of its own that may be templates to ``template_fields``. DAG files import it, so it imports
    hook, port and trigger only inside these methods.

    For ``default_args`` and for mapping, Airflow reads the ``__init__`` of every class that an operator inherits from.
    So a subclass names its own arguments and ``source``, which must be given; it passes the others on in ``**kwargs``.

    :param source: file, pattern or URI (``s3://conn_id@bucket/key/*.gz``), or a list of them.
    :param max_failures: how many bad lines are tolerated, rejected and failed lines together: a count, or a share of
        the lines read (``"0.1%"``). ``"100%"`` never fails.
    :param rejects_path: folder or URI for an NDJSON file of rejected lines, and for the results file, which tells all bad
        lines; with None only their counts are kept.
    :param rejects_content: ``"line"`` or ``"position"``.
    :param error_file_reader: reads the platform's error files for the results file, where the default cannot tell the lines:
        an open binary file -> :class:`~airflow_bulk.documents.error_files.ErrorRow`. A function, no template.
    :param on_empty: ``"fail"``, ``"skip"`` or ``"ok"`` when there is nothing to send.
    :param on_clear: what clearing a success does: ``"import_again"``, or ``"keep"`` the recorded result.
    :param on_source_change: ``"fail"``, or ``"restart"`` when the source changed between tries.
    :param on_seen: what becomes of files that an earlier import has brought: ``"import_again"``, ``"skip"`` them, or ``"fail"``.
    :param seen_as: the name that stays the same over all runs; with the connection, the place on the platform and the document
        type it says which imports share what they know.
    :param seen_days: how many days a file is known that no import finds any more.
    :param seen_files: how many files are known at most that no import has found for 32 days.
    :param dry_run: only check the source, and report what would be sent and what would be refused.
    :param sample: of a dry run: so many of the lines that would be sent are told by a hash.
    :param expect_fingerprint: the ``fingerprint`` that a dry run has returned: nothing is sent but what it has found.
        One that is given and is empty or None is refused.
    :param sending: how the source is cut and sent: :class:`~airflow_bulk.arguments.SendingOptions`, or a dict of its fields.
    :param wait_for_completion: False ends the task when everything is sent; accepted and failed lines are then None.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param timeout: time from the first submission to the deadline (a timedelta, or seconds); retries and deferrals
        do not move the deadline.
    :param cancel_on_kill: cancel the executions that have not begun when the task is stopped or late.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = (
        "source",
        "max_failures",
        "rejects_path",
        "rejects_content",
        "on_empty",
        "on_clear",
        "on_source_change",
        "on_seen",
        "seen_as",
        "seen_days",
        "seen_files",
        "check_only",
        "sample",
        "expect_fingerprint",
        "sending",
        "wait_for_completion",
        "poll_interval",
        "timeout",
        "cancel_on_kill",
    )

    _record: Record | None = None

    def __init__(
        self,
        *,
        source: str | Sequence[str],
        max_failures: int | str = 0,
        rejects_path: str | None = None,
        rejects_content: str = read.LINE_BY_DEFAULT,
        error_file_reader: ErrorFileReader | None = None,
        on_empty: str = "fail",
        on_clear: str = "import_again",
        on_source_change: str = "fail",
        on_seen: str = IMPORT_AGAIN,
        seen_as: str | None = None,
        seen_days: float | str = 90,
        seen_files: int | str = 10_000,
        dry_run: bool | str = False,
        sample: int | str = 0,
        expect_fingerprint: str | None = read.NOTHING_EXPECTED,
        sending: SendingOptions | Mapping[str, Any] = SendingOptions(),  # noqa: B008  (frozen)
        wait_for_completion: bool | str = True,
        poll_interval: float | str = 30.0,
        timeout: timedelta | float | str = timedelta(hours=6),
        cancel_on_kill: bool | str = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inlets = with_files(self.inlets, on_seen)
        self.source = source
        self.max_failures = max_failures
        self.rejects_path = rejects_path
        self.rejects_content = read.unless_default(rejects_content)
        self.error_file_reader = error_file_reader
        self.on_empty = on_empty
        self.on_clear = on_clear
        self.on_source_change = on_source_change
        self.on_seen = on_seen
        self.seen_as = seen_as
        self.seen_days = seen_days
        self.seen_files = seen_files
        self.check_only = dry_run  # BaseOperator.dry_run is a method
        self.sample = sample
        self._is_bound = expect_fingerprint is not read.NOTHING_EXPECTED
        self.expect_fingerprint = expect_fingerprint if self._is_bound else None
        self.sending = SendingOptions.of(sending)
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self.deferrable = deferrable

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map the task: the inlets are given here."""
        partial = super().partial(**kwargs)
        partial.kwargs["inlets"] = with_files(partial.kwargs["inlets"], kwargs.get("on_seen", IMPORT_AGAIN))
        return partial

    @abstractmethod
    def hook(self) -> PlatformHook:
        """Return the platform's hook for the connection that the operator was given."""

    @abstractmethod
    def port(self, hook: Any) -> UploadPort:
        """Return how the platform takes uploads.

        :param hook: what :meth:`hook` returned.
        """

    @abstractmethod
    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: Any
    ) -> UploadArguments:
        """Read the operator's arguments.

        :param given: all ``template_fields``, rendered, by the names that users know.
        :param hook: what :meth:`hook` returned.
        :raises ArgumentError: naming the argument that cannot be used.
        """

    @abstractmethod
    def upload_trigger(self, port: Any, **waiting: Any) -> UploadTrigger:
        """Make the trigger that waits in the triggerer.

        :param waiting: what :class:`~airflow_bulk.triggers.waiting.UploadTrigger` takes, but for ``conn_id``.
        """

    def existing_import(self) -> ExistingImport | None:
        """Return the import to upload into; None creates one."""
        return None

    def console_url(self, hook: Any, port: Any) -> Callable[[str, str | None], str | None] | None:
        """Return the function that makes a link from an import's id and its organisation; None: there is no console."""
        return None

    def seen_in(self, hook: Any, port: Any) -> str:
        """Return what tells, within a connection, where files are known: an account, a datamart; empty for one place alone."""
        return ""

    def _seen_files(self, context: Context, args: UploadArguments, hook: Any, port: Any) -> SeenFiles | None:
        if args.seen is None or self._record is None:
            return None
        from airflow_bulk.runs.seen.ledger import Scope
        from airflow_bulk.runs.seen.selection import SeenFiles

        scope = Scope(hook.conn_id, self.seen_in(hook, port), args.document_type, args.seen.seen_as)
        return SeenFiles.of(context, self._record, args.seen, scope)

    def _open(self, context: Context) -> UploadRun:
        from airflow_bulk.runs.upload.run import UploadRun

        return UploadRun(self._make_work(context)(), self.error_file_reader)

    def _make_work(self, context: Context) -> Callable[[], UploadSubmission]:
        """Read the arguments and open the record; return what makes the way of the source to the platform."""
        from airflow_bulk.runs.record import Record
        from airflow_bulk.runs.upload.submission import UploadSubmission

        record = self._record = Record.of(context)
        hook = self.hook()
        sending = self.sending.rendered(lambda text: self.render_template(text, context))
        args = self.upload_arguments(self._given(), sending, hook)
        port = self.port(hook)
        return lambda: UploadSubmission(
            args,
            hook,
            port,
            record,
            identity=self._identity(context),
            push=self._push(context),
            existing=self.existing_import(),
            console_url=self.console_url(hook, port),
            spool=self._spool_of(args, context),
            seen=self._seen_files(context, args, hook, port),
        )

    def _spool_of(self, args: UploadArguments, context: Context) -> Spool | None:
        """What makes the source by calling a function; None: the source is there."""
        return None

    def _given(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.template_fields}
        if self._is_bound and self.expect_fingerprint is None:
            # What was given and says nothing, a template or a mapped value, must not lift the restriction.
            given["expect_fingerprint"] = ""
        return {"dry_run": given.pop("check_only", False), **given}

    def _trigger(self, run: UploadRun, first: float) -> UploadTrigger:
        rules = run.rules()
        return self.upload_trigger(
            run.work.port,
            import_id=str(run.work.import_id),
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            cancel_on_kill=run.args.cancel_on_kill,
            first=first,
            **run.trigger_scope(),
        )
