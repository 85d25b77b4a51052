"""Stores that count the writes of a task and stop it at one of them: for the DAG files of ``make crash`` and ``make chaos``.

The count goes on over the deferrals of a run, and ends with its first stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stopping import StoppingAssets, StoppingStore, writes

from airflow_bulk.runs.record_copy import clears_discard


class CountingStore(StoppingStore):
    """Stops before or after the n-th write, and keeps a list of the writes so far: when each began and ended, and its name.

    :param stop: ``"before 3"`` or ``"after 3"``; ``"before 0"`` never stops.
    """

    #: Goes before the name of each write.
    prefix = ""

    def set(self, key: str, value: Any, **options: Any) -> None:
        self._count(_name(key, value), lambda: self._store.set(key, value, **options))

    def delete(self, key: str) -> None:
        self._count(f"forget {key}", lambda: self._store.delete(key))

    def _count(self, name: str, write: Callable[[], None]) -> None:
        begun, ended = self._folder / "begun", self._folder / "ended"
        number = len(begun.read_text().splitlines()) + 1 if begun.exists() else 1
        _note(begun, f"{time.time():.6f} {self.prefix}{name}")
        here = number == int(self._write) and not (self._folder / "stopped").exists()
        if here and self._when == "before":
            self._stop()
        write()
        _note(ended, f"{number} {time.time():.6f}")
        if here and self._when == "after":
            self._stop()


class CountingCopies(CountingStore):
    """The state of the asset that holds the copy of the record (Airflow 3.4)."""

    prefix = "copy: "

    def set(self, key: str, value: Any, **options: Any) -> None:
        # Before the last slash stands what tells runs and tries apart: it differs from run to run.
        name = key.rpartition("/")[2] if "/" in key else "whose"
        self._count(name, lambda: self._store.set(key, value, **options))

    def delete(self, key: str) -> None:
        self._count(f"forget {key.rpartition('/')[2]}", lambda: self._store.delete(key))


class CountingAssets(StoppingAssets):
    """The states of a task's assets, each counting."""

    def __getitem__(self, asset: Any) -> CountingStore:
        return CountingCopies(self._states[asset], self._stop, self._folder)


class Counting:
    """Runs an operator over counting stores: the first of its bases."""

    def execute(self, context: Any) -> Any:
        stop, folder = context["params"]["stop"], Path(context["params"]["folder"])
        context["task_state_store"] = CountingStore(context["task_state_store"], stop, folder)
        if clears_discard() and "asset_state_store" in context:
            context["asset_state_store"] = CountingAssets(context["asset_state_store"], stop, folder)
        return super().execute(context)  # type: ignore[misc]


def _name(key: str, value: Any) -> str:
    """A write's key, and what it says of an import or of parts; their hashes are not shown."""
    told = sorted(one for one in writes(key, value) if len(one) < 20 and one != key.partition(".")[2])
    return " ".join([key, *told])


def _note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
