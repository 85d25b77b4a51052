"""What Airflow does with a task of ours under the shipped retry policy: the real operator, real HTTP, a real try."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, RetryAction, RetryDecision, RetryPolicy, task
from one_task import once, write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions
from airflow_bulk.operators.document_import_steps import CreateDocumentImportOperator
from airflow_bulk.retrying import BulkRetryPolicy
from airflow_bulk.runs.upload.gate import SENDINGS
from airflow_bulk.sensors.document_import import DocumentImportSensor
from inline_dag import run_one_try, states

CREATES = {"method": "POST", "path": "/document_imports$"}
SENDS = {"method": "POST", "path": "/executions$"}
_NUMBERS = itertools.count()


@pytest.fixture
def emulator(bulk_emulator: Emulator) -> Emulator:
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator


@pytest.fixture
def conn_id(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """A connection of this test alone: how long a platform asks to be left alone holds for a connection and process."""
    name = f"retried_{next(_NUMBERS)}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", emulator.connection_json())
    return name


def one_try(make: Callable[[], Any], *, policy: RetryPolicy | None = None, **defaults: Any) -> Any:
    """The row of a task after its first try, under the policy in ``default_args``."""
    policy = policy or BulkRetryPolicy()
    defaults = {"retries": 3, "retry_delay": timedelta(seconds=30), "retry_policy": policy, **defaults}
    with DAG("retried", schedule=None, default_args=defaults) as dag:
        make()
    run = run_one_try(dag)
    return run.get_task_instance("load")


def seconds_to_wait(row: Any) -> int | None:
    """Until when the policy lets a task wait; from Airflow 3.4 on, that uses no retry. None: as long as the task says."""
    if not hasattr(RetryAction, "RESCHEDULE"):
        assert row.state == "up_for_retry"
        return row.retry_delay_override and round(row.retry_delay_override)
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.utils.session import create_session
    from sqlalchemy import select

    assert row.state == "up_for_reschedule"
    with create_session() as session:
        waiting = session.scalars(select(TaskReschedule).where(TaskReschedule.ti_id == row.id)).one()
        return round((waiting.reschedule_date - waiting.end_date).total_seconds())


def creating(conn_id: str, **more: Any) -> Callable[[], BaseOperator]:
    """A DAG author's operator that makes one call."""
    return lambda: CreateDocumentImportOperator(
        task_id="load",
        document_type="USER_PROFILE",
        name="profiles",
        mediarithmics_conn_id=conn_id,
        **more,
    )


@pytest.fixture
def importing(conn_id: str, tmp_path: Path) -> Callable[..., Callable[[], BaseOperator]]:
    """Makes a DAG author's import of ``profiles.ndjson``."""
    return lambda **more: (
        lambda: ImportDocumentsOperator(
            task_id="load",
            document_type="USER_PROFILE",
            name="profiles",
            source=str(tmp_path / "profiles.ndjson"),
            sending=SendingOptions(max_part_bytes=20_000, settle=0.2),
            poll_interval=0.2,
            mediarithmics_conn_id=conn_id,
            **more,
        )
    )


@pytest.fixture
def one_at_a_time(airflow_db: None) -> None:
    """The rows of an earlier run of the DAG are gone."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == "retried"))


pytestmark = pytest.mark.usefixtures("one_at_a_time")


def test_retry_after_is_obeyed(emulator: Emulator, conn_id: str) -> None:
    emulator.fault("rate_limited", retry_after=900, **CREATES)
    row = one_try(creating(conn_id))
    assert seconds_to_wait(row) == 900


def test_a_retry_delay_longer_than_retry_after_stays(emulator: Emulator, conn_id: str) -> None:
    emulator.fault("rate_limited", retry_after=900, **CREATES)
    row = one_try(creating(conn_id), retry_delay=timedelta(hours=1))
    assert seconds_to_wait(row) in (None, 3600)  # the task's own


@pytest.mark.parametrize(
    ("fault", "more"), [("server_error", {"status": 503}), ("reset", {"after": 0})], ids=["503", "reset"]
)
def test_an_upload_that_the_platform_does_not_take_waits(
    emulator: Emulator, importing: Any, tmp_path: Path, fault: str, more: dict[str, Any]
) -> None:
    write_profiles(tmp_path / "profiles.ndjson", 10)
    emulator.fault(fault, **more, **SENDS)
    row = one_try(importing())
    assert seconds_to_wait(row) == 60


def test_no_server_waits(emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # a port of which nobody accepts a connection
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"
        nowhere = json.loads(emulator.connection_json()) | {"host": host, "port": None}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(nowhere))
        row = one_try(creating(conn_id))
    assert seconds_to_wait(row) == 60


@pytest.mark.parametrize("fault", ["forbidden", "gone", "too_large"])
def test_what_the_platform_refuses_fails_at_once(
    emulator: Emulator, importing: Any, tmp_path: Path, fault: str
) -> None:
    write_profiles(tmp_path / "profiles.ndjson", 10)
    emulator.fault(fault, **SENDS)
    assert one_try(importing()).state == "failed"


def test_unauthorized_is_retried_as_airflow_says(emulator: Emulator, conn_id: str) -> None:
    """The credentials may be renewed meanwhile, and a retry goes on from the record."""
    emulator.fault("unauthorized", **CREATES)
    row = one_try(creating(conn_id))
    assert row.state == "up_for_retry"
    assert row.retry_delay_override is None
    assert row.retry_reason is None


def test_too_many_refused_lines_fail_at_once(emulator: Emulator, importing: Any, tmp_path: Path) -> None:
    write_profiles(tmp_path / "profiles.ndjson", 10, bad=(3, 4))
    assert one_try(importing(max_failures=1)).state == "failed"
    assert emulator.imports() == []


@pytest.mark.parametrize(
    ("content", "state"), [("[\n{}\n]\n", "failed"), (None, "up_for_retry")], ids=["an array", "no file"]
)
def test_a_source_that_can_never_be_sent_fails_at_once(
    emulator: Emulator, importing: Any, tmp_path: Path, content: str | None, state: str
) -> None:
    """A file that is not there may still come."""
    if content is not None:
        (tmp_path / "profiles.ndjson").write_text(content)
    assert one_try(importing()).state == state


def test_a_sensor_waits_and_fails_by_the_same_rules(emulator: Emulator, conn_id: str) -> None:
    made = MediarithmicsHook(conn_id).create_document_import(document_type="USER_PROFILE", name="of others")

    def sensor() -> BaseOperator:
        return DocumentImportSensor(
            task_id="load", import_id=made.id, timeout=60, mediarithmics_conn_id=conn_id
        )

    emulator.fault("rate_limited", retry_after=900, times=1, method="GET", path="/executions$")
    row = one_try(sensor)
    assert seconds_to_wait(row) == 900


def test_what_does_not_pass_by_itself_is_retried_as_airflow_says(emulator: Emulator, conn_id: str) -> None:
    """Waiting for hours would only hide that somebody has to act."""

    @task(task_id="load")
    def look() -> None:
        MediarithmicsHook(conn_id).executions("1", "1").snapshots()

    emulator.fault("server_error", status=501, method="GET", path="/executions$")
    row = one_try(look)
    assert (row.state, row.retry_delay_override, row.retry_reason) == ("up_for_retry", None, None)


def test_a_task_of_the_authors_own_is_decided_by_what_our_hook_raises(
    emulator: Emulator, conn_id: str
) -> None:
    @task(task_id="load")
    def ask() -> None:
        MediarithmicsHook(conn_id).create_document_import(document_type="USER_PROFILE", name="profiles")

    emulator.fault("forbidden", **CREATES)
    assert one_try(ask).state == "failed"


def test_no_retries_stays_no_retries(emulator: Emulator, conn_id: str) -> None:
    emulator.fault("rate_limited", retry_after=900, **CREATES)
    assert one_try(creating(conn_id), retries=0).state == "failed"


def test_an_authors_own_policy_wins(emulator: Emulator, conn_id: str) -> None:
    class Patient(RetryPolicy):
        def evaluate(self, *args: Any, **more: Any) -> RetryDecision:
            return RetryDecision.retry(timedelta(seconds=7), "mine")

    emulator.fault("rate_limited", retry_after=900, **CREATES)
    row = one_try(creating(conn_id, retry_policy=Patient()))
    assert row.retry_delay_override == 7
    assert row.retry_reason == "mine"


def test_a_mapped_import_waits_and_then_goes_on_where_it_stopped(
    run_dag: Any, emulator: Emulator, conn_id: str, tmp_path: Path
) -> None:
    lines = write_profiles(tmp_path / "profiles.ndjson", 500)
    emulator.fault("server_error", status=503, skip=1, times=SENDINGS, **SENDS)
    policy = BulkRetryPolicy(least_wait=timedelta(seconds=1))
    with DAG("mapped_policy", schedule=None, default_args={"retries": 1, "retry_policy": policy}) as dag:
        ImportDocumentsOperator.partial(
            task_id="load",
            document_type="USER_PROFILE",
            sending=SendingOptions(max_part_bytes=20_000, settle=0.2),
            poll_interval=0.2,
            retry_delay=timedelta(0),
            name="profiles",
            mediarithmics_conn_id=conn_id,
        ).expand(source=[str(tmp_path / "profiles.ndjson")])
    run = run_dag(dag)
    assert states(run) == {("load", 0): "success"}
    row = run.get_task_instance("load", map_index=0)
    assert row.try_number == (1 if hasattr(RetryAction, "RESCHEDULE") else 2)
    assert emulator.held() == once(lines)
