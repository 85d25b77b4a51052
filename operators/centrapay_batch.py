"""Load a file into Centrapay as a batch. EXPERIMENTAL, as Centrapay's batches are: they may change or vanish."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg, conf

from airflow_bulk.operators.base import RunOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.centrapay_batch.run import CentrapayBatchRun


class CentrapayBatchOperator(RunOperator):
    """Create a Centrapay batch from one file, wait, judge, report.

    **EXPERIMENTAL**: the calls behind it may change or vanish without notice (centrapay.md section 1 [documented]).

    Centrapay's own servers fetch the file, so its store must be reachable for them. Give ``file``, an object of a
    store, which is checked and then put behind a signed URL when the task runs; or ``url``, which somebody else made.

    The batch is created once: a retry goes on with the recorded batch. Centrapay has no idempotency key and no list of
    batches, so the task never repeats a creation whose answer was lost; the error names the read by which a person can
    find out. No batch can be cancelled: stopping the task stops the waiting. Clearing a success creates another batch.

    The status ``complete`` is not success: ``max_failures`` decides over the records that Centrapay counted. Errors
    without any record counted mean that all records failed. The status ``error`` fails the task: nothing was processed.

    Returns a dictionary with ``batch_id``, ``status``, ``type``, ``count`` (as Centrapay says), ``lines_accepted``,
    ``lines_failed``, ``lines_read`` and ``lines_breaking_rules`` (of ``file``; None where it was not checked),
    ``rejects_uri``, ``errors_uri`` and ``seconds`` (since the first try).

    :param type: ``farmlands-external-asset``, ``ticketek-ticket`` or ``business-onboard``, whose records are checked;
        the records of another type are not checked, and a warning says so.
    :param file: one object: ``s3://conn_id@bucket/key.jsonl``. Centrapay cannot fetch a local file, nor read a
        compressed one.
    :param url: a URL that Centrapay can fetch. A signed URL is a secret: it is rendered when the task runs, and shown
        nowhere.
    :param account_id: the account that owns the batch; None takes the connection's.
    :param test: True for a test account; None is not sent, which means False.
    :param url_expires_in: how long the signed URL of ``file`` works; at most seven days.
    :param max_failures: how many records in error are tolerated: a count, or a share of those counted (``"0.5%"``).
        ``"100%"`` never fails. Where the check of ``file`` finds more bad records than this, no batch is created.
    :param errors_path: folder or URI for the results file of the errors that Centrapay lists (``errors_uri``), and for the
        file of lines that break a rule here (only their positions). With None a few of them are logged.
    :param check: check every record of ``file``; False creates the batch without a check.
    :param dry_run: only check ``file``, and create no batch; the file may then be local.
    :param on_clear: what clearing a success does: ``"import_again"``, or ``"keep"`` the recorded result.
    :param repeat_lost_post: let a retry create the batch again after the answer to a creation was lost. The file may
        then be loaded twice: Farmlands records are upserts; what the other types do is not documented.
    :param centrapay_conn_id: connection of type ``centrapay``.
    :param wait_for_completion: False ends the task when the batch is created; its counts are then None.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param timeout: time from the first submission to the deadline (a timedelta, or seconds); retries and deferrals
        do not move the deadline.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    # `url` is not among them: it is a secret, and Airflow shows rendered fields.
    template_fields: Sequence[str] = (
        "type",
        "file",
        "account_id",
        "test",
        "url_expires_in",
        "max_failures",
        "errors_path",
        "check",
        "check_only",
        "on_clear",
        "repeat_lost_post",
        "wait_for_completion",
        "poll_interval",
        "timeout",
    )
    ui_color = "#d7ecd9"

    def __init__(
        self,
        *,
        type: str,
        file: str | None = None,
        url: str | None = None,
        account_id: str | None = None,
        test: bool | str | None = None,
        url_expires_in: timedelta | float | str = timedelta(hours=6),
        max_failures: int | str = 0,
        errors_path: str | None = None,
        check: bool | str = True,
        dry_run: bool | str = False,
        on_clear: str = "import_again",
        repeat_lost_post: bool | str = False,
        centrapay_conn_id: str = "centrapay_default",
        wait_for_completion: bool | str = True,
        poll_interval: float | str = 60.0,
        timeout: timedelta | float | str = timedelta(hours=6),
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (file is None) == (url is None):
            raise ValueError("CentrapayBatchOperator takes either file or url, and not both.")
        self.type = type
        self.file = file
        self.url = url
        # What Airflow does for template fields: a URL that another task returns makes it upstream of this one.
        XComArg.apply_upstream_relationship(self, url)
        self.account_id = account_id
        self.test = test
        self.url_expires_in = url_expires_in
        self.max_failures = max_failures
        self.errors_path = errors_path
        self.check = check
        self.check_only = dry_run  # BaseOperator.dry_run is a method
        self.on_clear = on_clear
        self.repeat_lost_post = repeat_lost_post
        self.centrapay_conn_id = centrapay_conn_id
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def destination_uri(self, run: CentrapayBatchRun) -> str | None:
        """Return the asset URI of the account and the batch type."""
        return run.destination_uri

    def _open(self, context: Context) -> CentrapayBatchRun:
        from airflow_bulk.hooks.centrapay import CentrapayHook
        from airflow_bulk.runs.centrapay_batch.arguments import read_arguments
        from airflow_bulk.runs.centrapay_batch.file import mask_url
        from airflow_bulk.runs.centrapay_batch.run import CentrapayBatchRun
        from airflow_bulk.runs.record import Record

        url = self.render_template(self.url, context)
        if isinstance(url, str):
            mask_url(url)
        given = {name: getattr(self, name) for name in self.template_fields}
        return CentrapayBatchRun(
            read_arguments({"dry_run": given.pop("check_only"), **given}, url),
            CentrapayHook(self.centrapay_conn_id),
            Record.of(context),
            identity=self._identity(context),
            push=self._push(context),
        )

    def _trigger(self, run: CentrapayBatchRun, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.centrapay_batch import CentrapayBatchTrigger

        rules = run.rules()
        return CentrapayBatchTrigger(
            centrapay_conn_id=self.centrapay_conn_id,
            batch_id=str(run.batch_id),
            own=True,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            first=first,
        )
