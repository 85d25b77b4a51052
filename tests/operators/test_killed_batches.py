"""Every kind of batch dies at the writes of its record; whoever goes on ends with everything done exactly once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import record_writes
from killed_batches import BATCHES, PLAIN
from killed_imports import IMPORTS
from killed_runs import Named, die_everywhere, whole
from killed_world import World

#: Writes that no submitted work rests on, and the file that tests each of them.
ELSEWHERE = {
    "runs/record.py tell_work: self.keep(WORK, work)": "operators/test_renamed.py",
    "runs/renamed.py refuse_renamed: record.write(ASKED, {'max_tries': record.max_tries, 'tasks': sorted(gone)})": (
        "operators/test_renamed.py"
    ),
    "runs/record.py reach: self._set('generation', {'number': self.generation, 'reached': generation})": (
        "operators/test_lost_records.py"
    ),
    "runs/creation.py create_once: record.reach(there.generation)": "operators/test_lost_records.py",
    "operators/extract_load_steps.py _move: store.set(reference['node'], to_text(new))": "extract_load/test_watermark.py",
    "runs/extract_load/steps.py __call__: self._store.set('apply.writing', datetime.now(UTC).isoformat())": (
        "extract_load/test_stopped_applies.py"
    ),
    "runs/watching.py waiting_since: store.set(KEY, {'since': now, 'max_tries': max_tries})": "sensors/test_resuming.py",
}


@pytest.mark.parametrize("cleared", [False, True], ids=["retried", "cleared"])
@pytest.mark.parametrize("kind", BATCHES, ids=lambda kind: kind.__name__)
def test_killed_at_every_write(kind: Named, cleared: bool, worlds: Callable[[], World]) -> None:
    """A retry finds the task state of Airflow 3.3; a clear has deleted that of 3.4, and its copy is found."""
    die_everywhere(kind, worlds, every=kind in PLAIN, clear=cleared, discard=cleared)


def test_every_write_is_reached(worlds: Callable[[], World]) -> None:
    """A new write of the record needs a kind of run that reaches it, or it was never tried to die there."""
    lines: set[tuple[Path, int]] = set()
    for kind in [*IMPORTS, *BATCHES]:
        death = whole(kind, worlds, discard=True)
        assert death.unknown == [], kind.__name__
        lines |= death.lines
    reached = record_writes.reached(lines)
    missing = {one.name for one in record_writes.writes()} - reached
    assert missing - set(ELSEWHERE) == set(), (
        "no kind of run in killed_imports.py and killed_batches.py reaches these"
    )
    assert all((record_writes.ROOT / "tests" / file).exists() for file in ELSEWHERE.values())
    assert set(ELSEWHERE) - missing == set(), "these are reached, or gone: take them out of ELSEWHERE"
