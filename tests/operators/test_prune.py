"""Old imports are deleted; those of a person, of a run that goes on and of another name never are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from hypothesis import given
from hypothesis import strategies as st
from one_task import importing, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.document_import import (
    CreateDocumentImportOperator,
    PruneDocumentImportsOperator,
    SendingOptions,
)
from airflow_bulk.platforms.mediarithmics.document_imports import DocumentImport
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.document_import.pruning import ours, why_kept
from airflow_bulk.runs.marking import read_marked

AT_ONCE = timedelta(microseconds=1)


def pruning(**more: Any) -> Any:
    options = {"name_prefix": "crm ", "keep": 0, "older_than": AT_ONCE, "dry_run": False, **more}
    return lambda: PruneDocumentImportsOperator(task_id="t", **options)


def ids(emulator: Emulator) -> list[str]:
    return [one["id"] for one in emulator.imports()]


def deletions(emulator: Emulator) -> list[str]:
    return [call["path"] for call in emulator.requests() if call["method"] == "DELETE"]


@pytest.fixture
def load(task: Any, tmp_path: Path) -> Callable[..., str]:
    """``load(name)``: a whole import under that name; returns its id."""
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 3)

    def load(name: str = "crm nightly", **more: Any) -> str:
        return str(task(importing(source, name=name, **more)).run()["import_id"])

    return load


def test_the_newest_are_kept_and_a_dry_run_names_what_would_go(
    emulator: Emulator, task: Any, load: Any
) -> None:
    emulator.settings(max_page_size=2)  # the list has many pages
    made = [load(f"crm {number}") for number in range(7)]
    trying = task(
        lambda: PruneDocumentImportsOperator(task_id="t", name_prefix="crm ", keep=2, older_than=AT_ONCE)
    )
    told = trying.run()
    assert (told["dry_run"], told["found"], told["to_delete"], told["kept"]) == (True, 7, 5, {"newest": 2})
    assert [one["id"] for one in told["imports"]] == made[:5]
    assert [read_marked(one["name"]).name for one in told["imports"]] == [f"crm {n}" for n in range(5)]  # type: ignore[union-attr]
    assert deletions(emulator) == []
    done = task(pruning(keep="2", dry_run="false")).run()
    assert (done["dry_run"], done["deleted"], done["imports"]) == (False, 5, told["imports"])
    assert ids(emulator) == made[5:]
    assert sum(emulator.held().values()) == 21  # what was imported stays, in the emulator
    again = task(pruning(keep=2)).run()
    assert (again["found"], again["deleted"], again["kept"]) == (2, 0, {"newest": 2})


def test_only_names_with_our_marker_and_the_prefix(emulator: Emulator, task: Any, load: Any) -> None:
    """A person's import is never touched, whatever its executions are."""
    load("crm nightly")
    kept = [
        load("CRM nightly"),
        load("the crm nightly"),
        load("crmnightly"),
        load("crm by hand", sending=SendingOptions(name_marker=False, settle=0.2)),
    ]
    hook = MediarithmicsHook()
    for name in (
        "crm ",
        "crm x [0123456789ab] copy",
        "crm [0123456789AB]",
        "crm[0123456789ab]",
        "crm 0123456789ab",
    ):
        made = hook.create_document_import(document_type="USER_PROFILE", name=name)
        kept.append(made.id)
    result = task(pruning()).run()
    assert (result["found"], result["deleted"]) == (1, 1)
    assert ids(emulator) == sorted(kept, key=int)


def test_an_import_that_may_be_needed_stays(
    emulator: Emulator, task: Any, load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    over = load()
    emulator.settings(start_delay=1000, run_seconds=1000)
    waits = load(wait_for_completion=False)
    runs = load(wait_for_completion=False)
    (execution,) = emulator.executions(runs)
    emulator.change_execution(execution["id"], start=True)
    begins = task(
        lambda: CreateDocumentImportOperator(task_id="t", document_type="USER_PROFILE", name="crm begins")
    ).run()
    with caplog.at_level(logging.INFO):
        result = task(pruning()).run()
    assert result["kept"] == {"not_over": 2, "no_executions": 1}
    assert [one["id"] for one in result["imports"]] == [over]
    assert ids(emulator) == [waits, runs, begins]
    assert f"Kept document import {waits}" in caplog.text
    assert "4 imports of this name: deleted 1; kept 3" in caplog.text


def test_what_is_younger_than_older_than_stays(emulator: Emulator, task: Any, load: Any) -> None:
    load()
    result = task(pruning(older_than="3600")).run()
    assert (result["deleted"], result["kept"]) == (0, {"too_young": 1})
    assert task(pruning(older_than=timedelta(milliseconds=1))).run()["deleted"] == 1


@pytest.mark.parametrize("fault", ["lost_answer", "empty_delete", "server_error"])
def test_a_deletion_whose_answer_is_lost_is_done(
    emulator: Emulator, task: Any, load: Any, fault: str
) -> None:
    made = [load(), load()]
    emulator.fault(fault, path=rf"/document_imports/{made[0]}$", method="DELETE", times=1)
    result = task(pruning()).run()
    assert result["deleted"] + result["gone_already"] == 2
    assert ids(emulator) == []


def test_a_try_that_fails_in_the_middle_is_gone_on_with(emulator: Emulator, task: Any, load: Any) -> None:
    made = [load() for _ in range(3)]
    emulator.fault("forbidden", path=rf"/document_imports/{made[1]}$", method="DELETE", times=1)
    one = task(pruning())
    with pytest.raises(AirflowException, match="403"):
        one.run()
    assert ids(emulator) == made[1:]
    result = one.run()
    assert (result["found"], result["deleted"]) == (2, 2)


def test_what_somebody_else_deletes_meanwhile_is_no_error(
    emulator: Emulator, task: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [load(), load()]
    listed = MediarithmicsHook.list_document_imports

    def list_then_delete(self: MediarithmicsHook, *args: Any, **more: Any) -> Any:
        found = list(listed(self, *args, **more))
        self.delete_document_import(made[0])
        return iter(found)

    monkeypatch.setattr(MediarithmicsHook, "list_document_imports", list_then_delete)
    result = task(pruning()).run()
    assert (result["found"], result["deleted"], result["gone_already"]) == (2, 1, 1)


def test_a_run_that_goes_on_after_the_look_keeps_its_import(
    emulator: Emulator, task: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strict, the platform refuses with 409 (mediarithmics.md section 12, row 16)."""
    made = load()
    delete = MediarithmicsHook.delete_document_import

    def upload_then_delete(self: MediarithmicsHook, import_id: str, *args: Any) -> None:
        emulator.settings(start_delay=1000)
        httpx.post(
            f"{emulator.url}/v1/datamarts/{emulator.datamart_id}/document_imports/{import_id}/executions",
            content=profile(1),
            headers={"Authorization": emulator.token, "Content-Type": "application/x-ndjson"},
        ).raise_for_status()
        delete(self, import_id, *args)

    monkeypatch.setattr(MediarithmicsHook, "delete_document_import", upload_then_delete)
    result = task(pruning()).run()
    assert (result["deleted"], result["kept"]) == (0, {"not_over": 1})
    assert ids(emulator) == [made]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name_prefix": ""}, "name_prefix must be a text that is not empty"),
        ({"name_prefix": "  "}, "name_prefix must be a text that is not empty"),
        ({"name_prefix": "{{ params.prefix }}"}, "name_prefix must be a text that is not empty"),
        ({"keep": -1}, "keep must be a whole number from 0"),
        ({"keep": "all"}, "keep must be a whole number from 0"),
        ({"older_than": 0}, "older_than must be longer than 0 seconds"),
        ({"dry_run": "maybe"}, "dry_run must be true or false"),
        ({"dry_run": ""}, "dry_run must be true or false"),
    ],
)
def test_arguments_that_could_delete_too_much_are_refused(
    emulator: Emulator, task: Any, load: Any, wrong: dict[str, Any], why: str
) -> None:
    load()
    emulator.clear_requests()
    with pytest.raises(AirflowFailException, match=why):
        task(pruning(**wrong)).run(prefix=None)
    assert emulator.requests() == []


def test_the_result_is_bounded(emulator: Emulator, task: Any) -> None:
    hook = MediarithmicsHook()
    for number in range(3):
        hook.create_document_import(document_type="USER_PROFILE", name=f"crm [{number:012x}]")
    (one, *_) = found = ours(hook.list_document_imports(), "crm")
    assert [read_marked(one.name).marker for one in found] == [f"{n:012x}" for n in (2, 1, 0)]  # type: ignore[union-attr]
    from airflow_bulk.runs.document_import import pruning as module

    many = [DocumentImport(id=str(number), name=one.name) for number in range(1, 5000)]
    assert len(str([module.Pruning._named(each) for each in many][: module.NAMED])) < 10_000


STATUSES = st.sampled_from(list(RemoteStatus))
TIMES = st.none() | st.floats(0, 1000)


@given(
    st.lists(st.tuples(STATUSES, TIMES, TIMES, TIMES), max_size=4), st.floats(0.001, 1000), st.floats(0, 2000)
)
def test_only_old_imports_whose_executions_are_over_may_go(
    described: list[tuple[RemoteStatus, float | None, float | None, float | None]],
    older_than: float,
    now: float,
) -> None:
    executions = [
        RemoteSnapshot(
            id=str(n), remote_status=status, status="x", created=created, started=started, ended=ended
        )
        for n, (status, created, started, ended) in enumerate(described)
    ]
    if why_kept(executions, older_than, now) is None:
        assert executions
        for one in executions:
            assert one.remote_status.over
            last = (
                one.ended
                if one.ended is not None
                else one.started
                if one.started is not None
                else one.created
            )
            assert last is not None
            assert now - last >= older_than


@given(st.text(max_size=30), st.from_regex(r"[0-9a-f]{12}", fullmatch=True), st.booleans())
def test_a_marked_name_is_read_back(name: str, marker: str, with_source: bool) -> None:
    full = f"{name}{' [0badcafe]' if with_source else ''} [{marker}]"
    found = read_marked(full)
    assert found is not None
    assert found.marker == marker
    assert full.startswith(found.name)
    if not name.endswith("]"):
        assert found.name == name
