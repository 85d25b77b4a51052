"""A worker dies with its children while it sends: the other one goes on, with nothing of the first one's disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from fleet import FleetImport, Row

if TYPE_CHECKING:
    from distributed_stack import DistributedStack

pytestmark = pytest.mark.distributed


def test_killed_in_mid_upload(
    new_import: Callable[[str], FleetImport], fleet: DistributedStack, good: Callable[[Row], None]
) -> None:
    night = new_import("fleet_quick_sync")
    for _ in range(2):
        night.put(2_000, size=4_000)
    night.fault("slow", times=2, bytes_per_second=300_000)
    night.begin(max_part_bytes="8500000", workers="2")
    night.wait("two POSTs under way", lambda: len(night.in_mid_body()) == 2)
    worker = night.worker()
    fleet.kill_with_children(worker)
    night.ends()
    assert night.worker() != worker
    # The platform never got the end of either body.
    assert night.cuts()[:2] == ["client", "client"]
    good(night.row("import, the worker killed in mid-upload"))
    assert night.loads()[0]["try_number"] == 2
    fleet.start_component(worker)
