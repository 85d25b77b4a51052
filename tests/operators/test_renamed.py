"""A task gets another name in mid-run: to Airflow it is another task, whose record is empty.

``tests/crash/test_renamed_tasks.py`` does so on a real Airflow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from fed_import import FedImport
from killed_batches import batch_runs, centrapay_batches, delegated_batches
from killed_runs import Named
from killed_world import World
from one_task import Task, importing, once, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions, UploadDocumentsOperator
from airflow_bulk.runs.record import Record

ASKED = "in this run task 'old' worked on .*, and is not in the DAG any more"


def renamed(old: Task, *, copied: bool) -> Task:
    """The task ``old`` under another name: Airflow keeps what the old name pushed, and from 3.4 on its copies."""
    new = Task(old.make, run_id=old.run_id, clears_discard=copied)
    new.others = {(old.task_id, -1): "removed", ("mapped", 0): "success"}
    new.xcom_of_others = {old.task_id: old.pushed}
    if copied:
        new.asset_state, new.xcom_of_others = old.asset_state, {}
    return new


@pytest.mark.parametrize("copied", [False, True], ids=["told by XCom", "told by the copy"])
@pytest.mark.parametrize(
    "kind", [batch_runs, centrapay_batches, delegated_batches], ids=lambda kind: kind.__name__
)
def test_a_batch_is_not_run_again_unasked(kind: Named, copied: bool, worlds: Callable[[], World]) -> None:
    made = kind(worlds())
    old = Task(made.make, clears_discard=copied)
    old.task_id = "old"
    old.run()
    new = renamed(old, copied=copied)
    for _ in range(2):  # a retry asks again
        with pytest.raises(AirflowException, match=ASKED):
            new.run()
    made.check(1)
    new.clear()
    new.run()
    made.check(2)


def test_all_old_names_are_named_and_each_is_asked_about(worlds: Callable[[], World]) -> None:
    """Tasks are often renamed together: an answer about one is none about another."""
    made = batch_runs(worlds())
    olds = [Task(made.make, run_id="moved") for _ in range(3)]
    for old, task_id in zip(olds, ("load", "load_2", "load_3"), strict=True):
        old.task_id = task_id
        old.run()
    new = renamed(olds[1], copied=False)
    new.xcom_of_others = {old.task_id: old.pushed for old in olds}
    for gone in (["load_2"], ["load_2", "load_3"]):
        new.others = {("load", -1): "success", **{(one, -1): "removed" for one in gone}}
        new.task_ids = ["load"]
        names = " and ".join(map(repr, gone))
        with pytest.raises(AirflowException, match=f"in this run task {names} worked on"):
            new.run()
        new.clear()
    made.check(3)
    new.run()
    made.check(4)


def test_the_next_try_of_the_old_name_says_again_what_it_works_on(worlds: Callable[[], World]) -> None:
    """Airflow 3.3 empties a task's XCom when a try begins, and that try may end before it does anything."""
    made = batch_runs(worlds())
    old = Task(made.make)
    old.task_id = "old"
    old.run()
    old.pushed.clear()
    old.state = "running"
    Record.of(old.context())
    with pytest.raises(AirflowException, match=ASKED):
        renamed(old, copied=False).run()


@pytest.mark.parametrize(
    "kind", [batch_runs, centrapay_batches, delegated_batches], ids=lambda kind: kind.__name__
)
def test_a_task_that_left_and_had_not_begun_is_none_of_this_one(
    kind: Named, worlds: Callable[[], World]
) -> None:
    made = kind(worlds())
    one = Task(made.make, clears_discard=True)
    one.others = {("never_ran", -1): "removed", ("t", 0): "removed"}
    one.run()
    made.check(1)


def test_an_upload_into_a_given_import(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """What an old name sent into another import is no reason to ask."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    fed = FedImport(emulator)

    def uploading(import_id: str) -> Any:
        return lambda: UploadDocumentsOperator(
            task_id="t",
            import_id=import_id,
            source=str(source),
            sending=SendingOptions(settle=0.2),
            poll_interval=0.2,
        )

    old = task(uploading(fed.id))
    old.task_id = "old"
    old.run()
    new = renamed(old, copied=False)
    with pytest.raises(AirflowException, match=f"task 'old' worked on import {fed.id}, and"):
        new.run()
    assert emulator.held(fed.id) == once(lines)
    elsewhere = renamed(old, copied=False)
    elsewhere.make = uploading(FedImport(emulator).id)
    elsewhere.run()
    new.clear()
    new.run()
    assert emulator.held(fed.id) == dict.fromkeys(once(lines), 2)


def test_a_task_that_was_renamed_in_mid_run(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """To Airflow it is another task, and its record is empty: it is not sent twice before a person has said what it is."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    old = task(importing(source), run_id="renamed", clears_discard=True)
    old.task_id = "old"
    first = old.run()
    told = {}
    new = task(lambda: importing(source, **told)(), run_id="renamed", clears_discard=True)
    new.others = {("old", -1): "removed", ("mapped", 0): "success", ("never_ran", -1): "removed"}
    with pytest.raises(
        AirflowException, match=f"{first['import_id']} was created in this run by task 'old'"
    ) as raised:
        new.run()
    assert emulator.held() == once(lines)
    same, another = re.findall("name_marker='([0-9a-f]{12})'", str(raised.value))
    sending = SendingOptions(max_part_bytes=20_000, settle=0.2, name_marker=same)
    told["sending"] = sending
    assert new.run()["import_id"] == first["import_id"]
    assert emulator.held() == once(lines)

    other = task(lambda: importing(source, **told)(), run_id="renamed", clears_discard=True)
    other.others = new.others
    told["sending"] = SendingOptions(max_part_bytes=20_000, settle=0.2, name_marker=another)
    assert other.run()["import_id"] != first["import_id"]
    assert emulator.held() == dict.fromkeys(once(lines), 2)


def test_another_task_of_the_run_is_none_of_this_one(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Two tasks that import the same file into imports of the same name: both are in the DAG."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    for task_id in "mapped", "t":
        one = task(importing(source), run_id="both", clears_discard=True)
        one.task_id, one.others = task_id, {("mapped", -1): "success"}
        one.run()
    assert emulator.held() == dict.fromkeys(once(lines), 2)
