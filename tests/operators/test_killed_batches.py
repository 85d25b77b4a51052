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
    "runs/creation.py create_once: record.reach(there.generation)": "operators/test_lost_records.py",
    "operators/extract_load_steps.py _move: store.set(reference['node'], to_text(new))": "extract_load/test_watermark.py",
    "runs/extract_load/applies.py __call__: self._store.set('apply.writing', datetime.now(UTC).isoformat())": (
        "extract_load/test_stopped_applies.py"
    ),
    "runs/upload/spread.py plan_groups: record.write('spread', {'fingerprint': fingerprint, 'count': count})": (
        "operators/test_spread_import.py"
    ),
    "runs/watching.py waiting_since: store.set(KEY, {'since': now, 'max_tries': max_tries})": "sensors/test_resuming.py",
    "runs/record.py reach: self._write_generation(self.generation, generation, self.handed_on)": "operators/test_lost_records.py",
    "runs/seen/ledger.py _write_index: self._store.delete(f'{self._prefix}.names.{left}')": "seen/test_nights.py",
    "runs/seen/ledger.py _write_index: self._store.set(f'{self._prefix}.names.{number}', [list(row) for row in page])": "seen/test_nights.py",
    "runs/seen/ledger.py begin: self._store.set(key, msgspec.to_builtins(self.scope))": "seen/test_nights.py",
    "runs/seen/ledger.py delete: self._store.delete(key)": "seen/test_nights.py",
    "runs/seen/ledger.py keep: self._store.delete(self._key(one))": "seen/test_nights.py",
    "runs/seen/ledger.py set: self._store.set(key, value)": "seen/test_nights.py",
    "runs/seen/ledger.py write: self._store.set(self._key(name_hash(file.name)), msgspec.to_builtins(file))": "seen/test_nights.py",
    "runs/seen/selection.py _record_choice: self._record.write('files', msgspec.to_builtins(chosen))": "seen/test_nights.py",
    "runs/seen/selection.py _record_choice: self._record.write(f'files.{count - 1}', msgspec.to_builtins(page))": "seen/test_nights.py",
    "runs/seen/selection.py make_known: self._record.hold()": "seen/test_nights.py",
    "runs/seen/selection.py open: self._record.keep('seen_life', self._life)": "seen/test_nights.py",
    "runs/seen/turns.py _join: self._store.set(f'{self._prefix}.life.{self._key}', self._life)": "seen/test_nights.py",
    "runs/seen/turns.py _join: self._store.set(self._chain(self._key, self._life, number), msgspec.to_builtins(Claim(asks=False)))": "seen/test_nights.py",
    "runs/seen/turns.py _register: self._store.set(self._slot(slot, 'entered'), True)": "seen/test_nights.py",
    "runs/seen/turns.py _register: self._store.set(self._slot(slot, 'last'), word)": "seen/test_nights.py",
    "runs/seen/turns.py _register: self._store.set(self._slot(slot, 'task'), list(mine))": "seen/test_nights.py",
    "runs/seen/turns.py _say: self._store.set(self._chain(self._key, self._life, self._try_number), msgspec.to_builtins(claim))": "seen/test_nights.py",
    "runs/seen/turns.py hold: self._store.set(self._page(self._key, self._life, self._try_number, count - 1), page)": "seen/test_nights.py",
    "runs/seen/turns.py leave: self._store.delete(f'{self._prefix}.life.{self._key}')": "seen/test_nights.py",
    "runs/seen/turns.py leave: self._store.delete(key)": "seen/test_nights.py",
    "runs/seen/turns.py leave: self._store.delete(self._chain(self._key, self._life, tried))": "seen/test_nights.py",
    "runs/upload/resending.py _begin_anew: self.record.next_generation()": "operators/test_resend_rounds.py",
    "runs/upload/resending.py _begin_next_round: self.record.next_generation(msgspec.to_builtins(following))": "operators/test_resend_lines.py",
    "runs/upload/resending.py _open: self.record.write(FORMER, msgspec.to_builtins(self.resend.former))": "operators/test_resend_lines.py",
    "runs/upload/rounds.py lines_of_round: record.write(CHOSEN, {**dataclasses.asdict(lines.chosen), **choice})": "operators/test_resend_lines.py",
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
