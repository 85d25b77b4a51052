"""Two hundred imports wait at once over two triggerers, of which one dies: none is lost, none is sent twice, none ends early."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from fleet import FleetImport, Row
from test_components import back, deferred, let_others_take_over

if TYPE_CHECKING:
    from distributed_stack import DistributedStack

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
WAITS = 200


def test_two_hundred_waits(
    new_import: Callable[[str], FleetImport], fleet: DistributedStack, good: Callable[[Row], None]
) -> None:
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
