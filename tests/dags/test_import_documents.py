"""The operator inside DAGs: mapped, deferred, every field from a template, without a logical date."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Param
from one_task import once, profile, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions
from inline_dag import pulled, states
from s3_server import S3Server


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    return bulk_emulator


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server() as running:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_CRM", running.connection_json())
        yield running


def test_the_nightly_import(run_dag: Any, emulator: Emulator, s3: S3Server) -> None:
    """What a DAG author writes for the main job: objects of a store, rejects beside them, no worker while it waits."""
    lines = [profile(number) for number in range(1200)]
    for number in range(3):
        some = [*lines[number::3], *(["no object"] if number == 1 else [])]
        s3.put(f"export/monday/{number}.ndjson.gz", gzip.compress("\n".join(some).encode()))
    s3.put("export/tuesday/0.ndjson.gz", gzip.compress(profile(9999).encode()))
    emulator.settings(start_delay=0.5, run_seconds=0.5)
    with DAG("nightly", schedule=None, params={"folder": Param("monday")}) as dag:
        ImportDocumentsOperator(
            task_id="load_profiles",
            document_type="USER_PROFILE",
            name="User profiles from CRM {{ dag_run.run_after | ds }}",
            source="s3://aws_crm@crm/export/{{ params.folder }}/*.ndjson.gz",
            max_failures="0.1%",
            rejects_path="s3://aws_crm@crm/rejects/{{ run_id }}/",
            deferrable=True,
        )
    run = run_dag(dag, logical_date=None)
    assert run.logical_date is None
    assert states(run) == {("load_profiles", -1): "success"}
    result = pulled(run, "load_profiles")
    assert (result["lines_read"], result["lines_rejected"], result["lines_accepted"]) == (1201, 1, 1200)
    assert emulator.held(result["import_id"]) == once(lines)
    (made,) = emulator.imports()
    assert made["name"].startswith(f"User profiles from CRM {run.run_after:%Y-%m-%d} [")
    folder, _, name = result["rejects_uri"].removeprefix("s3://aws_crm@crm/").rpartition("/")
    assert folder == f"rejects/{run.run_id}"
    (row,) = [json.loads(row) for row in s3.body(f"{folder}/{name}").splitlines()]
    assert (row["source"], row["line"]) == ("s3://aws_crm@crm/export/monday/1.ndjson.gz", 401)
    assert run.get_task_instance("load_profiles").trigger_timeout is not None  # it was deferred


def test_a_deferred_import_reads_back_what_was_sent(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 600)
    emulator.settings(start_delay=0.5, run_seconds=0.5)
    with DAG("verified", schedule=None) as dag:
        ImportDocumentsOperator(
            task_id="load",
            document_type="USER_PROFILE",
            name="verified",
            source=str(source),
            verify="input_file",
            sending=SendingOptions(max_part_bytes=20_000),
            poll_interval=0.5,
            deferrable=True,
        )
    run = run_dag(dag, logical_date=None)
    verified = pulled(run, "load")["verified"]
    assert verified["verified"] == verified["parts"] > 1
    assert run.get_task_instance("load").trigger_timeout is not None  # it was deferred


@pytest.mark.parametrize("deferrable", [False, True])
def test_mapped_over_sources(run_dag: Any, emulator: Emulator, tmp_path: Path, deferrable: bool) -> None:
    lines = []
    for number in range(2):
        some = [profile(number * 100 + n) for n in range(50)]
        lines += some
        (tmp_path / f"{number}.ndjson").write_text("\n".join(some))
    emulator.settings(start_delay=0.5, run_seconds=0.5)
    with DAG(f"mapped_{deferrable}", schedule=None) as dag:
        ImportDocumentsOperator.partial(
            task_id="load",
            document_type="USER_PROFILE",
            name="part {{ ti.map_index }}",
            poll_interval=0.5,
            deferrable=deferrable,
        ).expand(source=[str(tmp_path / f"{number}.ndjson") for number in range(2)])
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", index): "success" for index in range(2)}
    assert emulator.held() == once(lines)
    assert sorted(one["name"].partition(" [")[0] for one in emulator.imports()) == ["part 0", "part 1"]
    result = pulled(run, "load", map_index=1)
    assert (result["lines_accepted"], len(result["execution_ids"])) == (50, 1)


def test_every_field_from_a_template(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    """A trigger form's values arrive as text; what is not given arrives as 'None'."""
    source = tmp_path / "profiles.ndjson"
    lines = write_profiles(source, 400, bad=(5,))
    values = {
        "document_type": "USER_PROFILE",
        "source": str(source),
        "name": "from a form",
        "datamart_id": emulator.datamart_id,
        "mime_type": None,
        "encoding": "utf-8",
        "priority": "HIGH",
        "shuffle_lines": False,
        "use_processing_pipeline": None,
        "max_failures": "1%",
        "rejects_path": str(tmp_path / "rejects"),
        "rejects_content": "position",
        "on_empty": "fail",
        "on_clear": "keep",
        "on_source_change": "fail",
        "dry_run": False,
        "wait_for_completion": True,
        "poll_interval": 0.5,
        "timeout": 600,
        "cancel_on_kill": True,
    }
    sending = {
        "max_part_bytes": "20000",
        "workers": 1,
        "overlap": False,
        "spool_dir": None,
        "one_part_per_file": True,
        "csv_delimiter": ";",
        "check": True,
        "check_extension": False,
        "name_marker": False,
        "resend_failed_parts": True,
        "settle": 0.5,
    }
    assert set(sending) == {field.name for field in dataclasses.fields(SendingOptions)}
    params = {name: Param(value) for name, value in (values | sending).items()}
    with DAG("from_a_form", schedule=None, params=params) as dag:
        ImportDocumentsOperator(
            task_id="load",
            sending=SendingOptions(**{name: f"{{{{ params.{name} }}}}" for name in sending}),  # type: ignore[arg-type]
            **{name: f"{{{{ params.{name} }}}}" for name in values},  # type: ignore[arg-type]
        )
    run = run_dag(dag, logical_date=None)
    assert states(run) == {("load", -1): "success"}
    result = pulled(run, "load")
    assert (result["lines_read"], result["lines_rejected"], result["parts"] > 1) == (400, 1, True)
    assert emulator.held() == once(lines)
    (made,) = emulator.imports()
    assert (made["name"], made["priority"], made["shuffle_lines"]) == ("from a form", "HIGH", False)


def test_deferred_import_that_is_late(run_dag: Any, emulator: Emulator, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 5)
    emulator.settings(start_delay=1000)
    with DAG("late", schedule=None) as dag:
        ImportDocumentsOperator(
            task_id="load",
            document_type="USER_PROFILE",
            name="late",
            source=str(source),
            timeout=timedelta(seconds=2),
            poll_interval=0.5,
            deferrable=True,
        )
    run = run_dag(dag)
    assert states(run) == {("load", -1): "failed"}
    (execution,) = emulator.executions(pulled(run, "load", key="import_id"))
    assert execution["status"] == "CANCELED"
