"""What a sensor sees of a Centrapay batch: one poll, its verdict, the result, the words for failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_bulk import judging
from airflow_bulk.platforms.centrapay import ERROR, snapshot
from airflow_bulk.runs.centrapay_batch import judgement
from airflow_bulk.runs.watching import Watch

if TYPE_CHECKING:
    from airflow_bulk.hooks.centrapay import CentrapayHook
    from airflow_bulk.judging import Tolerance
    from airflow_bulk.platforms.centrapay import CentrapayBatch


class CentrapayBatchWatch(Watch):
    """One sensor's view of one batch.

    :param batch_id: the batch.
    :param hook: the platform.
    :param tolerance: records in error that are good enough.
    :param times: ``started``, ``timeout`` and ``poll_interval`` of :class:`~airflow_bulk.runs.watching.Watch`.
    """

    def __init__(
        self,
        batch_id: str,
        hook: CentrapayHook,
        tolerance: Tolerance,
        **times: float,
    ) -> None:
        super().__init__(**times)
        self.batch_id = batch_id
        self._hook = hook
        self._tolerance = tolerance
        self._batch: CentrapayBatch | None = None

    @property
    def thing(self) -> str:
        """The batch, in words."""
        return f"Batch {self.batch_id}"

    def poll(self) -> judging.Verdict:
        """Ask the platform once and judge what it shows.

        :raises Forbidden: there is no such batch, or no permission to read it.
        """
        self._batch = self._hook.get_batch(self.batch_id)
        return self._judge([snapshot(self._batch)])

    def why_not_good(self, verdict: judging.Finished | judging.FailedBecause) -> str:
        """Say why a batch that is over is not good; empty when it is."""
        assert self._batch is not None  # noqa: S101
        judgement.tell_errors(self._batch)
        reason = judgement.why_not_good(self._batch, self._tolerance)
        if self._batch.status == ERROR:
            reason += " A retry cannot help: it finds the same. Watch the batch that is created in its place."
        return reason

    def _describe(self, last: judging.PastDeadline) -> str:
        assert self._batch is not None  # noqa: S101
        return judgement.describe_unfinished(self._batch)

    def _goes_on(self, last: judging.PastDeadline) -> str:
        return judgement.GOES_ON

    def result(self, verdict: judging.Verdict) -> dict[str, Any]:
        """Make the sensor's result, with exactly the documented names."""
        assert self._batch is not None  # noqa: S101
        return judgement.numbers(self._batch)
