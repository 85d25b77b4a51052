"""Wait for a document import into which another party uploads; every mode of the sensor means the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.links import DocumentImportLink
from airflow_bulk.sensors.watching_sensor import WatchingSensor

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.document_import.watch import ImportWatch


class DocumentImportSensor(WatchingSensor):
    """Wait until the executions of a document import are over, and judge them.

    ``SUCCEEDED`` is not success: all lines of such an execution may have failed (mediarithmics.md section 4.2
    [documented]), so ``max_failures`` decides. An execution that is FAILED or LOST fails the sensor. An execution that
    is CANCELED took no line: it fails the sensor when ``execution_ids`` names it. When the whole import is watched, it
    does not count, unless the import has no other execution.

    ``timeout`` counts from the first poll of the first try, over pokes, reschedules, deferrals and retries; clearing
    the task starts the count anew. ``soft_fail`` skips the task when the wait timed out, when the import failed, and
    when the import can never be read (403, 404). An error that may pass (429, 5xx, no connection) fails the try, and a
    retry polls again. ``timeout`` and ``soft_fail`` mean the same in every mode.

    Returns a dictionary with ``import_id``, ``execution_ids`` (those that count), ``executions`` (how many ended
    how), ``lines_counted = lines_accepted + lines_failed``, ``error_file_uris``, ``possible_issue_on_identifiers``
    and ``console_url``.

    :param import_id: the document import.
    :param execution_ids: watch only these executions; None watches every execution of the import.
    :param datamart_id: None takes the connection's.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    :param min_executions: how many executions the import must have before the wait can end, cancelled ones not
        counted; 0 accepts an import that stays empty. Not used with ``execution_ids``: all of those must be there.
    :param quiet_for: seconds (or a timedelta) that must have passed since the newest execution was created, for
        imports into which others still upload.
    :param max_failures: how many failed lines are tolerated: a count, or a share of the lines counted (``"0.1%"``).
        ``"100%"`` never fails.
    :param deferrable: wait in the triggerer, without a worker slot; ``mode``, ``exponential_backoff`` and ``max_wait``
        then have no effect. Polls are ``poke_interval`` apart; the first polls are closer together.
    """

    template_fields: Sequence[str] = (
        "import_id",
        "execution_ids",
        "datamart_id",
        "min_executions",
        "quiet_for",
        "max_failures",
    )
    operator_extra_links = (DocumentImportLink(),)
    ui_color = "#cfe8ef"

    def __init__(
        self,
        *,
        import_id: str,
        execution_ids: Sequence[str] | str | None = None,
        datamart_id: str | int | None = None,
        mediarithmics_conn_id: str = "mediarithmics_default",
        min_executions: int | str = 1,
        quiet_for: timedelta | float | str = 0.0,
        max_failures: int | str = 0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.import_id = import_id
        self.execution_ids = execution_ids
        self.datamart_id = datamart_id
        self.mediarithmics_conn_id = mediarithmics_conn_id
        self.min_executions = min_executions
        self.quiet_for = quiet_for
        self.max_failures = max_failures
        self.deferrable = deferrable

    def _trigger(self, watch: ImportWatch, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.document_import import DocumentImportTrigger

        rules = watch.rules
        return DocumentImportTrigger(
            conn_id=self.mediarithmics_conn_id,
            datamart_id=watch.datamart_id,
            import_id=watch.import_id,
            executions=watch.execution_ids,
            without_canceled=True,
            expected=rules.expected,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            quiet_for=rules.quiet_for,
            cancel_on_kill=False,
            first=first,
        )

    def _open(self, context: Context) -> ImportWatch:
        from airflow_bulk.arguments import ArgumentError
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
        from airflow_bulk.runs.document_import.watch import ImportWatch, read_arguments
        from airflow_bulk.runs.watching import waiting_since

        try:
            args = read_arguments({name: getattr(self, name) for name in self.template_fields})
            hook = MediarithmicsHook(self.mediarithmics_conn_id)
            datamart_id = hook.datamart(args.datamart_id)
        except ArgumentError as error:
            raise AirflowFailException(str(error)) from None
        return ImportWatch(
            args,
            hook,
            datamart_id,
            started=waiting_since(context),
            timeout=self.timeout,
            poll_interval=self.poke_interval,
            push=self._push(context),
        )
