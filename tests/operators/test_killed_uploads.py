"""Every kind of upload dies at the writes of its record; whoever goes on ends with every line exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from killed_imports import IMPORTS, PLAIN
from killed_runs import Named, die_everywhere
from killed_world import World


@pytest.mark.parametrize("cleared", [False, True], ids=["retried", "cleared"])
@pytest.mark.parametrize("kind", IMPORTS, ids=lambda kind: kind.__name__)
def test_killed_at_every_write(kind: Named, cleared: bool, worlds: Callable[[], World]) -> None:
    """A retry finds the task state of Airflow 3.3; a clear has deleted that of 3.4, and its copy is found."""
    die_everywhere(kind, worlds, every=kind in PLAIN, clear=cleared, discard=cleared)
