"""The spool of ``@task.import_documents``: lost, made again, removed, in a store, and how much of it is in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import Killed, Task, importing_records, once, profile
from spooled_function import Function, KilledAtSpool, decorated, names, refused_after_a_part

from airflow_bulk.emulator.handle import Emulator
from s3_server import S3Server


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.mark.parametrize("lost", ["gone", "changed"])
def test_a_spool_that_is_lost_while_parts_were_sent(emulator: Emulator, spool: Path, lost: str) -> None:
    function = Function(moving=True)
    one = refused_after_a_part(emulator, decorated(function, spool))
    (kept,) = spool.iterdir()
    content = kept.read_bytes()
    if lost == "gone":
        kept.unlink()
    else:
        kept.write_bytes(content.replace(b"crm-", b"CRM-"))
    told = "is gone" if lost == "gone" else "has changed"
    with pytest.raises(AirflowFailException, match=rf"The spool \S+ {told}, while parts of it were sent"):
        one.run()
    assert function.calls == 1
    # A person puts it back from a copy: its time is another one.
    kept.write_bytes(content)
    os.utime(kept, (1, 1))
    one.clear()
    assert emulator.held(one.run()["import_id"]) == once(function.lines)
    assert function.calls == 1


def test_a_lost_spool_with_restart(emulator: Emulator, spool: Path) -> None:
    emulator.settings(start_delay=3600)
    function = Function(moving=True)
    options: dict[str, Any] = {}
    one = refused_after_a_part(emulator, lambda: decorated(function, spool, **options)())
    next(spool.iterdir()).unlink()
    options["on_source_change"] = "restart"
    emulator.settings(start_delay=0, run_seconds=0)
    result = one.run()
    assert emulator.held(result["import_id"]) == once(function.lines)
    assert {one["status"] for each in emulator.imports() for one in emulator.executions(each["id"])} == {
        "CANCELED",
        "SUCCEEDED",
    }
    assert function.calls == 2


def test_a_spool_that_is_gone_before_anything_was_sent_is_made_again(
    emulator: Emulator, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    function = Function(moving=True)
    one = Task(decorated(function, spool), KilledAtSpool(after=True))
    with pytest.raises(Killed):
        one.run()
    next(spool.iterdir()).unlink()
    assert emulator.held(one.run()["import_id"]) == once(function.lines)
    assert function.calls == 2
    assert "is gone. Nothing of it was sent: the function is called again" in caplog.text


def test_the_time_of_the_function_is_not_the_imports(emulator: Emulator, spool: Path) -> None:
    def records() -> Iterator[Any]:
        time.sleep(1.5)
        yield json.loads(profile(1))

    assert Task(importing_records(records, spool, timeout=1)).run()["lines_accepted"] == 1


def test_old_spools_of_runs_that_are_over_are_removed(emulator: Emulator, spool: Path) -> None:
    function = Function(3)

    def left(age: float, *, of: str = "t") -> tuple[str, str]:
        """A run whose import failed, so long ago."""
        function.fails_at = None
        one = Task(importing_records(lambda: [*function(), "bad"], spool, task_id=of))
        one.task_id = of
        with pytest.raises(AirflowFailException):
            one.run()
        (path,) = set(spool.iterdir()) - before
        before.add(path)
        os.utime(path, (time.time() - age, time.time() - age))
        return path.name, one.run_id

    before: set[Path] = set()
    day = 24 * 3600.0
    old, _ = left(2 * day)
    active, active_run = left(2 * day)
    other, _ = left(2 * day, of="u")
    young, _ = left(day / 2)
    (spool / "somebody's").touch()
    os.utime(spool / "somebody's", (1, 1))
    one = Task(decorated(function, spool, keep_spool=day, timeout=3600))
    one.active_runs = {active_run}
    one.run()
    assert names(spool) == sorted([active, other, young, "somebody's"])
    assert old not in names(spool)


def test_tidying_up_fails_no_import(
    emulator: Emulator, spool: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = Function(3)
    spool.mkdir()
    path = spool / "t_g1.{}.{}.{}.ndjson".format(*_own_parts())
    path.mkdir()  # no file, though its name is ours
    one = Task(decorated(function, spool))
    one.run()
    assert path.is_dir()
    with_faults = Task(decorated(function, spool))
    path.rmdir()
    path.touch()
    os.utime(path, (1, 1))
    with_faults.context = _without_answers(with_faults.context)  # type: ignore[method-assign]
    assert with_faults.run()["lines_accepted"] == 3
    assert "Could not remove old spools of this task (ConnectionError)" in caplog.text
    assert path.exists()


def _own_parts() -> tuple[str, str, str]:
    from airflow_bulk.runs.own_files import own_name, owner_of

    return tuple(own_name("t.g1", owner_of("d", "t"), "gone").split(".")[1:])  # type: ignore[return-value]


def _without_answers(context: Any) -> Any:
    def broken(**asked: Any) -> int:
        raise ConnectionError

    def made(**params: Any) -> Any:
        found = context(**params)
        found["ti"].get_dr_count = broken
        return found

    return made


def test_a_spool_in_a_store(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server() as server:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_CRM", server.connection_json())
        server.put("spools/somebody's.ndjson", b"kept")

        def held() -> list[str]:
            found = server.client.list_objects_v2(Bucket="crm", Prefix="spools/").get("Contents", [])
            return [one["Key"] for one in found]

        function = Function(moving=True)
        one = refused_after_a_part(emulator, decorated(function, "s3://aws_crm@crm/spools/"))
        assert len(held()) == 2
        lost = next(key for key in held() if "somebody" not in key)
        body = server.body(lost)
        server.client.delete_object(Bucket="crm", Key=lost)
        with pytest.raises(AirflowFailException, match=r"The spool s3://aws_crm@crm/spools/\S+ is gone"):
            one.run()
        server.put(lost, body)
        one.clear()
        assert emulator.held(one.run()["import_id"]) == once(function.lines)
        assert held() == ["spools/somebody's.ndjson"]

        failing = Function()
        failing.fails_at = 200
        with pytest.raises(RuntimeError):
            Task(decorated(failing, "s3://aws_crm@crm/spools/")).run()
        assert held() == ["spools/somebody's.ndjson"]


def test_a_million_records_take_no_memory(emulator: Emulator, tmp_path: Path) -> None:
    script = Path(__file__).with_name("records_memory_script.py")
    told = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "50000", "50000", "1000000"],
        env={**os.environ, "PYTHONPATH": str(script.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    _, small, large = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert (small["lines"], large["lines"]) == (50_000, 1_000_000)
    assert large["memory"] < small["memory"] + 4_000
