"""A pattern over a folder in which yesterday's files still lie: only the new ones are imported."""

from __future__ import annotations

import contextlib
import itertools
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from nights import Airflow, Folder, Night
from one_task import Killed

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.runs.failures import TryFailed
from airflow_bulk.runs.seen.ledger import files_asset


def once(*groups: list[str]) -> dict[str, int]:
    return {line: 1 for group in groups for line in group}


def test_three_nights(
    nightly: Any, folder: Folder, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    monday = folder.add("monday.ndjson")
    result = nightly().run()
    assert (result["lines_accepted"], result["files_known"], result["files_held"]) == (5, 0, 0)
    tuesday = folder.add("tuesday.ndjson")
    with caplog.at_level("INFO"):
        result = nightly().run()
    assert (result["lines_read"], result["files_known"]) == (5, 1)
    assert "1 of 2 files known, and left out (on_seen='skip'): " in caplog.text
    result = nightly().run()
    assert (result["import_id"], result["lines_read"], result["files_known"]) == (None, 0, 2)
    assert emulator.held() == once(monday, tuesday)
    assert len(emulator.imports()) == 2


def test_nothing_new_skips_the_task_where_that_is_asked_for(nightly: Any, folder: Folder) -> None:
    folder.add("monday.ndjson")
    nightly().run()
    assert nightly(on_empty="fail").run()["files_known"] == 1
    with pytest.raises(AirflowSkipException, match="no new file: 1 known"):
        nightly(on_empty="skip").run()


def test_import_again_is_as_today(nightly: Any, folder: Folder, airflow: Airflow, emulator: Emulator) -> None:
    lines = folder.add("monday.ndjson")
    for _ in range(2):
        assert "files_known" not in nightly(on_seen="import_again").run()
    assert airflow.files.values == {}
    assert emulator.held() == dict.fromkeys(lines, 2)


def test_fail_names_files_and_import(nightly: Any, folder: Folder, emulator: Emulator) -> None:
    folder.add("monday.ndjson")
    first = nightly().run()
    folder.add("tuesday.ndjson")
    with pytest.raises(AirflowFailException) as caught:
        nightly(on_seen="fail").run()
    assert f"monday.ndjson (import {first['import_id']}, DAG d, task t, run " in str(caught.value)
    assert len(emulator.imports()) == 1


def test_another_name_has_a_ledger_of_its_own_and_another_task_has_not(nightly: Any, folder: Folder) -> None:
    folder.add("monday.ndjson")
    nightly().run()
    assert nightly(name="Others of {{ run_id }}").run()["files_known"] == 0
    assert nightly(name="{{ run_id }}", seen_as="Profiles of").run()["files_known"] == 1
    assert nightly(task_id="u").run()["files_known"] == 1


def test_a_touched_file_is_known_and_a_changed_one_is_new(
    nightly: Any, folder: Folder, emulator: Emulator
) -> None:
    before = folder.add("monday.ndjson")
    nightly().run()
    folder.touch("monday.ndjson")
    assert nightly().run()["files_known"] == 1
    after = folder.add("monday.ndjson")
    assert nightly().run()["files_known"] == 0
    assert emulator.held() == once(before, after)


def test_a_file_of_a_failed_import_is_not_known(nightly: Any, folder: Folder, emulator: Emulator) -> None:
    lines = folder.add("monday.ndjson")
    emulator.fault("forced_failed", times=1, taken=0.0)
    failed = nightly()
    failed.max_tries = 0
    with pytest.raises(AirflowException, match="nothing is sent again"):
        failed.run()
    assert nightly().run()["files_known"] == 0
    assert emulator.held() == once(lines)


class _DiesBefore:
    """The task's state dies at its first write of a key."""

    def __init__(self, night: Night, name: str) -> None:
        self._store, self._write, self._name = night.store, night.store.set, name
        night.store.set = self._set  # type: ignore[method-assign]

    def _set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if key.endswith(self._name):
            self._store.set = self._write  # type: ignore[method-assign]
            raise Killed
        self._write(key, value)


class _Mortal:
    """Both stores of a task: it dies at one write, before or after that counts, and nothing of it is written any more."""

    def __init__(self, night: Night, at: int, *, after: bool) -> None:
        self._at, self._after, self.writes = at, after, 0
        self._task_state = night.store.set
        night.store.set = self._set_task_state  # type: ignore[method-assign]
        files = night.airflow.files
        night.files = SimpleNamespace(
            get=files.get,
            set=lambda key, value: self._write(files.set, key, value),
            delete=lambda key: self._write(files.delete, key),
        )

    def _set_task_state(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._write(self._task_state, key, value)

    def _write(self, write: Any, *arguments: Any) -> None:
        self.writes += 1
        dies = self.writes == self._at
        if self.writes > self._at or (dies and not self._after):
            raise Killed
        write(*arguments)
        if dies:
            raise Killed

    @staticmethod
    def heal(night: Night) -> None:
        night.files = None
        del night.store.set


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("for_good", [False, True])
def test_killed_at_each_write_of_both_stores(
    emulator: Emulator, tmp_path: Path, after: bool, for_good: bool
) -> None:
    """Then another run comes, then a retry or a clear, then one more run: each file is brought once, or nothing was sent of it."""
    for at in itertools.count(1 + after, 2):
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        folder = Folder(tmp_path / f"{at}")
        lines = [folder.add("a.ndjson"), folder.add("b.ndjson")]
        airflow = Airflow(clears_discard=False)
        killed = airflow.run_of(folder)
        killed.max_tries = 0 if for_good else 2
        mortal = _Mortal(killed, at, after=after)
        try:
            killed.run()
            assert at > 25
            return
        except Killed:
            mortal.heal(killed)
        airflow.run_of(folder).run()
        if for_good:
            killed.clear()
        with contextlib.suppress(AirflowFailException):  # its files were taken while it was over
            killed.run()
        airflow.run_of(folder).run()
        known = [key for key in airflow.files.values if ".file." in key]
        assert len(known) == 2
        sent = emulator.held()
        assert set(sent) == set(once(*lines))
        if not for_good:  # what a failed import has sent stays there, and is imported again
            assert set(sent.values()) == {1}, (at, airflow.files.values)


@pytest.mark.parametrize("name", [".files", ".plan", ".import", ".parts.0", ".end"])
def test_killed_anywhere_and_another_run_meanwhile(
    nightly: Any, folder: Folder, emulator: Emulator, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever holds the file brings it: the other one leaves it out until it knows it."""
    lines = folder.add("monday.ndjson")
    killed = nightly()
    _DiesBefore(killed, name)
    with pytest.raises(Killed):
        killed.run()
    other = nightly().run()
    folder.add("tuesday.ndjson")
    result = killed.run()
    if name == ".end":  # its lines were accepted, and so its file is known
        assert (other["files_known"], other["files_held"]) == (1, 0)
    else:
        assert (other["files_known"], other["files_held"]) == (0, 1)
        assert f"DAG d, task t, run {killed.run_id}" in caplog.text
    if name in (".files", ".parts.0", ".plan"):  # nothing was planned: it takes what is there now
        assert result["lines_read"] == 10
    else:
        assert result["lines_read"] == 5
        assert {line: emulator.held()[line] for line in lines} == once(lines)
    assert set(emulator.held().values()) == {1}


def test_another_run_takes_what_a_failed_one_held_and_a_clear_of_that_sends_nothing(
    nightly: Any, folder: Folder, emulator: Emulator
) -> None:
    lines = folder.add("monday.ndjson")
    failed = nightly()
    failed.max_tries = 0
    _DiesBefore(failed, ".import")
    with pytest.raises(Killed):
        failed.run()
    assert failed.state == "failed"
    assert nightly().run()["files_known"] == 0
    failed.clear()
    with pytest.raises(
        AirflowFailException, match=r"1 of 1 file of this import were taken by another import"
    ):
        failed.run()
    assert emulator.held() == once(lines)


def test_a_cleared_success_imports_again(nightly: Any, folder: Folder, emulator: Emulator) -> None:
    lines = folder.add("monday.ndjson")
    night = nightly()
    night.run()
    night.clear()
    assert night.run()["files_known"] == 0
    assert emulator.held() == dict.fromkeys(lines, 2)
    assert nightly().run()["files_known"] == 1


def test_what_another_import_has_brought_a_cleared_success_leaves_out(nightly: Any, folder: Folder) -> None:
    folder.add("monday.ndjson")
    first = nightly()
    first.run()
    folder.add("tuesday.ndjson")
    nightly().run()
    first.clear()
    assert first.run()["files_known"] == 1


def test_a_file_that_comes_between_tries_is_left_to_the_next_run(
    nightly: Any, folder: Folder, emulator: Emulator
) -> None:
    monday = folder.add("monday.ndjson")
    night = nightly()
    _DiesBefore(night, ".import")
    with pytest.raises(Killed):
        night.run()
    tuesday = folder.add("a_file_that_sorts_before.ndjson")
    assert night.run()["lines_read"] == 5
    assert nightly().run()["lines_read"] == 5
    assert emulator.held() == once(monday, tuesday)


def test_what_is_accepted_with_failures_is_known(nightly: Any, folder: Folder, emulator: Emulator) -> None:
    folder.add("monday.ndjson")
    (folder.path / "bad.ndjson").write_text('{"operation":"UPSERT"}\n')
    result = nightly(max_failures=1, sending=SendingOptions(check=False, settle=0.1)).run()
    assert (result["lines_accepted"], result["lines_failed"]) == (5, 1)
    assert nightly().run()["files_known"] == 2


def test_a_dry_run_shows_what_is_new_and_takes_nothing(
    nightly: Any, folder: Folder, airflow: Airflow
) -> None:
    folder.add("monday.ndjson")
    nightly().run()
    folder.add("tuesday.ndjson")
    before = dict(airflow.files.values)
    result = nightly(dry_run=True).run()
    assert (result["lines_read"], result["files_known"]) == (5, 1)
    assert airflow.files.values == before


def entries(airflow: Airflow) -> int:
    return len([key for key in airflow.files.values if ".file." in key])


def test_old_entries_are_forgotten_and_those_of_the_folder_are_not(
    nightly: Any, folder: Folder, airflow: Airflow, emulator: Emulator
) -> None:
    for number in range(4):
        folder.add(f"{number}.ndjson")
    nightly(seen_files=1).run()
    for number in range(3):
        (folder.path / f"{number}.ndjson").unlink()
    airflow.days_pass(34)
    assert nightly(seen_files=1).run()["files_known"] == 1
    assert entries(airflow) == 2  # the one that lies there, and one that does not
    assert nightly(seen_days=32).run()["files_known"] == 1
    assert entries(airflow) == 1


@pytest.mark.parametrize(("limits", "left"), [({"seen_files": 1}, 1), ({"seen_days": 30}, 0)])
def test_an_import_forgets_no_file_that_lies_in_the_source_of_another(
    airflow: Airflow, tmp_path: Path, emulator: Emulator, limits: dict[str, int], left: int
) -> None:
    """Mapped tasks, or two DAGs, of one name: each sees its own folder alone."""
    ours, theirs = Folder(tmp_path / "ours"), Folder(tmp_path / "theirs")
    lines = [folder.add(f"{number}.ndjson") for folder in (ours, theirs) for number in range(5)]
    for _ in range(5):  # five weeks
        for folder in (ours, theirs):
            result = airflow.run_of(folder, **limits).run()
        airflow.days_pass(7)
    assert result["files_known"] == 5
    assert emulator.held() == dict.fromkeys(itertools.chain(*lines), 2)  # both folders hold the same lines
    for path in theirs.path.iterdir():
        path.unlink()
    airflow.days_pass(27)  # with the week above
    airflow.run_of(ours, **limits).run()
    assert entries(airflow) == 5 + left


def test_nothing_of_a_claim_stays_behind_a_success(nightly: Any, folder: Folder, airflow: Airflow) -> None:
    folder.add("monday.ndjson")
    nightly().run()
    assert not [
        key for key in airflow.files.values if any(f".{word}." in key for word in ("claim", "held", "life"))
    ]


@pytest.mark.parametrize("sending", [SendingOptions(settle=0.1), SendingOptions(settle=0.1, overlap=True)])
def test_two_runs_at_once(
    airflow: Airflow, folder: Folder, emulator: Emulator, sending: SendingOptions
) -> None:
    """Real threads; every order of steps is in test_turns.py."""
    lines = [folder.add(f"{number}.ndjson", 3) for number in range(6)]
    nights = [airflow.run_of(folder, sending=sending, task_id=task_id) for task_id in ("t", "t", "u")]
    results: list[Any] = []
    threads = [threading.Thread(target=lambda one=one: results.append(one.run())) for one in nights]
    for one in nights:
        one.state = "queued"
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert emulator.held() == once(*lines)
    assert sum(one["lines_read"] for one in results) == 18
    assert len(results) == 3


def test_what_cannot_be_used_is_said_before_anything_is_sent(nightly: Any, folder: Folder) -> None:
    folder.add("monday.ndjson")
    with pytest.raises(AirflowFailException, match="on_seen needs wait_for_completion=True"):
        nightly(wait_for_completion=False).run()
    with pytest.raises(AirflowFailException, match="seen_as must be given"):
        nightly(name="{{ run_id }} profiles").run()
    with pytest.raises(AirflowFailException, match="on_seen must be one of"):
        nightly(on_seen="sometimes").run()


def test_the_inlet_is_there_where_it_is_asked_for(folder: Folder) -> None:
    def inlets(**more: Any) -> list[str]:
        operator = ImportDocumentsOperator(
            task_id="t", document_type="USER_PROFILE", name="n", source=str(folder.path), **more
        )
        return [one.name for one in operator.inlets if one.name == "airflow-bulk-files"]

    assert inlets() == []
    assert inlets(on_seen="skip") == inlets(on_seen="{{ params.on_seen }}") == ["airflow-bulk-files"]
    partial = ImportDocumentsOperator.partial(
        task_id="t", document_type="USER_PROFILE", name="n", on_seen="skip"
    )
    assert "airflow-bulk-files" in [one.name for one in partial.kwargs["inlets"]]


def test_a_loop_is_refused(nightly: Any, folder: Folder) -> None:
    folder.add("monday.ndjson")
    night = nightly()
    group = type("LoopTaskGroup", (), {"parent_group": None})()
    context = night.context

    def in_a_loop(**params: Any) -> dict[str, Any]:
        made = context(**params)
        made["ti"].task.task_group = group
        return made

    night.context = in_a_loop
    with pytest.raises(AirflowFailException, match="cannot be used in a loop of tasks"):
        night.run()


def test_without_the_inlet(nightly: Any, folder: Folder) -> None:
    folder.add("monday.ndjson")
    night = nightly()
    context = night.context

    def without(**params: Any) -> dict[str, Any]:
        made = context(**params)
        del made["asset_state_store"][files_asset()]
        return made

    night.context = without
    with pytest.raises(
        AirflowFailException, match="needs the asset airflow-bulk-files among the task's inlets"
    ):
        night.run()


@pytest.mark.parametrize("call", ["get", "set"])
def test_a_store_that_does_not_answer(nightly: Any, folder: Folder, emulator: Emulator, call: str) -> None:
    lines = folder.add("monday.ndjson")
    night = nightly()

    def refuses(*_: Any) -> None:
        raise ConnectionError("no API server")

    files = night.airflow.files
    night.files = SimpleNamespace(
        **{"get": files.get, "set": files.set, "delete": files.delete, call: refuses}
    )
    with pytest.raises(
        TryFailed, match=r"Could not read or write what is known of files \(ConnectionError\)"
    ):
        night.run()
    night.files = None
    night.run()
    assert emulator.held() == once(lines)
