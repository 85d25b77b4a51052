"""A stored batch as whoever waits for it sees it: what is over, what is known of how it ended, and how to say so.

The operator, which stored it, and the sensor, which did not, judge by the same words. **Finished is not successful**: the
documented server stores no status and no error (extract_load.md section 4).
"""

from __future__ import annotations

import logging

from airflow_bulk.platforms.extract_load import NO_STOP, ServerBatch
from airflow_bulk.runs import failures

log = logging.getLogger(__name__)

#: What a person should know of a batch that is late (extract_load.md section 6.7).
GOES_ON = (
    f"It goes on: {NO_STOP[0].lower()}{NO_STOP[1:]} A batch whose required objects are never there hangs for ever, and the "
    "server does not tell: check its definition for a requirement that nothing meets, or for jobs that wait for each "
    "other, with `airflow bulk batch compile`."
)


def why_not_good(batch: ServerBatch, then: str) -> str:
    """Say why a batch that is over is not good, where its server tells; empty when nothing is known against it.

    :param then: what a clear will do.
    """
    if not batch.failure:
        return ""
    return f"Batch {batch.id} is finished, but failed: {batch.failure}. A retry cannot change that; {then}"


def describe_unfinished(batch: ServerBatch) -> str:
    """Say how a batch that is not over was last seen, in a few words."""
    return "no finished_at" if batch.status is None else f"no finished_at, status {batch.status[:40]}"


def say_late(batch: ServerBatch | None, batch_id: str, timeout: float, since: str, then: str) -> str:
    """Say that the deadline passed, and that the batch goes on.

    :param batch: as last seen; None where nobody saw it.
    """
    seen = f"last seen: {describe_unfinished(batch)}" if batch is not None else ""
    return failures.say_late(f"Batch {batch_id}", timeout, since, GOES_ON, seen=seen, then=then)


def tell_finished(batch: ServerBatch) -> None:
    """Log what a finished batch without a known failure is worth."""
    worth = (
        "Its server does not tell success from failure."
        if batch.status is None
        else f"Its status is {batch.status[:40]}."
    )
    log.info("Batch %s is finished. %s", batch.id, worth)
