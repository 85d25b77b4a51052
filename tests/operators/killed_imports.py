"""Every kind of upload, and what "everything exactly once" means for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from killed_runs import Kind, MortalTask, Named
from killed_world import World, clear, failing, run
from one_task import Task, importing, importing_records, once, write_profiles

from airflow_bulk.hooks.executions import UploadExecutions
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.document_import import (
    CreateDocumentImportOperator,
    SendingOptions,
    UploadDocumentsOperator,
)

SENDING = SendingOptions(max_part_bytes=20_000, settle=0)
OVERLAPPING = SendingOptions(max_part_bytes=20_000, settle=0, overlap=True, workers=2)
UPLOAD = r"/executions$"


def _imported(world: World, lines: list[str], given: int = 0) -> Callable[[int], None]:
    def check(times: int) -> None:
        assert world.emulator.held() == dict.fromkeys(once(lines), times + given)
        executions = [
            one for each in world.emulator.imports() for one in world.emulator.executions(each["id"])
        ]
        assert {one["status"] for one in executions} <= {"SUCCEEDED", "CANCELED"}
        assert len(world.emulator.imports()) == (1 if given else times)

    return check


def _import(world: World, **more: Any) -> Kind:
    source, good = world.source()
    return Kind(importing(source, **{"sending": SENDING, **more}), _imported(world, good), heal=world.heal)


def imports(world: World) -> Kind:
    return _import(world)


def imports_deferred(world: World) -> Kind:
    kind = _import(world, deferrable=True)
    world.slow()
    kind.meanwhile = world.later
    kind.like = imports
    return kind


def imports_overlapping(world: World) -> Kind:
    kind = _import(world, sending=OVERLAPPING)
    kind.varies = True
    return kind


def imports_cleared_after_success(world: World) -> Kind:
    kind = _import(world)
    kind.steps = [run, clear, run]
    kind.like = imports
    return kind


def imports_of_no_line(world: World) -> Kind:
    source = world.folder / "empty.ndjson"
    source.touch()

    def check(times: int) -> None:
        assert world.emulator.imports() == []

    return Kind(importing(source, on_empty="ok"), check)


def imports_whose_parts_somebody_cancels(world: World) -> Kind:
    kind = _import(world, deferrable=True)
    world.slow()

    def cancel() -> None:
        port = MediarithmicsHook().document_imports()
        for each in world.emulator.imports():
            UploadExecutions(MediarithmicsHook(), port, each["id"]).cancel_pending(
                [one["id"] for one in world.emulator.executions(each["id"]) if one["status"] == "PENDING"], 5
            )
        world.quick()

    kind.meanwhile = cancel
    kind.like = imports_deferred
    return kind


def imports_with_a_lost_answer(world: World) -> Kind:
    world.emulator.fault("lost_answer", path=UPLOAD, method="POST", times=1)
    kind = _import(world, sending=SendingOptions(max_part_bytes=20_000, settle=0.05))
    kind.like = imports
    return kind


def imports_with_a_lost_answer_while_pending(world: World) -> Kind:
    kind = _import(world)
    world.slow()
    # The first try ends in doubt; the second one finds an execution that has not begun.
    world.emulator.fault("lost_answer", path=UPLOAD, method="POST", times=1)
    world.emulator.fault("forbidden", path=UPLOAD, method="GET", times=1)
    kind.steps = [failing, lambda one: (world.quick(), one.run())]
    kind.like = imports
    return kind


def imports_of_a_source_that_changed(world: World) -> Kind:
    source, _ = world.source()
    world.emulator.fault("forbidden", path=UPLOAD, method="POST", times=1)

    def change(one: MortalTask) -> None:
        write_profiles(source, 200)

    def check(times: int) -> None:
        world_held = world.emulator.held()
        assert set(world_held.values()) == {1}
        assert len(world_held) in (200, 300)

    make = importing(source, sending=SENDING, on_source_change="restart")
    return Kind(make, check, [failing, change, run], heal=world.heal, like=imports)


def imports_that_are_late(world: World) -> Kind:
    """The deadline passes while every part waits on the platform."""
    source, good = world.source()
    world.slow()
    options: dict[str, Any] = {"timeout": 3600}

    def pass_deadline() -> None:
        options["timeout"] = 0.001

    def heal() -> None:
        world.heal()
        options["timeout"] = 3600

    def again(one: MortalTask) -> None:
        heal()
        one.clear()
        one.run()

    return Kind(
        lambda: importing(source, sending=SENDING, deferrable=True, **options)(),
        _imported(world, good),
        [failing, again],
        meanwhile=pass_deadline,
        heal=heal,
        like=imports_deferred,
    )


def imports_refused_after_parts_have_left(world: World) -> Kind:
    """With ``overlap``, a file may turn out too bad when parts of it wait on the platform already."""
    source, good = world.source()
    source.write_text(source.read_text() + "nothing\n")
    world.slow()
    options: dict[str, Any] = {"max_failures": 0}

    def heal() -> None:
        world.heal()
        options["max_failures"] = 1

    def again(one: MortalTask) -> None:
        heal()
        one.clear()
        one.run()

    return Kind(
        lambda: importing(source, sending=OVERLAPPING, **options)(),
        _imported(world, good),
        [failing, again],
        heal=heal,
    )


def imports_begun_before_airflow_3_4(world: World) -> Kind:
    """A first try that knew of no copies: the next one copies what it reads."""
    kind = _import(world)

    def without_copies(one: MortalTask) -> None:
        copies, one.asset_state = one.asset_state, None
        world.emulator.fault("forbidden", path=UPLOAD, method="POST", times=1, skip=1)
        try:
            failing(one)
        finally:
            one.asset_state = copies

    kind.steps = [without_copies, run]
    return kind


def uploads_into_a_given_import(world: World) -> Kind:
    source, good = world.source()
    given = Task(importing(source, sending=SENDING)).run()["import_id"]

    def upload() -> Any:
        return UploadDocumentsOperator(
            task_id="t",
            import_id=given,
            source=str(source),
            sending=SENDING,
            poll_interval=0.1,
            exclusive=True,
        )

    return Kind(upload, _imported(world, good, given=1))


def created_imports(world: World) -> Kind:
    def create() -> Any:
        return CreateDocumentImportOperator(task_id="t", document_type="USER_PROFILE", name="n", settle=0)

    def check(times: int) -> None:
        assert len(world.emulator.imports()) == times

    return Kind(create, check, [run, clear, run])


def documents_of_a_batch(world: World) -> Kind:
    from airflow_bulk.extract_load import LoadMapping
    from airflow_bulk.operators.extract_load_documents import ApplyDocumentsOperator

    source, good = world.source()

    def apply() -> Any:
        return ApplyDocumentsOperator(
            task_id="t",
            object_name="profiles",
            document_type="USER_PROFILE",
            staging=str(world.folder / "staging"),
            mapping=LoadMapping(feeds="Customer", fields=dict),
            extracts=[{"uri": str(source), "object": "Customer"}],
            sending=SENDING,
            poll_interval=0.1,
        )

    return Kind(apply, _imported(world, good))


def records_of_a_function(world: World) -> Kind:
    """``@task.import_documents``: at the end no spool is left, however often it died."""
    source, good = world.source()
    spool = world.folder / "spool"

    def records() -> Iterator[str]:
        yield from source.read_text().splitlines()

    imported = _imported(world, good)
    world.slow()

    def check(times: int) -> None:
        imported(times)
        assert list(spool.iterdir()) == []

    return Kind(
        importing_records(records, spool, sending=SENDING, deferrable=True),
        check,
        [run, clear, run],
        meanwhile=world.later,
        heal=world.heal,
    )


IMPORTS: list[Named] = [
    imports,
    imports_deferred,
    imports_overlapping,
    imports_cleared_after_success,
    imports_of_no_line,
    imports_whose_parts_somebody_cancels,
    imports_with_a_lost_answer,
    imports_with_a_lost_answer_while_pending,
    imports_of_a_source_that_changed,
    imports_that_are_late,
    imports_refused_after_parts_have_left,
    imports_begun_before_airflow_3_4,
    uploads_into_a_given_import,
    created_imports,
    documents_of_a_batch,
    records_of_a_function,
]
#: They die at every write; the others, which add odd circumstances, at the first write of each place in the code.
PLAIN = [imports, imports_deferred, uploads_into_a_given_import, records_of_a_function]
