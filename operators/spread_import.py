"""One document import spread over several tasks, for a source that one worker cannot send in time.

``SpreadImportTaskGroup`` plans once, checks and sends groups of the source in mapped tasks, and judges once. Its steps are
operators, too: a DAG that needs another order can put them together itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, TaskGroup, TriggerRule

from airflow_bulk import arguments as read
from airflow_bulk.operators.document_import import ImportDocumentsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_bulk.arguments import SendingOptions, UploadArguments
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.runs.upload.spread import SpreadGroup

#: A mapped task has as many instances; Airflow's own limit (``core.max_map_length``) is 1,024 unless it is changed.
MOST_GROUPS = 1_000
#: What the group decides itself, and why.
NOT_ASKED = {
    "dry_run": "is no argument of a spread import: its task check is the dry run",
    "sample": "is no argument of a spread import: only a dry run has a sample",
    "expect_fingerprint": "is no argument of a spread import: each group is bound to what its own check has found",
    "on_source_change": "cannot be 'restart' in a spread import: no task can begin anew alone",
    "on_seen": "is no argument of a spread import: a file may be in the hands of several tasks",
    "wait_for_completion": "must be true in a spread import: its last task adds up what the platform has counted",
}


class PlanSpreadOperator(ImportDocumentsOperator):
    """Cut a source on line borders into groups of about equal bytes; return them, small values without a line.

    A few bytes around each border are read. A retry and a clear find the same groups as long as the source is what it was.

    :param spread: how many groups; there are fewer where the source has fewer lines, or fewer compressed files.
    :param import_arguments: those of :class:`~airflow_bulk.operators.document_import.ImportDocumentsOperator`.
    """

    def __init__(self, *, spread: int, **import_arguments: Any) -> None:
        super().__init__(**import_arguments)
        self.spread = spread

    def execute(self, context: Context) -> list[dict[str, Any]]:  # type: ignore[override]
        """Find the files and cut them."""
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.record import Record
        from airflow_bulk.runs.upload.spread import plan_groups

        with as_airflow_errors():
            sending = self.sending.rendered(lambda text: self.render_template(text, context))
            args = self.upload_arguments(self._given(), sending, self.hook())
            return plan_groups(args, self.spread, Record.of(context, ends=False))


class ImportSpreadOperator(ImportDocumentsOperator):
    """Import one group of a spread source, with all promises; the name on the platform tells which: ``name (2 of 4)``.

    Returns what ``ImportDocumentsOperator`` returns, and ``group``, its number.

    :param group: of :class:`PlanSpreadOperator` for a dry run, of :class:`JudgeSpreadCheckOperator` to send; made to be mapped.
    :param import_arguments: those of :class:`~airflow_bulk.operators.document_import.ImportDocumentsOperator`; ``source`` is the
        whole one.
    """

    def __init__(
        self, *, group: Mapping[str, Any], source: str | Sequence[str], **import_arguments: Any
    ) -> None:
        super().__init__(source=source, **import_arguments)
        self.group = group

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the group, or go on where an earlier try stopped."""
        return {**super().execute(context), "group": self._group().number}

    def _group(self) -> SpreadGroup:
        import msgspec

        from airflow_bulk.runs.upload.spread import SpreadGroup

        return msgspec.convert(self.group, SpreadGroup)

    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: MediarithmicsHook
    ) -> UploadArguments:
        """Read the arguments, of the group alone."""
        group = self._group()
        args = super().upload_arguments(given, sending, hook)
        refused = {
            "on_source_change": args.on_source_change == "restart",
            "on_seen": args.seen is not None,
            "wait_for_completion": not args.wait_for_completion,
        }
        for name in (name for name, is_refused in refused.items() if is_refused):
            raise read.ArgumentError(name, NOT_ASKED[name])
        if sending.overlap:
            raise read.ArgumentError(
                "sending.overlap",
                "must be false in a spread import: all groups are checked before one is sent",
            )
        return dataclasses.replace(
            args,
            name=f"{args.name} ({group.number} of {group.of})",
            stretches=tuple(group.stretches),
            expect_fingerprint=group.fingerprint,
        )


class _JudgingOperator(BaseOperator):
    """What the two judging steps share."""

    template_fields: Sequence[str] = ("groups", "results", "max_failures")

    def __init__(self, *, groups: Any, results: Any, max_failures: int | str = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups
        self.results = results
        self.max_failures = max_failures

    def _given(self) -> tuple[list[SpreadGroup], list[Any]]:
        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_bulk.runs.upload.spread import read_groups

        groups = read_groups(self.groups)
        if groups is None:
            raise AirflowSkipException("Nothing was sent (on_empty='skip').")
        # A slice asks once; going through them asks for one that is not there, too, which is an error in the log.
        return groups, list(self.results[:] if self.results is not None else ())


class JudgeSpreadCheckOperator(_JudgingOperator):
    """Judge the rejected lines of all groups before anything is sent; return the groups for those who send.

    :param groups: of :class:`PlanSpreadOperator`.
    :param results: of the dry runs of all groups.
    :param max_failures: how many bad lines are tolerated over all groups.
    :param max_deletions: with more lines than this nothing is sent, for the types that delete. Not a template field.
    :param on_empty: ``"fail"``, ``"skip"`` or ``"ok"`` when no group has a line.
    """

    template_fields: Sequence[str] = (*_JudgingOperator.template_fields, "on_empty")

    def __init__(
        self,
        *,
        groups: Any,
        results: Any,
        max_failures: int | str = 0,
        max_deletions: int | None = None,
        on_empty: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(groups=groups, results=results, max_failures=max_failures, **kwargs)
        self.max_deletions = read.never_a_template("max_deletions", max_deletions)
        self.on_empty = on_empty

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Judge, and number the lines."""
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.upload.spread import SpreadLimits, judge_check

        with as_airflow_errors():
            groups, results = self._given()
            limits = SpreadLimits(
                tolerance=read.read_tolerance(self.max_failures),
                max_deletions=self.max_deletions,
                on_empty=read.choice("on_empty", self.on_empty, ("fail", "skip", "ok")),
            )
            return judge_check(groups, results, limits)


class JudgeSpreadOperator(_JudgingOperator):
    """Add up the imports of all groups and judge them once; see :class:`SpreadImportTaskGroup` for the result.

    :param groups: of :class:`JudgeSpreadCheckOperator`.
    :param results: of the imports of all groups.
    :param max_failures: how many bad lines are tolerated over all groups, rejected and failed ones together.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Add up and judge."""
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.upload.spread import judge_imports

        with as_airflow_errors():
            groups, results = self._given()
            return judge_imports(groups, results, read.read_tolerance(self.max_failures))


class SpreadImportTaskGroup(TaskGroup):
    """Import a source with several tasks at the same time, each of which sends a part of it as an import of its own.

    Five tasks: ``plan`` cuts the source on line borders into groups of about equal bytes, and reads almost nothing;
    ``check``, mapped over the groups, checks every line; ``judge_check`` judges the rejected lines of all groups once, before
    anything is sent; ``send``, mapped, imports each group with all promises of
    :class:`~airflow_bulk.operators.document_import.ImportDocumentsOperator`; ``judge`` adds up and judges once.
    With ``spread=1`` the group is one task, ``import``, an ``ImportDocumentsOperator`` with the same arguments.

    ``output`` is the result of the last task: the counts of all imports together, ``seconds`` of the longest one,
    ``execution_ids``, ``error_file_uris``, ``import_ids``, ``rejects_uris``, ``results_uris``, and ``imports``: of each import its ``group``,
    id, link, counts and files. ``imports`` is what each ``send`` returns, to be mapped over; None with ``spread=1``.

    :param group_id: the group's id.
    :param spread: how many groups; there are fewer where the source has fewer lines, or fewer compressed files.
    :param source: as for ``ImportDocumentsOperator``; every worker must reach it. A compressed file stays whole.
    :param max_failures: how many bad lines are tolerated over all groups.
    :param on_empty: ``"fail"``, ``"skip"`` or ``"ok"`` when there is nothing to send.
    :param default_args: of the group's tasks, over those of the DAG.
    :param tooltip: of the group.
    :param arguments: all others of ``ImportDocumentsOperator`` and of any task, but ``dry_run``, ``sample``, ``expect_fingerprint``,
        ``on_source_change``, ``on_seen`` and ``wait_for_completion``. ``outlets`` are those of ``send``: an event for each import.
    :raises ArgumentError: an argument that has no meaning here.
    """

    #: Checks and sends a group; a subclass of it may stand here.
    importer: ClassVar[type[ImportSpreadOperator]] = ImportSpreadOperator

    def __init__(
        self,
        group_id: str,
        *,
        spread: int,
        source: Any,
        max_failures: int | str | None = None,
        on_empty: str | None = None,
        default_args: dict[str, Any] | None = None,
        tooltip: str = "",
        **arguments: Any,
    ) -> None:
        count = read.integer("spread", spread, least=1)
        if count > MOST_GROUPS:
            raise read.ArgumentError("spread", f"must be {MOST_GROUPS} at most")
        more: dict[str, Any] = {"default_args": default_args} if default_args else {}
        super().__init__(group_id=group_id, tooltip=tooltip, **more)
        arguments["source"] = source
        limits = {"max_failures": max_failures, "on_empty": on_empty}
        # What is not given may stand in the default_args.
        given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
        with self:
            if count == 1:
                self.imports: XComArg | None = None
                self.output: XComArg = ImportDocumentsOperator(task_id="import", **given, **arguments).output
                return
            for name in set(NOT_ASKED) & set(arguments):
                raise read.ArgumentError(name, NOT_ASKED[name])
            self.output = self._make_tasks(count, given, arguments)

    def _make_tasks(self, count: int, limits: dict[str, Any], arguments: dict[str, Any]) -> XComArg:
        before = {name: value for name, value in arguments.items() if name != "outlets"}
        on_empty = {name: value for name, value in limits.items() if name == "on_empty"}
        plan = PlanSpreadOperator(task_id="plan", spread=count, **on_empty, **before)
        unjudged = {"max_failures": "100%", "on_empty": "ok"}
        check = self.importer.partial(
            task_id="check", dry_run=True, **unjudged, **{**before, "deferrable": False}
        ).expand(group=plan.output)
        judge_check = JudgeSpreadCheckOperator(
            task_id="judge_check",
            groups=plan.output,
            results=check.output,
            trigger_rule=TriggerRule.NONE_FAILED,
            **limits,
            **{name: value for name, value in arguments.items() if name == "max_deletions"},
        )
        send = self.importer.partial(task_id="send", **unjudged, **arguments).expand(group=judge_check.output)
        self.imports = send.output
        judge = JudgeSpreadOperator(
            task_id="judge",
            groups=judge_check.output,
            results=send.output,
            trigger_rule=TriggerRule.NONE_FAILED,
            **{name: value for name, value in limits.items() if name == "max_failures"},
        )
        output: XComArg = judge.output
        return output
