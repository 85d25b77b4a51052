"""Every kind of run dies at every write of its record; whoever goes on ends with everything exactly once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import record_writes
from file_server import FileServer
from killed_batches import BATCHES
from killed_imports import IMPORTS
from killed_runs import Death, play
from killed_world import Named, World

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator

KINDS = [*IMPORTS, *BATCHES]
PLAIN = {
    kind
    for kind in KINDS
    if kind.__name__
    in {
        "imports",
        "imports_deferred",
        "uploads_into_a_given_import",
        "documents_of_a_batch",
        "batch_runs",
        "centrapay_batches",
        "delegated_batches",
    }
}
#: Writes that no submitted work rests on, and the file that tests each of them.
ELSEWHERE = {
    "operators/extract_load_steps.py _move: store.set(reference['node'], to_text(new))": "extract_load/test_watermark.py",
    "runs/extract_load/steps.py __call__: self._store.set('apply.writing', datetime.now(UTC).isoformat())": (
        "extract_load/test_stopped_applies.py"
    ),
    "runs/watching.py waiting_since: store.set(KEY, {'since': now, 'max_tries': max_tries})": "sensors/test_resuming.py",
}


@pytest.fixture
def worlds(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[], World]]:
    """``worlds()``: the platforms as at the start, and a folder of its own."""
    centrapay, extract_load = CentrapayEmulator(emulator), ExtractLoadEmulator(emulator)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json(account_id=ACCOUNT))
    monkeypatch.setenv("AIRFLOW_CONN_EL_SERVER", extract_load.connection_json("server"))
    numbers = itertools.count()
    with FileServer() as files:

        def new() -> World:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            world = World(
                emulator=emulator,
                batches=IntegrationBatchEmulator(emulator),
                centrapay=centrapay,
                extract_load=extract_load,
                files=files,
                folder=folder,
            )
            world.reset()
            return world

        yield new


@pytest.mark.parametrize("cleared", [False, True], ids=["retried", "cleared"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_killed_at_every_write(kind: Named, cleared: bool, worlds: Callable[[], World]) -> None:
    """A retry finds the task state of Airflow 3.3, or a clear has deleted that of 3.4.

    The odd circumstances die at the first write of each place in the code, the plain kinds at every write.
    """
    modes: dict[str, Any] = {"clear": cleared, "clears_discard": cleared}
    whole = Death()
    assert not play(kind(worlds()), whole, **modes)
    died = [
        play(kind(worlds()), Death(at, after=after), **modes)
        for at, after in whole.moments(every=kind in PLAIN)
    ]
    # Two workers end in no fixed order, and so a run may make a write less.
    assert died.count(False) <= 4 <= len(died)


def test_every_write_is_reached(worlds: Callable[[], World]) -> None:
    """A new write of the record needs a kind of run that reaches it, or it was never tried to die there."""
    lines: set[tuple[Path, int]] = set()
    for kind in KINDS:
        for clears_discard in False, True:
            death = Death()
            play(kind(worlds()), death, clear=False, clears_discard=clears_discard)
            assert death.unknown == [], kind.__name__
            lines |= death.lines
    reached = record_writes.reached(lines)
    missing = {one.name for one in record_writes.writes()} - reached
    assert missing - set(ELSEWHERE) == set(), (
        "no kind of run in killed_imports.py and killed_batches.py reaches these"
    )
    assert all((record_writes.ROOT / "tests" / file).exists() for file in ELSEWHERE.values())
    assert set(ELSEWHERE) - missing == set(), "these are reached, or gone: take them out of ELSEWHERE"
