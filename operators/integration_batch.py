"""Integration batches of mediarithmics: ensure they exist, run them, pause and resume their cron.

The builders of typed properties (``string_property`` and so on) can be imported from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf

from airflow_bulk import arguments as read
from airflow_bulk.links import IntegrationBatchLink
from airflow_bulk.operators.base import RecordedOperator, RunOperator
from airflow_bulk.platforms.mediarithmics.plugin_properties import (
    PluginProperty,
    ad_layout_property,
    asset_file_property,
    asset_folder_property,
    asset_property,
    boolean_property,
    data_file_property,
    double_property,
    int_property,
    native_property,
    pixel_tag_property,
    recommender_property,
    string_property,
    style_sheet_property,
    url_property,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.integration_batch.run import IntegrationBatchRun

__all__ = [
    "EnsureIntegrationBatchOperator",
    "PauseIntegrationBatchOperator",
    "PluginProperty",
    "ResumeIntegrationBatchOperator",
    "RunIntegrationBatchOperator",
    "ad_layout_property",
    "asset_file_property",
    "asset_folder_property",
    "asset_property",
    "boolean_property",
    "data_file_property",
    "double_property",
    "int_property",
    "native_property",
    "pixel_tag_property",
    "recommender_property",
    "string_property",
    "style_sheet_property",
    "url_property",
]


class EnsureIntegrationBatchOperator(RecordedOperator):
    """Make the plugin, the version and the instance exist as declared; safe to run and retry as often as you like.

    It does **not** upload code, and it does **not** release a DRAFT version: both are done in the console. A version
    that it creates is a DRAFT (mediarithmics.md section 7.2 [documented]).

    Plugins and versions are create-only. When the version exists and its properties differ from the declared ones,
    the task fails, lists the differences (never a value) and proposes the next ``version_id``. A field of the instance
    that is declared and differs is set to what is declared; a field that is not declared stays as it is.

    Returns a dictionary with ``plugin_id``, ``version_id`` (the row id), ``version``, ``instance_id``, ``created``,
    ``updated`` and ``console_url``.

    :param group_id: such as ``com.customer.plugintype``.
    :param artifact_id: the plugin's artifact; must differ from ``group_id``.
    :param version_id: as people write it (``1.0.0``), or the row id of a version that exists (conflict 3).
    :param name: name of the instance, by which it is found again among those of the plugin.
    :param plugin_properties: properties of the version, ``provider`` and ``name`` among them; with None the version
        must exist, and its properties are not compared.
    :param instance_properties: properties that are set on the instance and not on the version.
    :param cron: five fields, in UTC; together with ``cron_status`` or not at all.
    :param cron_status: ``ACTIVE`` or ``PAUSED``.
    :param ram_size: ``LOW``, ``MEDIUM``, ``LARGE`` or ``EXTRA_LARGE`` (``XL`` too); None is LOW for a new instance and
        leaves another as it is.
    :param cpu_size: as ``ram_size``.
    :param disk_size: as ``ram_size``.
    :param size_fields: how sizes are spelled when sent: ``"documented"`` or ``"execution_container"``, as the console does (conflict 2).
    :param organisation_id: None takes the connection's.
    :param settle: seconds to wait until the platform lists an object whose creation got no answer.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    """

    template_fields: Sequence[str] = (
        "group_id",
        "artifact_id",
        "version_id",
        "name",
        "plugin_properties",
        "instance_properties",
        "cron",
        "cron_status",
        "ram_size",
        "cpu_size",
        "disk_size",
        "size_fields",
        "organisation_id",
        "settle",
    )
    operator_extra_links = (IntegrationBatchLink(),)
    ui_color = "#dcefcf"

    def __init__(
        self,
        *,
        group_id: str,
        artifact_id: str,
        version_id: str,
        name: str,
        plugin_properties: Sequence[PluginProperty] | None = None,
        instance_properties: Sequence[PluginProperty] = (),
        cron: str | None = None,
        cron_status: str | None = None,
        ram_size: str | None = None,
        cpu_size: str | None = None,
        disk_size: str | None = None,
        size_fields: str = "documented",
        organisation_id: str | int | None = None,
        settle: float | str = 5.0,
        mediarithmics_conn_id: str = "mediarithmics_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group_id = group_id
        self.artifact_id = artifact_id
        self.version_id = version_id
        self.name = name
        self.plugin_properties = plugin_properties
        self.instance_properties = instance_properties
        self.cron = cron
        self.cron_status = cron_status
        self.ram_size = ram_size
        self.cpu_size = cpu_size
        self.disk_size = disk_size
        self.size_fields = size_fields
        self.organisation_id = organisation_id
        self.settle = settle
        self.mediarithmics_conn_id = mediarithmics_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare the declaration with the platform, create what is missing, and update what differs."""
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.integration_batch.arguments import read_declaration
        from airflow_bulk.runs.integration_batch.declaration import DeclarationRun
        from airflow_bulk.runs.record import Record

        with as_airflow_errors():
            declared = read_declaration({name: getattr(self, name) for name in self.template_fields})
            hook = MediarithmicsHook(self.mediarithmics_conn_id)
            settle = read.number("settle", self.settle)
            result = DeclarationRun(declared, hook, Record.of(context), settle=settle).run()
            for key in ("instance_id", "console_url"):
                if result[key] is not None:
                    context["ti"].xcom_push(key=key, value=result[key])
            return result


class RunIntegrationBatchOperator(RunOperator):
    """Run a batch instance once, now or at a time, wait for its end, judge it: exactly one run over all tries.

    Kill the task at any moment: a retry finds the execution again and goes on with it. The platform has no name or key
    for an execution. So after a lost answer the task takes a newer MANUAL execution with the start that was asked for;
    where two such executions exist, the task fails and names them. A task that is stopped cancels its execution while
    that is PENDING.

    An execution that ended FAILED or LOST fails the task for good: no document says what such an execution has done.
    Clearing the task runs the batch again; so does a retry, with ``run_again_after_failure``. An execution that was
    cancelled never ran: the task starts another one, a few times at most.

    Returns a dictionary with ``instance_id``, ``execution_id``, ``status``, ``execution_type``,
    ``expected_start_date`` and ``start_date`` (ISO 8601, UTC), ``tasks`` and ``tasks_failed`` (as the platform counts
    them, or None), ``seconds`` and ``console_url``.

    :param instance_id: the instance.
    :param expected_start_date: when it is to start: a datetime, or a text that pendulum reads (UTC unless it says
        otherwise); a time in the past is refused. None or empty starts it now. The task adds up to a second, by
        which a later try tells this task's execution from others that start at the same time.
    :param organisation_id: None takes the instance's.
    :param max_failures: how many failed tasks of the execution are tolerated: a count, or a share (``"0.1%"``).
    :param on_clear: what clearing a success does: ``"run_again"``, or ``"keep"`` the recorded result.
    :param run_again_after_failure: let a retry run the batch again after it FAILED.
    :param wait_for_completion: False ends the task when the execution is created.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param timeout: time from the expected start to the deadline (a timedelta, or seconds); retries and deferrals do
        not move the deadline.
    :param cancel_on_kill: cancel the execution while it is PENDING when the task is stopped or late.
    :param cancel_ways: ways to cancel, in the order to try them: ``put``, ``action``, ``delete``; none of them is
        documented (conflict 1).
    :param settle: seconds to wait until the platform lists an execution whose creation got no answer.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    """

    template_fields: Sequence[str] = (
        "instance_id",
        "expected_start_date",
        "organisation_id",
        "max_failures",
        "on_clear",
        "run_again_after_failure",
        "wait_for_completion",
        "poll_interval",
        "timeout",
        "cancel_on_kill",
        "cancel_ways",
        "settle",
    )
    operator_extra_links = (IntegrationBatchLink(),)
    ui_color = "#dcefcf"

    def __init__(
        self,
        *,
        instance_id: str,
        expected_start_date: datetime | str | None = None,
        organisation_id: str | int | None = None,
        max_failures: int | str = 0,
        on_clear: str = "run_again",
        run_again_after_failure: bool | str = False,
        wait_for_completion: bool | str = True,
        poll_interval: float | str = 30.0,
        timeout: timedelta | float | str = timedelta(hours=6),
        cancel_on_kill: bool | str = True,
        cancel_ways: Sequence[str] | str = ("put", "action", "delete"),
        settle: float | str = 5.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        mediarithmics_conn_id: str = "mediarithmics_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.instance_id = instance_id
        self.expected_start_date = expected_start_date
        self.organisation_id = organisation_id
        self.max_failures = max_failures
        self.on_clear = on_clear
        self.run_again_after_failure = run_again_after_failure
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self.cancel_ways = cancel_ways
        self.settle = settle
        self.deferrable = deferrable
        self.mediarithmics_conn_id = mediarithmics_conn_id

    def _open(self, context: Context) -> IntegrationBatchRun:
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
        from airflow_bulk.runs.integration_batch.arguments import read_run_arguments
        from airflow_bulk.runs.integration_batch.run import IntegrationBatchRun
        from airflow_bulk.runs.record import Record

        args = read_run_arguments({name: getattr(self, name) for name in self.template_fields})
        hook = MediarithmicsHook(self.mediarithmics_conn_id)
        return IntegrationBatchRun(args, hook, Record.of(context), push=self._push(context))

    def _trigger(self, run: IntegrationBatchRun, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.integration_batch import IntegrationBatchTrigger

        rules = run.rules()
        return IntegrationBatchTrigger(
            conn_id=self.mediarithmics_conn_id,
            instance_id=run.args.instance_id,
            executions=[str(run.execution_id)],
            since=run.created_after,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            cancel_on_kill=run.args.cancel_on_kill,
            cancel_ways=run.args.cancel_ways,
            # A later first poll delays no cancel: when the task is stopped, the trigger cancels without a poll.
            first=max(first, run.until_start()),
        )


class _ScheduleOperator(BaseOperator):
    """What the operators that pause and resume share."""

    template_fields: Sequence[str] = ("instance_id",)
    operator_extra_links = (IntegrationBatchLink(),)
    ui_color = "#dcefcf"

    def __init__(
        self, *, instance_id: str, mediarithmics_conn_id: str = "mediarithmics_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.instance_id = instance_id
        self.mediarithmics_conn_id = mediarithmics_conn_id

    def _open(self, context: Context) -> tuple[Any, str]:
        """Return the hook and the instance's id, and push the link."""
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
        from airflow_bulk.runs.integration_batch.arguments import instance_id

        hook = MediarithmicsHook(self.mediarithmics_conn_id)
        wanted = instance_id(self.instance_id)
        if url := hook.batch_console_url(wanted):
            context["ti"].xcom_push(key="console_url", value=url)
        return hook, wanted


class PauseIntegrationBatchOperator(RecordedOperator, _ScheduleOperator):
    """Pause an instance's cron, which cancels its coming executions; fits as a setup, with Resume as its teardown.

    Returns a dictionary with ``instance_id``, ``cron_status``, ``was_active`` (before), ``canceled`` (how many coming
    executions the pause cancelled) and ``still_pending`` (ids that it did not). Running executions and MANUAL ones are
    left alone. A retry returns what the first try found.

    :param instance_id: an instance with a cron.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Pause the cron, and count the executions that this cancelled."""
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.integration_batch.schedule import pause, recorded_result
        from airflow_bulk.runs.record import Record

        with as_airflow_errors():
            record = Record.of(context)
            if (recorded := recorded_result(record)) is not None:
                return recorded
            hook, instance_id = self._open(context)
            result = pause(hook, record, instance_id)
            record.write_end(good=True, result=result)
            return result


class ResumeIntegrationBatchOperator(_ScheduleOperator):
    """Resume an instance's cron; the runs that were missed during the pause are not made up for.

    Returns a dictionary with ``instance_id``, ``cron_status`` and ``next_run`` (ISO 8601, UTC; None when it was left
    as it is).

    :param instance_id: an instance with a cron.
    :param only_if: False (or the text of it) leaves the instance as it is. Give
        ``"{{ ti.xcom_pull(task_ids='pause')['was_active'] }}"`` so that an instance that somebody had paused before
        stays paused.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    """

    template_fields: Sequence[str] = ("instance_id", "only_if")

    def __init__(self, *, only_if: bool | str = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_if = only_if

    def execute(self, context: Context) -> dict[str, Any]:
        """Resume the cron."""
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.integration_batch.schedule import resume

        with as_airflow_errors():
            hook, instance_id = self._open(context)
            if not read.flag("only_if", self.only_if):
                self.log.info("Batch instance %s was paused before; it is left as it is.", instance_id)
                status = hook.get_batch_instance(instance_id).cron_status
                return {"instance_id": instance_id, "cron_status": status, "next_run": None}
            return resume(hook, instance_id)
