"""The single steps: create once, update, delete only what is over, cancel as a teardown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import importing, once, write_profiles

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.document_import import (
    CancelDocumentImportExecutionsOperator,
    CreateDocumentImportOperator,
    DeleteDocumentImportOperator,
    UpdateDocumentImportOperator,
    UploadDocumentsOperator,
)


def creating(**more: Any) -> Any:
    return lambda: CreateDocumentImportOperator(
        task_id="t", document_type="USER_PROFILE", name="by hand", settle=0.5, **more
    )


@pytest.mark.parametrize("fault", ["lost_answer", "late", "html_answer"])
def test_create_once(emulator: Emulator, task: Any, fault: str) -> None:
    emulator.fault(fault, path=r"/document_imports$", method="POST", times=1, **late(fault))
    one = task(creating(priority="LOW"))
    import_id = one.run()
    assert one.run() == import_id  # a retry after the end
    (made,) = emulator.imports()
    assert (made["id"], made["priority"]) == (import_id, "LOW")
    one.clear()
    assert one.run() != import_id
    assert len(emulator.imports()) == 2


def late(fault: str) -> dict[str, Any]:
    return {"seconds": 0.2} if fault == "late" else {}


def test_update_puts_the_whole_object(emulator: Emulator, task: Any) -> None:
    import_id = task(creating(priority="LOW", shuffle_lines=False)).run()
    changes = {"name": "renamed", "priority": "{{ params.priority }}"}
    updating = task(
        lambda: UpdateDocumentImportOperator(task_id="t", import_id=import_id, changes=dict(changes))
    )
    updating.run(priority="HIGH")
    (made,) = emulator.imports()
    assert (made["name"], made["priority"], made["shuffle_lines"]) == ("renamed", "HIGH", False)
    changes["document_type"] = "USER_CHOICE"
    with pytest.raises(AirflowException, match=r"changes may hold name, .*not document_type"):
        updating.run(priority="HIGH")


@pytest.mark.parametrize("value", ["", "None", None])
def test_update_of_nothing_is_refused(emulator: Emulator, task: Any, value: str | None) -> None:
    import_id = task(creating(priority="LOW")).run()
    changes = {"priority": "{{ params.priority }}", "shuffle_lines": None}
    updating = task(lambda: UpdateDocumentImportOperator(task_id="t", import_id=import_id, changes=changes))
    with pytest.raises(
        AirflowFailException, match="changes must give at least one of priority, shuffle_lines"
    ):
        updating.run(priority=value)
    assert not [call for call in emulator.requests() if call["method"] == "PUT"]


def test_delete_refuses_what_is_not_over(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 3)
    emulator.settings(start_delay=1000, strict=False)
    import_id = task(importing(path, wait_for_completion=False)).run()["import_id"]
    options: dict[str, Any] = {"force": False}
    deleting = task(lambda: DeleteDocumentImportOperator(task_id="t", import_id=import_id, **options))
    with pytest.raises(AirflowException, match=r"1 execution not over \(\d+\).*force=True"):
        deleting.run()
    options["force"] = "true"
    deleting.run()
    assert emulator.imports() == []
    deleting.run()  # gone already: a retry is safe


def test_delete_with_an_empty_answer(emulator: Emulator, task: Any) -> None:
    import_id = task(creating()).run()
    emulator.fault("empty_delete", times=1)
    task(lambda: DeleteDocumentImportOperator(task_id="t", import_id=import_id)).run()
    assert emulator.imports() == []


def test_cancel_as_teardown(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 500)
    emulator.settings(start_delay=1000, run_seconds=1000)
    sent = task(importing(path, wait_for_completion=False)).run()
    emulator.change_execution(sent["execution_ids"][0], start=True)
    cancelling = task(
        lambda: CancelDocumentImportExecutionsOperator(task_id="t", import_id=sent["import_id"])
    )
    assert cancelling.run() == {
        "canceled": sent["parts"] - 1,
        "still_running": sent["execution_ids"][:1],
    }
    never_created = task(lambda: CancelDocumentImportExecutionsOperator(task_id="t", import_id="None"))
    assert never_created.run() == {"canceled": 0, "still_running": []}


def test_steps_compose(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = write_profiles(path, 500)
    import_id = task(creating()).run()
    sending = SendingOptions(max_part_bytes=20_000, workers=2)
    uploading = task(
        lambda: UploadDocumentsOperator(
            task_id="t", import_id=import_id, source=str(path), sending=sending, poll_interval=0.2
        )
    )
    result = uploading.run()
    assert (result["import_id"], result["lines_accepted"]) == (import_id, 500)
    assert emulator.held(import_id) == once(lines)


def test_upload_into_an_import_that_deletes(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    path.write_text('{"type":"USER_ACCOUNT","user_account_id":"1"}\n')
    made = task(
        lambda: CreateDocumentImportOperator(task_id="t", document_type="USER_POINTS_DELETION", name="gdpr")
    ).run()
    uploading = task(lambda: UploadDocumentsOperator(task_id="t", import_id=made, source=str(path)))
    with pytest.raises(AirflowException, match="allow_deletion must be 'USER_POINTS_DELETION' spelled out"):
        uploading.run()
    assert emulator.executions(made) == []


def made_by_hand(document_type: str, mime_type: str = "APPLICATION_X_NDJSON") -> str:
    """An import of a type or format that no operator of ours would create."""
    hook = MediarithmicsHook()
    made = hook.create_document_import(
        document_type=document_type, name="by hand", mime_type=mime_type, encoding="utf-8"
    )
    return made.id


@pytest.mark.parametrize("check", [True, False])
def test_other_spelling_of_a_deletion_has_the_same_guards(
    emulator: Emulator, task: Any, tmp_path: Path, check: bool
) -> None:
    """The platform may know the type in the singular (mediarithmics.md section 12, row 7)."""
    path = tmp_path / "points.ndjson"
    line = '{"type":"USER_AGENT","user_agent_id":"udp:1"}'
    path.write_text(f"{line}\n")
    made = made_by_hand("USER_DEVICE_POINT_DELETION")
    guards: dict[str, Any] = {}
    uploading = task(
        lambda: UploadDocumentsOperator(
            task_id="t",
            import_id=made,
            source=str(path),
            sending=SendingOptions(check=check),
            poll_interval=0.2,
            **guards,
        )
    )
    with pytest.raises(AirflowFailException, match="allow_deletion must be 'USER_DEVICE_POINTS_DELETION'"):
        uploading.run()
    guards.update(allow_deletion="USER_DEVICE_POINTS_DELETION", max_deletions=0)
    with pytest.raises(AirflowFailException, match="1 deletion, more than" if check else r"sending\.check"):
        uploading.run()
    assert emulator.executions(made) == []
    if check:
        guards["max_deletions"] = 1
        assert uploading.run()["lines_accepted"] == 1
        assert emulator.held(made) == once([line])


@pytest.mark.parametrize("check", [True, False])
def test_upload_into_an_import_of_an_unknown_type(
    emulator: Emulator, task: Any, tmp_path: Path, check: bool
) -> None:
    """Nobody knows what its lines do: they may delete."""
    emulator.settings(strict=False)
    path = tmp_path / "lines.ndjson"
    write_profiles(path, 1)
    made = made_by_hand("USER_THINGS_DELETION")
    sending = SendingOptions(check=check)
    uploading = task(
        lambda: UploadDocumentsOperator(task_id="t", import_id=made, source=str(path), sending=sending)
    )
    with pytest.raises(AirflowFailException, match=r"import_id .*'USER_THINGS_DELETION'.*Nothing was sent"):
        uploading.run()
    assert emulator.executions(made) == []


def test_created_import_is_csv_only_when_told(emulator: Emulator, task: Any) -> None:
    """There is no source whose name could say so."""
    options: dict[str, Any] = {}
    creating = task(
        lambda: CreateDocumentImportOperator(
            task_id="t", document_type="USER_SEGMENT", name="members", **options
        )
    )
    creating.run()
    options["mime_type"] = "TEXT_CSV"
    creating.clear()
    creating.run()
    assert [one["mime_type"] for one in emulator.imports()] == ["APPLICATION_X_NDJSON", "TEXT_CSV"]
