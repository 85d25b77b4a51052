"""A store that counts the writes of a task and stops it at one of them: for the DAG files of ``make crash`` and ``make chaos``.

The count goes on over the deferrals of a run, and ends with its first stop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stopping import StoppingStore, writes


class CountingStore(StoppingStore):
    """Stops before or after the n-th write, and keeps a list of the writes so far.

    :param stop: ``"before 3"`` or ``"after 3"``; ``"before 0"`` never stops.
    """

    def set(self, key: str, value: Any, **options: Any) -> None:
        done = self._folder / "writes"
        with done.open("a+") as file:
            file.write(" ".join([key, *sorted(writes(key, value))]) + "\n")
        number = len(done.read_text().splitlines())
        here = number == int(self._write) and not (self._folder / "stopped").exists()
        if here and self._when == "before":
            self._stop()
        self._store.set(key, value, **options)
        if here and self._when == "after":
            self._stop()


class Counting:
    """Runs an operator over a counting store: the first of its bases."""

    def execute(self, context: Any) -> Any:
        folder = Path(context["params"]["folder"])
        context["task_state_store"] = CountingStore(
            context["task_state_store"], context["params"]["stop"], folder
        )
        return super().execute(context)  # type: ignore[misc]
