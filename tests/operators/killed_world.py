"""Where runs are killed: the emulated platforms, and steps that end badly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException
from killed_runs import MortalTask
from one_task import write_profiles

#: Steps of a kind.
run, clear = MortalTask.run, MortalTask.clear


class World(SimpleNamespace):
    """The emulated platforms, and a folder for files.

    :ivar emulator, batches, centrapay, extract_load: handles.
    :ivar files: a server that Centrapay can fetch from.
    :ivar folder: of this play alone.
    """

    def reset(self) -> None:
        """All is as at the start."""
        self.emulator.reset()
        self.quick()

    def quick(self) -> None:
        """No fault any more; what is begun from now on is over at once."""
        self.emulator.clear_faults()
        self.emulator.settings(start_delay=0, run_seconds=0)
        self.centrapay.settings(step_seconds=0)

    def heal(self) -> None:
        """No fault any more, and what was begun is over."""
        self.quick()
        self.later()

    def slow(self) -> None:
        """What is begun from now on waits, and then takes its time."""
        self.emulator.settings(start_delay=50, run_seconds=50)
        self.centrapay.settings(step_seconds=100)

    def later(self) -> None:
        """Everything that was begun is over."""
        instances = self.batches.instances()
        for instance in instances:
            for one in self.batches.executions(instance["id"]):
                if one["status"] in ("PENDING", "RUNNING"):
                    self.batches.change_execution(one["id"], end=True)
        if not instances:  # on a clock that was moved, the start that a batch run asks for lies in the past
            self.emulator.clock.advance(1000)

    def source(self) -> tuple[Path, list[str]]:
        """A file of profiles that makes two parts, and its lines."""
        path = self.folder / "profiles.ndjson"
        return path, write_profiles(path, 300)


def failing(one: MortalTask) -> None:
    """A try that ends with an error, as the circumstances have it."""
    with pytest.raises(AirflowException):
        one.run()


def cleared_while_it_waits(one: MortalTask) -> None:
    """A try that is deferred and cleared, and the try that follows."""
    later = one.meanwhile

    def clear_once() -> None:
        one.clear()
        one.meanwhile = later

    one.meanwhile = clear_once
    one.run()
