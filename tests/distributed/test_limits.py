"""Two workers and two triggerers over one connection: the platform's request log says what of its limits they keep together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from fleet import FleetImport, Row

from distributed_stack import SLOTS

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


def test_all_together_keep_the_limits_of_a_connection(
    new_import: Callable[[str], FleetImport],
    platforms: dict[str, Emulator],
    good: Callable[[Row], None],
) -> None:
    """Nine imports at once, four of which wait in the triggerers while the others send."""
    deferred, sync = (new_import(f"fleet_limited_{mode}_mapped") for mode in ("deferred", "sync"))
    # One worker has no slots for all that stay on a worker to the end.
    for night, count in ((deferred, 4), (sync, SLOTS + 1)):
        for _ in range(count):
            night.put(2_000, size=1_000)
        night.begin(max_part_bytes="500000", workers="2")
    for night in (deferred, sync):
        night.ends()
        good(night.row(f"{len(night.sources)} imports within limits, {night.dag_id.split('_')[2]}"))
    assert len({ti["hostname"] for ti in sync.loads()}) == 2
    calls = platforms["limited"].requests()
    times = sorted(call["at"] / 1000 for call in calls)
    assert len(times) > 90
    assert max(sum(begin <= at < begin + 60 for at in times) for begin in times) <= 60
    # Without a common budget eight tasks and two triggerers would have needed a tenth of the time.
    assert times[-1] - times[0] > 60

    uploads = [call for call in calls if call["method"] == "POST" and call["path"].endswith("/executions")]
    spans = sorted((call["at"] / 1000, call["at"] / 1000 + call["seconds"]) for call in uploads)
    assert max(sum(begin <= at < end - 0.002 for begin, end in spans) for at, _ in spans) <= 2
    # The head of a body leaves first, and then each block when its time has come.
    sent = sum(call["body_bytes"] for call in uploads)
    assert sent <= 1_000_000 * (spans[-1][1] - spans[0][0])
