"""A clear deletes the task state, as from Airflow 3.4 on: it means what it meant before (docs/retry_or_clear.md)."""

from __future__ import annotations

import contextlib
import functools
import itertools
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from fed_import import FedImport
from one_task import (
    AssetState,
    Killed,
    MemoryStore,
    dies_at_outcome,
    importing,
    once,
    profile,
    running,
    write_profiles,
)

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.operators.document_import import SendingOptions, UploadDocumentsOperator
from airflow_bulk.runs.failures import DeadlinePassed
from airflow_bulk.runs.record_copy import identity_hash


class Death:
    """Dies at one write of any store, before or after it counts."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.writes = at, after, 0

    def write(self, write: Any, *arguments: Any) -> None:
        self.writes += 1
        if self.writes == self.at and not self.after:
            raise Killed
        write(*arguments)
        if self.writes == self.at:
            raise Killed


def dying(one: Any, death: Death) -> Any:
    """The task, whose two stores are mortal."""

    class TaskState(MemoryStore):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            death.write(super().set, key, value)

    class Copies(AssetState):
        def set(self, key: str, value: Any) -> None:
            death.write(super().set, key, value)

    one.store, one.asset_state = TaskState(), Copies()
    return one


@pytest.mark.parametrize("overlap", [False, True])
def test_killed_at_every_write_retried_killed_and_cleared(
    emulator: Emulator, task: Any, tmp_path: Path, overlap: bool
) -> None:
    """One death and a clear: test_killed_uploads.py."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    workers = 2 if overlap else 1
    sending = SendingOptions(max_part_bytes=20_000, settle=0, overlap=overlap, workers=workers)
    # With two workers the writes come in no fixed order: every third one is as good as each.
    for at, after in (
        (at, after) for at in itertools.count(1, 3 if overlap else 1) for after in (False, True)
    ):
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        death = Death(at, after=after)
        one = dying(task(importing(source, sending=sending)), death)
        try:
            one.run()
        except Killed:
            if one.state == "success":
                break  # Airflow knows of it: a clear would rightly import again
            death.at = death.writes + 3
            with contextlib.suppress(Killed):
                one.run()
            death.at = 0
            if one.state == "success":
                break
            one.clear()
            result = one.run()
            assert emulator.held() == once(lines), (at, after)
            assert result["lines_accepted"] == 300
            assert len(emulator.imports()) == 1
        else:
            break
    assert at > 20


def test_a_cleared_success_imports_again(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    one = task(importing(source), clears_discard=True)
    results = [one.run()]
    for times in 2, 3:
        one.clear()
        results.append(one.run())
        assert emulator.held() == dict.fromkeys(once(lines), times)
    assert len({one["import_id"] for one in results}) == 3


def test_a_cleared_success_is_kept(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    one = task(importing(source, on_clear="keep"), clears_discard=True)
    first = one.run()
    one.clear()
    assert one.run() == first
    assert emulator.held() == once(lines)


def test_a_cleared_failed_judgement_is_judged_again(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "mixed.ndjson"
    source.write_text(f"nothing\n{profile(1)}\n")
    options: dict[str, Any] = {"max_failures": 0}
    one = task(
        lambda: importing(source, sending=SendingOptions(check=False), **options)(), clears_discard=True
    )
    for clears in False, False, True:
        if clears:
            one.clear()
        with pytest.raises(AirflowFailException, match=r"1 of 2 lines failed"):
            one.run()
    options["max_failures"] = 1
    one.clear()
    result = one.run()
    assert (result["lines_accepted"], result["lines_failed"]) == (1, 1)
    assert len(emulator.imports()) == 1
    assert len(emulator.executions(result["import_id"])) == 1


def test_an_upload_into_a_given_import_goes_on(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """No marker tells which execution is whose there: only the copy does."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    given = task(importing(source)).run()["import_id"]
    sending = SendingOptions(max_part_bytes=20_000, settle=0.2)

    def upload() -> Any:
        return UploadDocumentsOperator(task_id="t", import_id=given, source=str(source), sending=sending)

    one = task(upload, clears_discard=True)
    one.store.set = dies_at_outcome(one.store, 2)
    with pytest.raises(Killed):
        one.run()
    one.clear()
    result = one.run()
    assert emulator.held() == dict.fromkeys(once(lines), 2)
    assert result["lines_accepted"] == 300


@pytest.mark.parametrize("discards", [False, True])
def test_an_upload_goes_on_in_the_import_that_it_has_begun(
    emulator: Emulator, task: Any, tmp_path: Path, discards: bool
) -> None:
    """The task that creates the import was cleared together with the upload, and has created another one."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    sending = SendingOptions(max_part_bytes=20_000, settle=0)
    given, other, third = (FedImport(emulator).id for _ in range(3))
    into = {"import_id": given}

    def upload() -> Any:
        return UploadDocumentsOperator(task_id="t", source=str(source), sending=sending, **into)

    one = task(upload, clears_discard=discards)
    for skip in 0, 1:  # refused before any part was sent, then after the first one
        emulator.fault("forbidden", path=r"/executions$", method="POST", times=1, skip=skip)
        with pytest.raises(AirflowException, match="403"):
            one.run()
        one.clear()
        into["import_id"] = other
    into["import_id"] = third
    sent = emulator.held(other)
    assert 0 < sent.total() < 300
    with pytest.raises(
        AirflowFailException, match=f"names {third}, .* this source into {other}: name that one"
    ):
        one.run()
    assert emulator.held() == sent
    into["import_id"] = other
    one.clear()
    assert one.run()["lines_accepted"] == 300
    assert emulator.held() == emulator.held(other) == once(lines)


def test_a_superseded_try_that_still_writes_is_not_believed(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """The asset's state takes what an older try writes too late; a newer try's copies win, whoever wrote last."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    one = task(importing(source), clears_discard=True)
    one.run()
    one.clear()
    late = {key: value for key, value in one.asset_state.values.items() if "/1/" in key}
    one.run()
    one.asset_state.values |= late  # what try 1 wrote, once more
    one.clear()
    one.run()
    assert emulator.held() == dict.fromkeys(once(lines), 3)


@pytest.mark.parametrize("tries", [1, 2])
def test_a_record_that_was_begun_before_there_were_copies(
    emulator: Emulator, task: Any, tmp_path: Path, tries: int
) -> None:
    """Airflow was upgraded in mid-run, while the task was deferred (1 try) or before its retry (2)."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    one = task(importing(source))
    one.store.set = dies_at_outcome(one.store, 1)
    with pytest.raises(Killed):
        one.run()
    one.asset_state = AssetState()
    one.try_number -= 2 - tries
    # Killed where it has read everything and sent nothing.
    death = Death(1, after=False)
    kept, one.store = one.store, MemoryStore()
    one.store.values = kept.values
    one.store.set = lambda key, value, **options: (
        death.write(MemoryStore.set, one.store, key, value)
        if ".parts." in key
        else MemoryStore.set(one.store, key, value)
    )
    with pytest.raises(Killed):
        one.run()
    one.store.set = functools.partial(MemoryStore.set, one.store)
    one.clear()
    one.run()
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 1


def test_a_record_of_before_whose_first_copying_try_dies(
    batches: IntegrationBatchEmulator, emulator: Emulator, task: Any, instance: str
) -> None:
    """A batch run has no marker: the try that goes on copies what it reads, wherever the one before it died."""
    emulator.settings(start_delay=1000)
    options: dict[str, Any] = {"timeout": 0.1}
    for at, after in ((at, after) for at in itertools.count(1) for after in (False, True)):
        one = task(lambda: running(instance, settle=0, cancel_on_kill=False, **options)())
        with pytest.raises(DeadlinePassed):
            one.run()
        made = len(batches.executions(instance))
        before = one.store.values
        death = Death(at, after=after)
        dying(one, death).store.values = before
        try:
            one.run()
        except Killed:
            with pytest.raises(DeadlinePassed):
                one.run()
            one.clear()
            with pytest.raises(DeadlinePassed):
                one.run()
            assert len(batches.executions(instance)) == made, (at, after)
        except DeadlinePassed:
            break
    assert at > 4


def test_iterations_of_a_loop_are_not_each_other(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """Airflow 3.4 gives every iteration the map index -1, and tells them apart by their region."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    region = uuid.uuid4()
    for index in 0, 1:
        one = task(importing(source), run_id="looped", clears_discard=True)
        one.place = {"region_id": region, "region_index": index}
        one.run()
    assert emulator.held() == dict.fromkeys(once(lines), 2)


def test_a_list_that_cannot_be_read_is_not_empty(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    emulator.fault("forbidden", method="GET", path=r"/document_imports$", times=1)
    one = task(importing(source), run_id="lost")
    with pytest.raises(Exception, match="403"):
        one.run()
    assert emulator.imports() == []
    one.run()
    assert emulator.held() == once(lines)


def test_a_mapped_task_keeps_its_record_in_another_region(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    """Airflow 3.4 gives each expansion a region, whose id is chance: another one where it is expanded anew."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 300)
    one = dying(task(importing(source), clears_discard=True), Death(0, after=True))
    one.store.set = dies_at_outcome(one.store, 1)
    one.map_index, one.place = 0, {"region_id": uuid.uuid4(), "region_index": 0}
    with pytest.raises(Killed):
        one.run()
    assert len(emulator.imports()) == 1
    one.clear()
    one.place["region_id"] = uuid.uuid4()
    one.run()
    assert emulator.held() == once(lines)
    assert len(emulator.imports()) == 1


def test_what_a_loop_tells_apart_stays_apart() -> None:
    """Iterations of a loop all have map index -1; what is mapped in them has the same map indices in each."""

    def told_apart(map_index: int, group: Any = None) -> bool:
        places = [
            SimpleNamespace(
                dag_id="d",
                run_id="r",
                task_id="t",
                map_index=map_index,
                region_id=uuid.uuid4(),
                region_index=max(map_index, 0),
                task=SimpleNamespace(task_group=group),
            )
            for _ in range(2)
        ]
        return identity_hash(places[0]) != identity_hash(places[1])

    class LoopTaskGroup(SimpleNamespace):
        """Named as Airflow names it."""

    loop = LoopTaskGroup(parent_group=None)
    assert told_apart(-1)
    assert not told_apart(0, SimpleNamespace(parent_group=None))
    assert told_apart(0, SimpleNamespace(parent_group=loop))
