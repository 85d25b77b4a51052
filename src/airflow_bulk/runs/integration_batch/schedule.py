"""Pause and resume the cron of a batch instance: PUT the instance, and read it again (mediarithmics.md section 8)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.judging import how_many, name_ids
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics.cron import next_fire
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    ACTIVE,
    CRON,
    PAUSED,
    IntegrationBatchInstance,
)
from airflow_bulk.platforms.status import RemoteStatus
from airflow_bulk.runs.record import ClearUnclear, EndMeaning, Record

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

log = logging.getLogger(__name__)


def recorded_result(record: Record) -> dict[str, Any] | None:
    """Return the end that an earlier try has recorded. A clear pauses again: to pause twice does no harm."""
    try:
        meaning, end = record.recorded_end()
    except ClearUnclear:
        meaning, end = EndMeaning.BEGIN_AGAIN, None
    if end is not None and meaning is EndMeaning.STANDS:
        return end.result
    if meaning is EndMeaning.BEGIN_AGAIN:
        record.next_generation()
    return None


def pause(hook: MediarithmicsHook, record: Record, instance_id: str) -> dict[str, Any]:
    """Pause the cron; return how many coming executions this cancelled.

    The coming executions are recorded before the pause, so that a retry returns the same numbers.
    """
    instance = _periodic(hook, instance_id)
    executions = IntegrationBatchExecutions(hook, instance_id)
    before = record.read("before_pause")
    if before is None:
        coming = [
            one.id
            for one in executions.snapshots()
            if one.remote_status is RemoteStatus.PENDING and one.execution_type == CRON
        ]
        before = {"coming": coming, "was_active": instance.cron_status == ACTIVE}
        record.write("before_pause", before)
    if instance.cron_status != PAUSED:
        _set(hook, instance_id, PAUSED)
    after = {one.id: one.remote_status for one in executions.snapshots()}
    still = [one for one in before["coming"] if after.get(one) is RemoteStatus.PENDING]
    cancelled = [
        one for one in before["coming"] if after.get(one, RemoteStatus.CANCELED) is RemoteStatus.CANCELED
    ]
    if still:
        log.warning("Paused, but still PENDING: %s.", name_ids(still))
    told = how_many(len(cancelled), "coming execution")
    log.info("Batch instance %s is paused; cancelled with that: %s.", instance_id, told)
    return {
        "instance_id": instance_id,
        "cron_status": PAUSED,
        "was_active": before["was_active"],
        "canceled": len(cancelled),
        "still_pending": still,
    }


def resume(hook: MediarithmicsHook, instance_id: str) -> dict[str, Any]:
    """Resume the cron; the platform does not make up for missed runs (section 8 [assumed])."""
    instance = _periodic(hook, instance_id)
    if instance.cron_status != ACTIVE:
        _set(hook, instance_id, ACTIVE)
    fires = next_fire(str(instance.cron), datetime.now(UTC)).isoformat()
    log.info("Batch instance %s is active; its cron is next due at %s.", instance_id, fires)
    return {"instance_id": instance_id, "cron_status": ACTIVE, "next_run": fires}


def _periodic(hook: MediarithmicsHook, instance_id: str) -> IntegrationBatchInstance:
    instance = hook.get_batch_instance(instance_id)
    if instance.archived:
        raise ArgumentError("instance_id", f"names the archived instance {instance_id}, which runs nothing")
    if not instance.cron:
        raise ArgumentError(
            "instance_id", f"names instance {instance_id}, which has no cron to pause or resume"
        )
    return instance


def _set(hook: MediarithmicsHook, instance_id: str, status: str) -> None:
    changed = hook.update_batch_instance(instance_id, {"cron_status": status})
    if changed.cron_status != status:
        raise PlatformError(
            f"set batch instance {instance_id} to {status}",
            f"the platform still says {changed.cron_status}",
            retry="A retry tries again; if it stays so, set it in the console.",
        )
