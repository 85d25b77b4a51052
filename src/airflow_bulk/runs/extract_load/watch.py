"""What a sensor sees of a batch on the extract/load server: one poll, its verdict, the result, the words for failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_bulk import judging
from airflow_bulk.platforms import extract_load as api
from airflow_bulk.runs.extract_load import judgement
from airflow_bulk.runs.watching import Watch

if TYPE_CHECKING:
    from airflow_bulk.hooks.extract_load import ExtractLoadHook


class ExtractLoadBatchWatch(Watch):
    """One sensor's view of one batch.

    :param batch_id: the batch.
    :param hook: the server.
    :param times: ``started``, ``timeout`` and ``poll_interval`` of :class:`~airflow_bulk.runs.watching.Watch`.
    """

    def __init__(self, batch_id: str, hook: ExtractLoadHook, **times: float) -> None:
        super().__init__(**times)
        self.batch_id = batch_id
        self._hook = hook
        self._batch: api.ServerBatch | None = None

    @property
    def thing(self) -> str:
        """The batch, in words."""
        return f"Batch {self.batch_id}"

    def poll(self) -> judging.Verdict:
        """Ask the server once and judge what it shows.

        :raises NotFound: there is no such batch.
        """
        self._batch = self._hook.get_batch(self.batch_id)
        return self._judge([api.snapshot(self._batch)])

    def why_not_good(self, verdict: judging.Finished | judging.FailedBecause) -> str:
        """Say why a batch that is over is not good, where its server tells; empty otherwise."""
        assert self._batch is not None  # noqa: S101
        failed = judgement.why_not_good(self._batch, "clearing the task looks again.")
        if not failed:
            judgement.tell_finished(self._batch)
        return failed

    def _describe(self, last: judging.PastDeadline) -> str:
        assert self._batch is not None  # noqa: S101
        return judgement.describe_unfinished(self._batch)

    def _goes_on(self, last: judging.PastDeadline) -> str:
        return judgement.GOES_ON

    def result(self, verdict: judging.Verdict) -> dict[str, Any]:
        """Make the sensor's result, with exactly the documented names."""
        return api.batch_report(self._batch, self.batch_id)
