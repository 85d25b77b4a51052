"""Load a file into Centrapay as a batch. EXPERIMENTAL, as Centrapay's batches are: they may change or vanish."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg, conf

from airflow_bulk.operators.run_operator import RunOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.centrapay_batch.run import CentrapayBatchRun


class CentrapayBatchOperator(RunOperator):
    """Create a Centrapay batch from one file, wait, judge, report.

    **EXPERIMENTAL**: the calls behind it may change or vanish without notice (centrapay.md section 1 [documented]).

    Centrapay's own servers fetch the file, so its store must be reachable for them. Give ``file``, an object of a
    store, which is checked and then put behind a signed URL when the task runs; or ``url``, which somebody else made.

    The batch is created once: a retry goes on with the recorded one. Centrapay has no idempotency key and no list of
    batches, so a creation whose answer was lost is never repeated by itself; the error says which read can tell. No
    batch can be cancelled: stopping the task stops waiting. Clearing a success creates another batch.

    ``complete`` is not success: it is judged by ``max_failures`` over the records counted; errors without any record
    counted mean that all failed. ``error`` fails: nothing was processed then.

    Returns a dictionary with ``batch_id``, ``status``, ``type``, ``count`` (as Centrapay says), ``lines_accepted``,
    ``lines_failed``, ``lines_read`` and ``lines_breaking_rules`` (of ``file``; None where it was not checked),
    ``rejects_uri``, ``errors_uri`` and ``seconds`` (since the first try).

    :param type: ``farmlands-external-asset``, ``ticketek-ticket`` or ``business-onboard``, whose records are checked;
        another passes with a warning.
    :param file: one object: ``s3://conn_id@bucket/key.jsonl``. Neither compressed nor local: nobody could fetch it.
    :param url: a URL that Centrapay can fetch. A secret when it is signed: rendered when the task runs, shown nowhere.
    :param account_id: the account that owns the batch; None takes the connection's.
    :param test: True for a test account; None is not sent, which means False.
    :param url_expires_in: how long the signed URL of ``file`` works; at most seven days.
    :param max_failures: records in error that are good enough: a count, or a share of those counted (``"0.5%"``).
        ``"100%"`` never fails. Over it before anything is created, when ``file`` is checked: nothing is created.
    :param errors_path: folder or URI for the NDJSON file of the errors that Centrapay lists, and for that of the
        lines that break a rule here (positions alone). None keeps a few in the log.
    :param check: check every record of ``file``; False creates the batch unchecked.
    :param dry_run: check ``file`` only; it may be local then.
    :param on_clear: what clearing a success does: ``"import_again"``, or ``"keep"`` the recorded result.
    :param repeat_lost_post: let a retry post again after the answer to a creation was lost. The file may then be
        loaded twice; Farmlands records are upserts, for the other types nothing is documented.
    :param centrapay_conn_id: connection of type ``centrapay``.
    :param wait_for_completion: False ends when the batch is created; its counts are then None.
    :param poll_interval: seconds between two looks once the batch has aged; looks are closer at first.
    :param timeout: deadline from the first submission, the same over retries and deferral.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    # Not url: it is a secret, and rendered fields are shown.
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
