"""A Centrapay batch as whoever waits for it sees it: is what is over good enough, and how to say so.

The operator, which created it, and the sensor, which did not, judge by the same words. ``complete`` is not success:
it may hold nothing but errors (centrapay.md section 5).
"""

from __future__ import annotations

import logging
from typing import Any

from airflow_bulk.judging import NAMED, Tolerance, how_many
from airflow_bulk.platforms.centrapay import ERROR, NO_CANCEL, CentrapayBatch, said, snapshot
from airflow_bulk.runs import failures

log = logging.getLogger(__name__)

#: What a person should know of a batch that is late.
GOES_ON = f"It goes on: {NO_CANCEL[0].lower()}{NO_CANCEL[1:]}"


def numbers(batch: CentrapayBatch) -> dict[str, Any]:
    """What a batch counted, with exactly the documented names; None where it is not said or cannot be read."""
    one = snapshot(batch)
    return {
        "batch_id": batch.id,
        "status": batch.status,
        "type": batch.type,
        "count": batch.count,
        "lines_accepted": one.accepted,
        "lines_failed": one.failed,
    }


def why_not_good(batch: CentrapayBatch, tolerance: Tolerance, lines: int | None = None) -> str:
    """Say why a batch that is over is not good; empty when it is.

    :param lines: records that its file holds, where they were counted; None where nobody knows.
    """
    if batch.status == ERROR:
        kinds = "; ".join(sorted({said(one.message) for one in batch.errors if one.message}))
        return (
            f"Batch {batch.id} ended as error: Centrapay could not fetch or read its file, so nothing was processed"
            f"{f' ({kinds})' if kinds else ''}."
        )
    if str(tolerance) == "100%":
        return ""
    return _unknown(batch) or _open_sum(batch, lines) or _too_many(batch, tolerance)


def _unknown(batch: CentrapayBatch) -> str:
    silent = [
        name for name, value in (("count", batch.count), ("errorCount", batch.error_count)) if value is None
    ]
    if not silent:
        return ""
    odd = f"what it says is no whole number from 0 up: {', '.join(batch.unreadable)}"
    return (
        f"Batch {batch.id} is complete, but {' and '.join(silent)} cannot be read "
        f"({odd if batch.unreadable else 'nothing is said'}), so nobody knows how many records failed. What was "
        "loaded stays loaded. A retry cannot change that; max_failures='100%' accepts it once the task is cleared."
    )


def _open_sum(batch: CentrapayBatch, lines: int | None) -> str:
    """Everything is accounted for. Whether ``count`` holds the failed records is not stated: both readings pass."""
    if lines is None:
        return ""
    counted = (batch.count or 0) + (snapshot(batch).failed or 0)
    if counted < lines:
        return (
            f"The sum does not close: the file of batch {batch.id} has {how_many(lines, 'record')}, {batch.count} counted "
            f"and {snapshot(batch).failed} reported in error: {lines - counted} missing. What was loaded stays "
            "loaded. A retry cannot change that; max_failures='100%' accepts it once the task is cleared."
        )
    if (batch.count or 0) > lines:
        log.warning(
            "Batch %s counts %s, its file has %d.", batch.id, how_many(batch.count or 0, "record"), lines
        )
    return ""


def _too_many(batch: CentrapayBatch, tolerance: Tolerance) -> str:
    return failures.say_too_many(
        f"Batch {batch.id}",
        snapshot(batch).failed or 0,
        batch.count or 0,
        tolerance,
        noun="record",
        kinds=(said(one.message) for one in batch.errors if one.message),
        more="What was loaded stays loaded.",
    )


def describe_unfinished(batch: CentrapayBatch) -> str:
    """Say how a batch that is not over was last seen, in a few words."""
    return f"status {batch.status[:40]}"


def say_late(batch: CentrapayBatch | None, batch_id: str, timeout: float, since: str, then: str) -> str:
    """Say that the deadline passed, and that the batch goes on.

    :param batch: as last seen; None where nobody saw it.
    """
    seen = f"last seen: {describe_unfinished(batch)}" if batch is not None else ""
    return failures.say_late(f"Batch {batch_id}", timeout, since, GOES_ON, seen=seen, then=then)


def tell_errors(batch: CentrapayBatch, errors_uri: str | None = None) -> None:
    """Log the first errors by external id and index, never their prose as it stands."""
    for one in batch.errors[:NAMED]:
        log.warning(
            "Error of batch %s, index %s, externalId %s: %s",
            batch.id,
            _plain(one.index),
            _plain(one.external_id),
            said(one.message) or "no message",
        )
    failed = snapshot(batch).failed or 0
    if failed > min(len(batch.errors), NAMED):
        where = f"the {len(batch.errors)} that the platform lists are in {errors_uri}" if errors_uri else ""
        count = how_many(failed, "error")
        log.warning("Batch %s has %s in all%s.", batch.id, count, f"; {where}" if where else "")


def _plain(value: str | None) -> str:
    """An id as a log may hold it: on one line, and not endless."""
    if value is None:
        return "not said"
    return "".join(letter if letter.isprintable() else "?" for letter in value[:64])
