"""A store that stops a task at one exact write: for the DAG files of crash tests, on any platform.

Nothing of the product is changed. ``context["task_state_store"]`` is Airflow's own interface; an operator that is
:class:`Stopping` hands a store on that stops before or after the write that the run's ``stop`` names, says so in a file,
and goes on when the test says so.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.runs.record_copy import clears_discard

#: A task that nobody lets go ends by itself.
LONGEST_STOP = 400.0
#: The params of a DAG whose runs may be stopped.
PARAMS: dict[str, Any] = {
    "folder": "",
    "max_part_bytes": "24000",
    # "before" or "after" the write of "import intent", "import id" (or of a batch, or of a batch's execution), of "end",
    # or of a part's state: "commit 1".
    "stop": "",
    "stop_try": 1,
    "stop_index": -1,
    "workers": "1",
    "overlap": "false",
    "limit": "0",
    # The Airflow variable that holds the limit instead, so that it can be changed before a clear.
    "limit_variable": "",
    "check": "true",
    "settle": "4",
    "cancel_on_kill": "true",
}

#: A retry follows at once: the earlier try may still be on the way.
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(0)}
#: Arguments of every operator that sends; what a run may choose is in ``PARAMS``.
ARGUMENTS: dict[str, Any] = {
    "max_failures": "{{ var.value.get(params.limit_variable, '0') if params.limit_variable else params.limit }}",
    "cancel_on_kill": "{{ params.cancel_on_kill }}",
    "sending": SendingOptions(
        max_part_bytes="{{ params.max_part_bytes }}",
        workers="{{ params.workers }}",
        overlap="{{ params.overlap }}",
        check="{{ params.check }}",
        settle="{{ params.settle }}",
    ),
    "timeout": timedelta(minutes=10),
    **RETRIES,
}


class StoppingStore:
    """A task's store that stops the task at one write, once."""

    def __init__(self, store: Any, stop: str, folder: Path) -> None:
        self._store = store
        self._when, _, self._write = stop.partition(" ")
        self._folder = folder
        self._stopped = False

    def get(self, key: str, default: Any = None) -> Any:
        return self._store.get(key, default)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def set(self, key: str, value: Any, **options: Any) -> None:
        here = not self._stopped and self._write in writes(key, value)
        if here and self._when == "before":
            self._stop()
        self._store.set(key, value, **options)
        if here and self._when == "after":
            self._stop()

    def _stop(self) -> None:
        self._stopped = True
        (self._folder / "stopping").write_text(str(os.getpid()))
        (self._folder / "stopping").rename(self._folder / "stopped")
        until = time.monotonic() + LONGEST_STOP
        while not (self._folder / "go").exists():
            if time.monotonic() > until:
                os._exit(3)
            time.sleep(0.05)


class StoppingAssets:
    """The states of a task's assets; the copy of the record in one of them comes before the record itself (Airflow 3.4)."""

    def __init__(self, states: Any, stop: str, folder: Path) -> None:
        self._states, self._stop, self._folder = states, stop, folder

    def __getitem__(self, asset: Any) -> StoppingStore:
        return StoppingStore(self._states[asset], self._stop, self._folder)


def writes(key: str, value: Any) -> set[str]:
    """What a write of the record says, in the words of ``stop``; a part's row by its state, which is one of its cells."""
    name = key.partition(".")[2]
    if name.startswith("parts."):
        return {
            f"{cell} {number}" for number, row in enumerate(value) for cell in row if isinstance(cell, str)
        }
    thing = name.partition(".")[0]
    if thing in ("import", "batch", "execution"):
        return {f"{thing} id" if value.get("id") else f"{thing} intent"}
    return {name}


class Stopping:
    """Runs an operator over a stopping store: the first of its bases."""

    def execute(self, context: Any) -> Any:
        return super().execute(self._stopping(context))  # type: ignore[misc]

    def _stopping(self, context: Any) -> Any:
        params, ti = context["params"], context["ti"]
        this_one = params["stop_try"] == ti.try_number and params["stop_index"] == ti.map_index
        if params["stop"] and this_one:
            folder = Path(params["folder"])
            if clears_discard() and params["stop"].startswith("before"):
                context["asset_state_store"] = StoppingAssets(
                    context["asset_state_store"], params["stop"], folder
                )
            else:
                context["task_state_store"] = StoppingStore(
                    context["task_state_store"], params["stop"], folder
                )
        return context
