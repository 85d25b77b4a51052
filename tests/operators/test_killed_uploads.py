"""Every kind of upload dies at the writes of its record; whoever goes on ends with every line exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from killed_imports import IMPORTS, PLAIN, imports_overlapping, imports_refused_after_parts_have_left
from killed_runs import Named, die_everywhere
from killed_world import World

#: Two workers and a hundred deaths each; a retry is the clear without its loss.
LONG = (imports_overlapping, imports_refused_after_parts_have_left)
KINDS = [
    pytest.param(
        kind,
        cleared,
        id=f"{kind.__name__}-{'cleared' if cleared else 'retried'}",
        marks=pytest.mark.slow if kind in LONG and not cleared else (),
    )
    for kind in IMPORTS
    for cleared in (False, True)
]


@pytest.mark.parametrize(("kind", "cleared"), KINDS)
def test_killed_at_every_write(kind: Named, cleared: bool, worlds: Callable[[], World]) -> None:
    """A retry finds the task state of Airflow 3.3; a clear has deleted that of 3.4, and its copy is found."""
    die_everywhere(kind, worlds, every=kind in PLAIN, clear=cleared, discard=cleared)
