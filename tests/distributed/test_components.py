"""Triggerers and schedulers die or stand still under what waits and sends: the other one goes on, and nothing is cancelled."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest
from fleet import LONG, FleetImport, Row

from distributed_stack import SCHEDULERS, TRIGGERERS

if TYPE_CHECKING:
    from distributed_stack import DistributedStack

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
Import = Callable[[str], FleetImport]
Judge = Callable[[Row], None]
#: Imports that wait at once. Each begins and ends in a process of its own, some seconds on two busy processors.
WAITS = int(os.environ.get("WAITS") or 200)


def back(fleet: DistributedStack, name: str) -> None:
    """Start a component again, and wait until there are two of its kind."""
    fleet.start_component(name)
    kind = "SchedulerJob" if name in SCHEDULERS else "TriggererJob"
    fleet.api.wait_for(f"{name} to be back", lambda: fleet.living_jobs(kind) == 2 or None, timeout=120)


def deferred(new_import: Import, count: int, lines: int = 50) -> FleetImport:
    """A mapped import, all of which waits for the platform."""
    night = new_import("fleet_waiting_deferred_mapped")
    for _ in range(count):
        night.put(lines)
    night.begin()
    night.all_deferred(count)
    return night


def let_others_take_over(night: FleetImport, lost: str) -> None:
    """Wait until a triggerer that is gone waits for none of them."""
    others = [name for name in TRIGGERERS if name != lost]
    count = len(night.loads())
    night.wait(
        f"{others[0]} to take over", lambda: night.triggerers() == Counter({others[0]: count}), timeout=LONG
    )


def test_a_triggerer_killed(new_import: Import, fleet: DistributedStack, good: Judge) -> None:
    night = deferred(new_import, 12)
    victim = night.triggerers().most_common(1)[0][0]
    fleet.kill(victim)
    let_others_take_over(night, victim)
    night.finish_pending()
    night.ends()
    good(night.row("12 deferred imports, a triggerer killed"))
    back(fleet, victim)
    assert {ti["try_number"] for ti in night.loads()} == {1}


def test_a_triggerer_stands_still_and_goes_on(
    new_import: Import, fleet: DistributedStack, good: Judge
) -> None:
    night = deferred(new_import, 12)
    stopped = new_import("fleet_waiting_deferred")
    stopped.put(50)
    stopped.begin()
    stopped.all_deferred()
    before, uploads = night.statuses(), len(night.uploads())
    victim = night.triggerers().most_common(1)[0][0]
    moved = [ti["map_index"] for ti in night.loads() if fleet.on(ti["triggerer_job"]["hostname"]) == victim]
    fleet.pause(victim)
    for one in night, stopped:
        let_others_take_over(one, victim)
    fleet.resume(victim)
    for index in moved:
        night.wait(f"{victim} to let go of {index}", partial(night.is_let_go, map_index=index), timeout=LONG)
    assert (night.statuses(), len(night.uploads())) == (before, uploads)

    # A person who stops the task is heard by whoever waits for it now.
    looks = len(stopped.looks())
    stopped.wait("the other triggerer to look", lambda: len(stopped.looks()) > looks)
    stopped.mark_failed()
    stopped.stopped = True
    stopped.wait("PENDING to become CANCELED", lambda: set(stopped.statuses()) == {"CANCELED"}, timeout=LONG)
    stopped.ends("failed")
    good(stopped.row("a deferred import that a person stops, after that"))
    night.finish_pending()
    night.ends()
    good(night.row("12 deferred imports, a triggerer stood still"))
    assert {ti["try_number"] for ti in night.loads()} == {1}


@pytest.mark.parametrize("victim", SCHEDULERS)
def test_a_scheduler_killed(new_import: Import, fleet: DistributedStack, good: Judge, victim: str) -> None:
    waiting, sending = deferred(new_import, 4), new_import("fleet_quick_sync")
    sending.put(2_000, size=4_000)
    sending.fault("slow", bytes_per_second=400_000)
    sending.begin(max_part_bytes="9000000")
    sending.wait("a POST under way", sending.in_mid_body)
    fleet.kill(victim)
    sending.ends()
    waiting.finish_pending()
    waiting.ends()
    good(sending.row(f"import, the {victim} killed in mid-upload"))
    good(waiting.row(f"4 deferred imports, the {victim} killed"))
    back(fleet, victim)


def test_many_waits_at_once(new_import: Import, fleet: DistributedStack, good: Judge) -> None:
    night = deferred(new_import, WAITS, lines=5)
    owners = night.triggerers()
    assert len(owners) == 2, owners
    victim = owners.most_common(1)[0][0]
    fleet.kill(victim)
    let_others_take_over(night, victim)
    back(fleet, victim)
    night.finish_pending()
    night.ends()
    good(night.row(f"{WAITS} deferred imports, a triggerer killed"))
    assert {ti["try_number"] for ti in night.loads()} == {1}
    assert len(night.imports()) == len(night.uploads()) == WAITS
