"""What one generation, or one try before its plan, leaves behind never reaches into the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from one_task import Killed, MemoryStore, importing, once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import SendingOptions, UploadDocumentsOperator


class KilledAt(MemoryStore):
    """Dies once, before the first write that fits counts."""

    def __init__(self, fits: Callable[[str, str], bool]) -> None:
        super().__init__()
        self.fits: Callable[[str, str], bool] | None = fits

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if self.fits and self.fits(key, str(value)):
            self.fits = None
            raise Killed
        super().set(key, value, retention=retention)


@pytest.mark.parametrize("overlap", [False, True])
def test_restart_in_a_given_import_has_a_baseline_of_its_own(
    emulator: Emulator, task: Any, tmp_path: Path, overlap: bool
) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 300)
    made = task(importing(source)).run()["import_id"]
    store = KilledAt(lambda key, value: key.startswith("g2.parts") and "'sent'" in value)
    one = task(
        lambda: UploadDocumentsOperator(
            task_id="t",
            import_id=made,
            source=str(source),
            exclusive=True,
            on_source_change="restart",
            sending=SendingOptions(max_part_bytes=20_000, settle=0.2, overlap=overlap),
            poll_interval=0.2,
        ),
        store,
    )
    emulator.fault("unauthorized", path=r"/executions$", method="POST", times=1, skip=1)
    with pytest.raises(AirflowException, match="401"):
        one.run()
    lines = [profile(n) for n in range(1000, 1300)]
    source.write_text("\n".join(lines) + "\n")
    with pytest.raises(Killed):
        one.run()
    assert one.run()["lines_accepted"] == 300
    held = emulator.held(made)
    assert {line: held[line] for line in lines} == once(lines)


def test_pages_of_a_try_without_a_plan_are_forgotten(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    """A plan of fewer parts must not go on in the pages that an earlier, larger one left."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 2000)
    store = KilledAt(lambda key, value: key == "g1.plan")
    one = task(importing(source, sending=SendingOptions(max_part_bytes=1000, settle=0)), store)
    with pytest.raises(Killed):
        one.run()
    assert "g1.parts.2" in store.values
    one.make = importing(source, sending=SendingOptions(max_part_bytes=2000, settle=0))
    emulator.fault("unauthorized", path=r"/executions$", method="POST", times=1, skip=1)
    with pytest.raises(AirflowException, match="401"):
        one.run()
    assert one.run()["lines_accepted"] == 2000
    assert emulator.held() == once(lines)


@pytest.mark.parametrize("rejects", [False, True])
def test_overlap_given_up_between_two_tries(
    emulator: Emulator, task: Any, tmp_path: Path, rejects: bool
) -> None:
    """What left with overlap stays recorded when the next try checks everything first."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    more = {"rejects_path": str(tmp_path / "rejects")} if rejects else {}
    emulator.fault("unauthorized", path=r"/executions$", method="POST", times=1, skip=2)
    one = task(
        importing(source, sending=SendingOptions(max_part_bytes=20_000, settle=0.2, overlap=True), **more)
    )
    with pytest.raises(AirflowException, match="401"):
        one.run()
    one.make = importing(source, **more)
    assert one.run()["lines_accepted"] == 500
    assert emulator.held() == once(lines)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("rejects", [False, True])
def test_a_layout_changed_between_two_tries_is_that_of_the_next_import(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: Any, overlap: bool, rejects: bool
) -> None:
    """Parts that have left are ranges of the source: the rest has to follow on them."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 500)
    more = {"rejects_path": str(tmp_path / "rejects")} if rejects else {}
    emulator.fault("unauthorized", path=r"/executions$", method="POST", times=1, skip=2)
    begun = SendingOptions(max_part_bytes=20_000, settle=0.2, overlap=True)
    one = task(importing(source, sending=begun, **more))
    with pytest.raises(AirflowException, match="401"):
        one.run()
    changed = SendingOptions(max_part_bytes=31_000, workers=2, settle=0.2, overlap=overlap)
    one.make = importing(source, sending=changed, **more)
    result = one.run()
    assert result["lines_accepted"] == 500
    assert emulator.held() == once(lines)
    assert "begun with parts of 20000 bytes" in caplog.text
    before = result["parts"]
    one.clear()
    assert one.run()["parts"] < before
