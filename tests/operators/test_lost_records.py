"""Every record is lost: the marker in an import's name finds what there is, and what a person answers counts for one task alone."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from one_task import Killed, Task, dies_at_outcome, importing, once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions

WORD = "name_marker='([0-9a-f]{12})'"


def answered(*words: str) -> SendingOptions:
    """What a person writes into the DAG file."""
    return SendingOptions(max_part_bytes=20_000, settle=0.2, name_marker=" ".join(words))


def test_every_record_is_lost_and_the_marker_finds_the_import(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that was restored from a backup: neither the task state nor its copy is there."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    first = task(importing(source), run_id="lost").run()
    with caplog.at_level(logging.WARNING):
        again = task(importing(source), run_id="lost").run()
    assert emulator.held() == once(lines)
    assert again["import_id"] == first["import_id"]
    assert sorted(again["execution_ids"]) == sorted(first["execution_ids"])
    assert f"{first['import_id']} on the platform bears this task's mark" in caplog.text


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
def test_every_record_is_lost_in_mid_import(
    emulator: Emulator, task: Any, tmp_path: Path, parts: int, overlap: bool
) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    sending = SendingOptions(max_part_bytes=20_000, settle=0.2, overlap=overlap, workers=2 if overlap else 1)
    one = task(importing(source), run_id="lost")
    one.store.set = dies_at_outcome(one.store, parts)
    with pytest.raises(Killed):
        one.run()
    # Another layout would cut other parts; only the same one tells what each execution holds.
    lost = task(importing(source, sending=sending), run_id="lost")
    result = lost.run()
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 1
    assert result["lines_accepted"] == 300


@pytest.mark.parametrize("lines", [177, 300], ids=["other line counts", "the same line counts"])
def test_every_record_is_lost_and_the_source_is_another(
    emulator: Emulator, task: Any, tmp_path: Path, lines: int
) -> None:
    """Another Airflow on the same datamart, or a deleted run that was triggered again: nothing is taken for sent."""
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 300)
    first = task(importing(source), run_id="lost").run()
    before = emulator.held()
    source.write_text("".join(profile(number) + "\n" for number in range(1000, 1000 + lines)))
    with pytest.raises(AirflowException, match=f"{first['import_id']} .* another source") as raised:
        task(importing(source), run_id="lost").run()
    assert emulator.held() == before
    (word,) = re.findall(WORD, str(raised.value))
    assert task(importing(source, sending=answered(word)), run_id="lost").run()["lines_accepted"] == lines
    assert emulator.held().total() == 300 + lines


def test_every_record_is_lost_and_the_parts_are_cut_in_another_way(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    task(importing(source), run_id="lost").run()
    sending = SendingOptions(max_part_bytes=15_000, settle=0.2)
    with pytest.raises(AirflowException, match="fits no part"):
        task(importing(source, sending=sending), run_id="lost").run()
    assert emulator.held() == once(lines)


def test_every_record_is_lost_while_a_cleared_success_imports_again(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """What is half sent is the second import; a later clear begins the third one."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    one = task(importing(source), run_id="lost", clears_discard=True)
    first = one.run()
    one.clear()
    one.store.set = dies_at_outcome(one.store, 1)
    with pytest.raises(Killed):
        one.run()
    lost = task(importing(source), run_id="lost", clears_discard=True)
    second = lost.run()
    assert second["import_id"] != first["import_id"]
    assert emulator.held() == dict.fromkeys(once(lines), 2)
    lost.clear()
    third = lost.run()
    assert [one["import_id"] for one in (first, second, third)] == [one["id"] for one in emulator.imports()]
    assert emulator.held() == dict.fromkeys(once(lines), 3)


def test_an_answer_that_stays_in_the_dag_is_none_of_other_runs(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """The next run sends the same file, and then another one: each imports into an import of its own."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    old = task(importing(source), run_id="monday")
    old.task_id = "old"
    first = old.run()["import_id"]
    new = task(importing(source), run_id="monday")
    new.others = {("old", -1): "removed"}
    with pytest.raises(AirflowException) as raised:
        new.run()
    stays = importing(source, sending=answered(re.findall(WORD, str(raised.value))[0]))
    new.make = stays
    assert new.run()["import_id"] == first
    assert emulator.held() == once(lines)
    tuesday = task(stays, run_id="tuesday").run()["import_id"]
    assert emulator.held(tuesday) == once(lines)
    changed = write_profiles(source, 200)
    wednesday = task(stays, run_id="wednesday").run()["import_id"]
    assert emulator.held(wednesday) == once(changed)
    assert len({first, tuesday, wednesday}) == 3


def test_each_mapped_task_that_was_renamed_has_an_answer_of_its_own(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """Both import the same file, so that only their words tell them apart."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)

    def mapped(task_id: str, index: int, **more: Any) -> Task:
        one: Task = task(importing(source, **more), run_id="mapped")
        one.task_id, one.map_index = task_id, index
        return one

    first = [mapped("old", index).run()["import_id"] for index in (0, 1)]
    words = []
    for index in 0, 1:
        new = mapped("new", index)
        new.others = {("old", index): "removed"}
        with pytest.raises(AirflowException, match="into one text, with spaces between them") as raised:
            new.run()
        words.append(re.findall(WORD, str(raised.value))[0])
    for index in 0, 1:
        new = mapped("new", index, sending=answered(*words))
        new.others = {("old", index): "removed"}
        assert new.run()["import_id"] == first[index]
    assert emulator.held() == dict.fromkeys(once(lines), 2)
