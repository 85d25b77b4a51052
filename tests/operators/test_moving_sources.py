"""A source that moves while it is checked, and what a check leaves behind when it fails."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from one_task import MemoryStore, importing, once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions


class GrowingMeanwhile(MemoryStore):
    """The export goes on being written while the task has just read all that it had found."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.source = source
        self.grown = False

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value, retention=retention)
        if key == "g1.parts.0" and not self.grown:
            self.grown = True
            with self.source.open("a") as file:
                file.write(f"{profile(11)}\n")


def test_a_file_that_is_still_being_written(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    one = task(importing(source), GrowingMeanwhile(source))
    with pytest.raises(AirflowException, match=r"still being written\? Nothing was sent") as raised:
        one.run()
    assert not isinstance(raised.value, AirflowFailException)
    assert emulator.imports() == []
    assert one.run()["lines_accepted"] == 11
    assert emulator.held() == once([profile(n) for n in range(1, 12)])


def test_a_file_that_comes_meanwhile_is_none_of_ours(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.ndjson", 10)

    class AnotherMeanwhile(MemoryStore):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            super().set(key, value, retention=retention)
            if key == "g1.parts.0":
                (tmp_path / "b.ndjson").write_text(f"{profile(99)}\n")

    one = task(importing(f"{tmp_path}/*.ndjson"), AnotherMeanwhile())
    assert one.run()["lines_accepted"] == 10


def test_a_dry_run_that_fails_leaves_no_lines_behind(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Reject rows are personal data, the unfinished ones too."""
    source = tmp_path / "profiles.ndjson.gz"
    plain = "\n".join([profile(1), *('{"operation":"UPSERT"}' for _ in range(20_000))]).encode()
    source.write_bytes(gzip.compress(plain)[:-20])
    rejects = tmp_path / "rejects"
    one = task(importing(source, dry_run=True, rejects_path=str(rejects), max_failures="100%"))
    with pytest.raises(AirflowException, match="truncated"):
        one.run()
    assert list(rejects.iterdir()) == []


def test_a_dry_run_of_nothing_obeys_on_empty(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    source.write_text("\n\n")
    with pytest.raises(AirflowFailException, match="no line"):
        task(importing(source, dry_run=True)).run()
    with pytest.raises(AirflowSkipException):
        task(importing(source, dry_run=True, on_empty="skip")).run()
    assert task(importing(source, dry_run=True, on_empty="ok")).run()["blank_lines"] == 2


def test_many_files_of_long_names(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """The record takes no value of more than 60 kB: what is named is bounded, what is compared is not."""
    folder = tmp_path.joinpath(*("x" * 200 for _ in range(4)))
    folder.mkdir(parents=True)
    for number in range(80):
        (folder / f"{number:03}{'y' * 100}.ndjson").write_text(f"{profile(number)}\n")
    one = task(importing(f"{folder}/*.ndjson", sending=SendingOptions(settle=0)))
    assert one.run()["lines_accepted"] == 80
    assert emulator.held() == once([profile(n) for n in range(80)])
