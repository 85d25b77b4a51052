"""A batch delegated to the extract/load server: one task stores it, which starts the run, and waits for its end.

The server orders the jobs, and tells their end but not their success (extract_load.md section 4). To see each job, to
limit deletions or to retry one load, expand the batch with ``ExtractLoadTaskGroup`` instead.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.arguments import duration
from airflow_bulk.platforms.extract_load import failed_end, finished_end
from airflow_bulk.runs.failures import DeadlinePassed, TaskStopped, told_to_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bulk.hooks.extract_load import ExtractLoadHook
    from airflow_bulk.platforms.extract_load import ServerBatch
    from airflow_bulk.runs.record import TaskStateStore

_SLACK = 60.0
#: Ids remembered before the POST, so that the new batch can be told from older ones (24 bytes each).
_MOST_KNOWN = 1500


class ExtractLoadBatchOperator(BaseOperator):
    """Store a batch on the server, which runs it, and wait for its ``finished_at``.

    A retry does not start a second run: the batch's id is recorded, and after a lost answer the one new batch with the
    same jobs is looked for. Clearing a success starts a new run.

    **Finished is not successful**: the faithful server stores no status and no error. Where it has the optional
    ``status`` and ``errors``, they are judged.

    :param definition: the batch, as in extract_load.md section 1.1; ``tenant_id`` and the connection ids go with it.
    :param extract_load_conn_id: connection of type ``extract_load``.
    :param check: refuse a bad definition while the DAG file is parsed; the server would store it and hang.
    :param wait: wait for the end; else return at once.
    :param deferrable: wait in the triggerer.
    :param poll_interval: seconds between two looks.
    :param deadline: how long to wait for the end; a hanging batch never ends by itself.
    """

    template_fields = ("definition",)

    def __init__(
        self,
        *,
        definition: Mapping[str, Any],
        extract_load_conn_id: str = "extract_load_default",
        check: bool = True,
        wait: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 30.0,
        deadline: timedelta | float = timedelta(hours=6),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if check and isinstance(definition, Mapping):
            from airflow_bulk.extract_load import compile_batch

            compile_batch(definition)
        self.definition = definition
        self.extract_load_conn_id = extract_load_conn_id
        self.wait = wait
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.deadline = deadline
        self._stopped = False

    def execute(self, context: Context) -> str:
        """Start the run, or go on waiting for the one that an earlier try started; return the batch's id."""
        from airflow_bulk.extract_load.delegating import server_definition
        from airflow_bulk.hooks.extract_load import ExtractLoadHook

        with told_to_airflow():
            hook = ExtractLoadHook(self.extract_load_conn_id)
            batch_id = _Submission(context, hook, server_definition(self.definition)).batch_id()
            context["ti"].xcom_push(key="batch_id", value=batch_id)
            if not self.wait:
                return batch_id
            until = time.time() + duration("deadline", self.deadline)
            batch = hook.get_batch(batch_id)
            if not batch.finished and self.deferrable:
                self._defer(batch_id, until)
            while not batch.finished:
                self._pause(batch_id, until)
                batch = hook.get_batch(batch_id)
            self._judge(batch_id, batch.failure)
            return batch_id

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """End as the trigger saw it."""
        batch_id = str(event["batch_id"])
        if event["state"] == "deadline":
            raise self._too_late(batch_id)
        if event["state"] == "error":
            raise AirflowException(event["message"])
        self._judge(batch_id, event["failure"])
        return batch_id

    def on_kill(self) -> None:
        """Stop waiting. The batch runs on: no call that stops one is documented (section 4)."""
        self._stopped = True
        raise TaskStopped(
            "stopped waiting; the batch runs on at the server, which has no documented way to stop it"
        )

    def _defer(self, batch_id: str, until: float) -> None:
        from airflow_bulk.triggers.document_import import first_look
        from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger

        trigger = ExtractLoadBatchTrigger(
            extract_load_conn_id=self.extract_load_conn_id,
            batch_id=batch_id,
            poll_interval=self.poll_interval,
            deadline=until,
            first=max(first_look(), self.poll_interval),
        )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=until - time.time() + _SLACK),
        )

    def _pause(self, batch_id: str, until: float) -> None:
        if self._stopped or time.time() >= until:
            raise self._too_late(batch_id)
        time.sleep(max(0.0, min(self.poll_interval, until - time.time())))

    def _too_late(self, batch_id: str) -> DeadlinePassed:
        return DeadlinePassed(
            f"Batch {batch_id} has no finished_at when the deadline passed. A batch whose required objects are never there"
            " hangs for ever, and the server does not tell. A retry waits for the same batch again."
        )

    def _judge(self, batch_id: str, failure: str | None) -> None:
        if failure:
            raise AirflowFailException(failed_end(batch_id, failure))
        self.log.info(finished_end(batch_id))


class _Submission:
    """Stores the batch once, however many tries it takes."""

    def __init__(self, context: Context, hook: ExtractLoadHook, definition: dict[str, Any]) -> None:
        self._store: TaskStateStore = context["task_state_store"]
        # max_tries moves on with every clear, so a cleared task begins anew (airflow.md section 2.1).
        self._key = f"batch.{context['ti'].max_tries}"
        self._hook = hook
        self._definition = definition

    def batch_id(self) -> str:
        """Return the batch's id; start the run if no earlier try did."""
        record = self._store.get(self._key)
        if record and record.get("id"):
            return str(record["id"])
        if record:
            return self._remember(self._found(record))
        known = [batch.id for batch in self._hook.list_batches()]
        self._store.set(
            self._key,
            {
                "known": known[:_MOST_KNOWN],
                "all": len(known) <= _MOST_KNOWN,
                "jobs": self._fingerprint(self._definition),
            },
        )
        return self._remember(self._hook.create_batch(self._definition).id)

    def _remember(self, batch_id: str) -> str:
        self._keep({"id": batch_id})
        return batch_id

    def _keep(self, record: dict[str, Any]) -> None:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        self._store.set(self._key, record, retention=NEVER_EXPIRE)

    def _found(self, record: Mapping[str, Any]) -> str:
        """An earlier try sent the batch and got no answer: look for it, and send only if it is certainly not there."""
        new = [batch for batch in self._hook.list_batches() if batch.id not in record["known"]]
        same = [batch for batch in new if self._fingerprint(batch.raw) == record["jobs"]]
        if len(same) == 1 and record["all"]:
            return same[0].id
        if not new and record["all"]:
            return self._hook.create_batch(self._definition).id
        raise AirflowFailException(
            "An earlier try sent this batch and got no answer. The server has"
            f" {len(same)} batches that may be it ({', '.join(batch.id for batch in same[:10]) or 'none certain'})."
            " Nothing was sent again. Clear the task to start a new run after all."
        )

    @staticmethod
    def _fingerprint(batch: Mapping[str, Any] | ServerBatch) -> str:
        """What of a batch the server keeps as it was sent: types, objects and requirements of the jobs."""
        jobs = batch.get("jobs") if isinstance(batch, Mapping) else None
        kept = [
            [job.get("type"), job.get("object"), job.get("grain"), job.get("required_objects") or None]
            for job in jobs or []
            if isinstance(job, Mapping)
        ]
        return hashlib.sha256(msgspec.json.encode(kept, order="deterministic")).hexdigest()
