"""The samples as they are stored, and the task of a sample, brought back beside today's package."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from killed_runs import Death, Kind
from more_kinds import SavedKind, SkewTask
from saved_world import Contents, bring_back, from_text, new_world, time_of
from taking import kinds

SAMPLES = Path(__file__).with_name("samples")


class Sample(NamedTuple):
    """One moment of one run, as a version has left it.

    :param version: the folder: version and commit.
    :param number: within its kind.
    :param text: of the sample, as JSON.
    """

    version: str
    kind: str
    number: int
    moment: str
    text: str

    @property
    def id(self) -> str:
        """The name of its test."""
        return f"{self.version}-{self.kind}-{self.number}-{self.moment.replace(' ', '-')}"

    @property
    def plain(self) -> dict[str, Any]:
        """The sample as it is stored."""
        plain: dict[str, Any] = json.loads(self.text)
        return plain


def versions() -> list[str]:
    """All versions that samples are kept of, the newest last."""
    taken = {path.parent.name: json.loads(path.read_text()) for path in SAMPLES.glob("*/taken_from.json")}
    return sorted(taken, key=lambda name: taken[name]["committed"])


@functools.cache
def samples() -> list[Sample]:
    """All samples of all versions."""
    found = []
    for version in versions():
        for path in sorted((SAMPLES / version).glob("*.json")):
            if path.stem in kinds():
                found += [
                    Sample(version, path.stem, number, one["moment"], json.dumps(one))
                    for number, one in enumerate(json.loads(path.read_text()))
                ]
    return found


@functools.cache
def contents(version: str) -> Contents:
    """The contents of a version's files."""
    return Contents(json.loads((SAMPLES / version / "contents.json").read_text()))


def chosen(moment: str, every_day: Collection[str] | None = None) -> list[Any]:
    """The samples of one moment as parameters of a test; of each kind one of the newest version is quick enough for every day.

    :param moment: ``died``, ``deferred`` or ``ended``.
    :param every_day: only of these kinds; None is all.
    """
    of_moment = [one for one in samples() if one.moment.startswith(moment)]
    newest: dict[str, Sample] = {}
    for place in (1, 0):  # the second one of each kind: the first one has not begun much
        for kind in kinds() if every_day is None else every_day:
            mine = [one for one in of_moment if one.kind == kind and one.version == versions()[-1]]
            if len(mine) > place:
                newest.setdefault(kind, mine[place])
    return [
        pytest.param(one, id=one.id, marks=() if one in newest.values() else pytest.mark.slow)
        for one in of_moment
    ]


@contextmanager
def brought_back(sample: Sample, folder: Path) -> Iterator[tuple[SkewTask, Kind, dict[str, Any]]]:
    """The task of a sample in its world and in its time, and what the sample says besides."""
    plain = sample.plain
    with new_world(folder, sample.kind) as world:
        kind = kinds()[sample.kind](world)
        discards = plain["copy"] is not None
        one = SkewTask(kind.make, Death(), clears_discard=discards, meanwhile=kind.meanwhile)
        one.kind, one.run_id = kind, "run"
        plain = from_text(json.dumps(plain), world)
        bring_back(plain["world"], world, contents(sample.version))
        if isinstance(kind, SavedKind):
            kind.again()
        one.store.values = _texts(plain["state"])
        if one.asset_state is not None:
            one.asset_state.values = _texts(plain["copy"])
        if plain["files"] is not None:
            kind.files.values = _texts(plain["files"])  # type: ignore[attr-defined]
        for name, value in plain["numbers"].items():
            setattr(one, name, value)
        if plain["circumstances"]:
            kind.state.update(plain["circumstances"])  # type: ignore[attr-defined]
        with time_of(plain["world"]):
            yield one, kind, plain


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in values.items()}
