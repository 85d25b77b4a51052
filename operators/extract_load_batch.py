"""A batch delegated to the extract/load server: one task stores it, which starts the run, and waits for its end.

The server orders the jobs, and tells their end but not their success (extract_load.md section 4). To see each job, to
limit deletions or to retry one load, expand the batch with ``ExtractLoadTaskGroup`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf

from airflow_bulk.operators.base import RunOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_bulk.runs.extract_load.delegated import DelegatedBatchRun


class ExtractLoadBatchOperator(RunOperator):
    """Store a batch on the server, which runs it, and wait for its ``finished_at``: one run over all tries.

    Kill the task at any moment: a retry goes on with the recorded batch. The server has no key and no name for a batch,
    so after a lost answer the list is read until two lists agree. If exactly one new batch is what was sent, the task goes
    on with it; if there is none, the task stores the batch again. Where several may be it, the task fails, names them and
    stores nothing; clearing it then stores the batch once more. No batch can be stopped: stopping the task stops waiting.

    Clearing a success, or a batch that failed, stores another. Clearing anything else goes on with the batch that there
    is, with a new deadline.

    **Finished is not successful**: the documented server stores no status and no error. Where a server has the
    optional ``status`` and ``errors``, they are judged.

    Returns a dictionary with ``batch_id`` (in XCom by itself as soon as it is known), ``finished_at`` (as the server
    writes it), ``status`` (None where the server tells none), ``errors`` (how many, by object; None where the server tells
    none), ``error_kinds`` (their messages, reduced to kinds) and ``seconds`` (since the first submission).

    :param definition: the batch, as in extract_load.md section 1.1; ``tenant_id`` and the connection ids go with it.
    :param extract_load_conn_id: connection of type ``extract_load``.
    :param check: refuse a bad definition while the DAG file is parsed; the server would store it and hang.
    :param on_clear: what clearing a success does: ``"run_again"``, or ``"keep"`` the recorded result.
    :param wait_for_completion: False ends when the batch is stored; all but its id is then None.
    :param poll_interval: seconds between two polls once the batch has aged; the first polls are closer together.
    :param timeout: deadline from the first submission, the same over retries and deferral: a batch that hangs never ends
        by itself.
    :param settle: seconds to wait for a batch to show after the answer to its creation was lost.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = (
        "definition",
        "on_clear",
        "wait_for_completion",
        "poll_interval",
        "timeout",
        "settle",
    )
    ui_color = "#e6dff2"

    def __init__(
        self,
        *,
        definition: Mapping[str, Any],
        extract_load_conn_id: str = "extract_load_default",
        check: bool = True,
        on_clear: str = "run_again",
        wait_for_completion: bool | str = True,
        poll_interval: float | str = 30.0,
        timeout: timedelta | float | str = timedelta(hours=6),
        settle: float | str = 5.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if check and isinstance(definition, Mapping):
            from airflow_bulk.extract_load import compile_batch

            compile_batch(definition)
        self.definition = definition
        self.extract_load_conn_id = extract_load_conn_id
        self.on_clear = on_clear
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.settle = settle
        self.deferrable = deferrable

    def _open(self, context: Context) -> DelegatedBatchRun:
        from airflow_bulk.hooks.extract_load import ExtractLoadHook
        from airflow_bulk.runs.extract_load.arguments import read_arguments
        from airflow_bulk.runs.extract_load.delegated import DelegatedBatchRun
        from airflow_bulk.runs.record import Record

        return DelegatedBatchRun(
            read_arguments({name: getattr(self, name) for name in self.template_fields}),
            ExtractLoadHook(self.extract_load_conn_id),
            Record.of(context),
            push=self._push(context),
        )

    def _trigger(self, run: DelegatedBatchRun, first: float) -> BaseTrigger:
        from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger

        rules = run.rules()
        return ExtractLoadBatchTrigger(
            extract_load_conn_id=self.extract_load_conn_id,
            batch_id=str(run.batch_id),
            own=True,
            started=rules.started,
            deadline=rules.deadline,
            poll_interval=rules.poll_interval,
            first=first,
        )
