"""Take samples of what a version of the package leaves behind: records, triggers, events, XCom.

:mod:`make_samples` starts this beside the version that the samples are of: its package, and its own test modules for the
runs that are killed. A sample is a task that died after one of its writes, was deferred, or has ended, and the world around it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import killed_batches
import killed_imports
import more_kinds
from airflow.sdk.module_loading import import_string
from killed_runs import Death, Kind, MortalTask, Named
from more_kinds import SkewTask
from one_task import Killed
from saved_world import Contents, as_text, from_text, new_world, save
from watcher import take_watcher

#: Kinds that die at more of their writes, and also where a clear discards the task's state, as on Airflow 3.4: those samples
#: hold the copies.
PLAIN = ("imports", "uploads_into_a_given_import", "batch_runs", "centrapay_batches", "delegated", "resends")
#: Writes at which a kind of run dies, spread over all of them: of the plain ones, and of the others.
DEATHS, FEW_DEATHS = 7, 3
IMPORTS = (
    "imports",
    "imports_deferred",
    "imports_of_no_line",
    "imports_with_a_lost_answer",
    "imports_of_a_source_that_changed",
    "uploads_into_a_given_import",
    "created_imports",
    "documents_of_a_batch",
    "records_of_a_function",
)
BATCHES = (
    "batch_runs",
    "batch_runs_deferred_and_cancelled_by_somebody",
    "batch_runs_that_are_late",
    "ensured_batches",
    "paused_batches",
    "centrapay_batches",
    "centrapay_batches_deferred",
)
MORE = (
    "results",
    "resends",
    "seen",
    "applies",
    "delegated",
    "delegated_deferred",
    "document_import_sensor",
    "integration_batch_sensor",
    "centrapay_batch_sensor",
    "extract_load_batch_sensor",
)


def kinds() -> dict[str, Named]:
    """All kinds of run that are sampled, by name."""
    found = [(killed_imports, IMPORTS), (killed_batches, BATCHES), (more_kinds, MORE)]
    return {name: getattr(module, name) for module, names in found for name in names}


class Taking:
    """The samples of one kind of run.

    :param name: of the kind.
    :param discard: a clear discards the task's state.
    """

    def __init__(self, name: str, named: Named, contents: Contents, *, discard: bool) -> None:
        self.name, self.named, self.contents, self.discard = name, named, contents, discard
        self.samples: list[dict[str, Any]] = []

    def take(self) -> list[dict[str, Any]]:
        """Play to the end once, and then to each death that leaves something else behind."""
        whole = self.play_to_the_end()
        for at in self._chosen(whole.writes):
            self._play(Death(at, after=True))
        return self._different()

    def play_to_the_end(self) -> Death:
        """Take the samples of a run that does not die: while it is deferred, and when it has ended."""
        whole = Death()
        self._play(whole)
        return whole

    def _chosen(self, writes: int) -> list[int]:
        """Writes to die after, spread over all; the last one is the end, which stands already."""
        count = DEATHS if self.name in PLAIN and not self.discard else FEW_DEATHS
        return (
            sorted({1 + place * max(writes - 2, 0) // count for place in range(count)}) if writes > 1 else []
        )

    def _play(self, death: Death) -> None:
        with tempfile.TemporaryDirectory() as folder, new_world(Path(folder), self.name) as world:
            kind = self.named(world)
            one = SkewTask(kind.make, death, clears_discard=self.discard, meanwhile=kind.meanwhile)
            one.kind, one.run_id = kind, "run"

            def sample(moment: str, **more: Any) -> None:
                self.samples.append(
                    {"kind": self.name, "moment": moment, **_task(one, kind), **more, "world": ""}
                )
                taken = self.samples[-1]
                taken["world"] = save(world, self.contents)
                self.samples[-1] = json.loads(as_text(taken, world))

            if not death.at:
                one.meanwhile = lambda: self._deferred(kind.meanwhile, sample, world)
            try:
                for step in kind.steps:
                    # The steps of other tests call the class that they know.
                    (SkewTask.run if step is MortalTask.run else step)(one)
            except Killed:
                if one.state != "success":
                    sample(f"died after write {death.at}")
                return
            if not death.at:
                sample("ended", result=one.result)

    def _deferred(self, meanwhile: Callable[[], None], sample: Any, world: Any) -> None:
        """A task was deferred: what waits, and what it says in the end."""
        path, arguments = sys.exception().trigger.serialize()  # type: ignore[union-attr]
        sample("deferred", trigger=[path, arguments])
        meanwhile()
        taken = self.samples[-1]
        text = json.dumps([path, arguments], sort_keys=True)
        path, arguments = from_text(text, world)
        event = asyncio.run(_first_event(import_string(path)(**{**arguments, "first": 0.0})))
        taken["event"] = json.loads(as_text(event, world))

    def _different(self) -> list[dict[str, Any]]:
        """Leave out what was taken twice: the same record, in the same try."""
        found = {}
        for one in self.samples:
            key = json.dumps([one["moment"].split()[0], one["state"], one["copy"], one["numbers"]])
            found.setdefault(key, one)
        return list(found.values())


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


def _task(one: SkewTask, kind: Kind) -> dict[str, Any]:
    """What Airflow keeps of a task, and what its kind keeps."""
    files = getattr(kind, "files", None)
    return {
        "state": _values(one.store),
        "copy": None if one.asset_state is None else _values(one.asset_state),
        "files": None if files is None else _values(files),
        "xcom": one.pushed,
        "shown": one.shown,
        "numbers": {
            "try_number": one.try_number,
            "max_tries": one.max_tries,
            "clear_number": one.clear_number,
            "ended": one.ended,
            "deferrals": one.deferrals,
        },
        "circumstances": getattr(kind, "state", {}),
    }


def _values(store: Any) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in sorted(store.values.items())}


def take_all(only: str, contents: Contents) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The samples of each kind."""
    for name, named in kinds().items():
        if only in name:
            samples = Taking(name, named, contents, discard=False).take()
            if name in PLAIN:
                samples += Taking(name, named, contents, discard=True).take()
            yield name, samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="kinds whose name has this")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "contents.json"
    # Some kinds taken again leave what the others need.
    contents = Contents(json.loads(kept.read_text()) if options.only and kept.exists() else None)
    for name, samples in take_all(options.only, contents):
        lines = ",\n".join(json.dumps(one, sort_keys=True) for one in samples)
        (options.folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")
        print(f"{name}: {len(samples)} samples", flush=True)
    (options.folder / "watcher.json").write_text(json.dumps(take_watcher(contents), sort_keys=True) + "\n")
    text = json.dumps(contents.known, indent=0, sort_keys=True)
    kept.write_text(text + "\n")


if __name__ == "__main__":
    main()
