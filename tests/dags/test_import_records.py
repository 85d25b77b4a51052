"""``@task.import_documents`` in Airflow's own runs: found by its name, mapped, deferred, retried, cleared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, get_current_context, task

from airflow_bulk.emulator.handle import Emulator
from inline_dag import pulled, run_again, states


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    return bulk_emulator


def record(account: str) -> dict[str, Any]:
    return {
        "operation": "UPSERT",
        "compartment_id": "4100",
        "user_account_id": account,
        "user_profile": {"a": 1},
    }


def held(emulator: Emulator, import_id: str | None = None) -> list[str]:
    return sorted(json.loads(line)["user_account_id"] for line in emulator.held(import_id).elements())


IMPORT: dict[str, Any] = {"document_type": "USER_PROFILE", "name": "n {{ run_id }}", "poll_interval": 0.2}


@pytest.mark.parametrize("deferrable", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_arguments_templates_results_and_context(
    emulator: Emulator, run_dag: Any, tmp_path: Path, deferrable: bool
) -> None:
    calls = tmp_path / "calls"
    emulator.settings(start_delay=0, run_seconds=1 if deferrable else 0)
    with DAG(f"records_{deferrable}", schedule=None) as dag:

        @task
        def count() -> int:
            return 3

        @task.import_documents(**IMPORT, spool_path=f"{tmp_path}/{{{{ dag.dag_id }}}}", deferrable=deferrable)
        def customers(number: int, prefix: str, *, run_id: str | None = None) -> Iterator[Any]:
            """What the page of the task shows."""
            assert get_current_context()["run_id"] == run_id
            with calls.open("a") as file:
                file.write("called\n")
            for one in range(number):
                yield record(f"{prefix}-{one}")

        @task
        def accepted(result: dict[str, Any]) -> int:
            return result["lines_accepted"]

        accepted(customers(count(), prefix="{{ dag.dag_id }}"))

    assert dag.task_dict["customers"].doc_md == "What the page of the task shows."
    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert held(emulator) == [f"records_{deferrable}-{one}" for one in range(3)]
    assert pulled(run, "accepted") == 3
    assert pulled(run, "customers", "lines_accepted") is None  # one output
    assert calls.read_text() == "called\n"
    assert list((tmp_path / dag.dag_id).iterdir()) == []
    assert emulator.imports()[0]["name"].startswith(f"n {run.run_id}")


@pytest.mark.parametrize("deferrable", [pytest.param(False, marks=pytest.mark.slow), True])
def test_mapped(emulator: Emulator, run_dag: Any, tmp_path: Path, deferrable: bool) -> None:
    with DAG(f"records_mapped_{deferrable}", schedule=None, default_args={"retries": 1}) as dag:

        @task
        def shops() -> list[str]:
            return ["a", "b"]

        @task.import_documents(**IMPORT, spool_path=str(tmp_path), deferrable=deferrable)
        def customers(shop: str, count: int) -> list[Any]:
            return [record(f"{shop}-{one}") for one in range(count)]

        @task
        def total(results: Any) -> int:
            return sum(one["lines_accepted"] for one in results)

        total(customers.partial(count=2).expand(shop=shops()))
        customers.override(task_id="others", name="others").expand_kwargs([{"shop": "c", "count": 1}])

    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert {("customers", 0), ("customers", 1), ("others", 0)} <= set(states(run))
    assert held(emulator) == ["a-0", "a-1", "b-0", "b-1", "c-0"]
    assert len(emulator.imports()) == 3
    assert pulled(run, "total") == 4
    assert list(tmp_path.iterdir()) == []


def test_retried_and_cleared(emulator: Emulator, run_dag: Any, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    emulator.fault("unauthorized", path=r"/executions$", method="POST", times=1)
    with DAG("records_again", schedule=None) as dag:

        @task.import_documents(
            **IMPORT, spool_path=str(tmp_path / "spool"), retries=2, retry_delay=timedelta(0)
        )
        def customers() -> Iterator[Any]:
            number = len(calls.read_text())
            calls.write_text("c" * (number + 1))
            if not number:
                raise ValueError("the database is away")
            yield record(str(number))

        customers()

    run = run_dag(dag)
    assert set(states(run).values()) == {"success"}
    assert (held(emulator), calls.read_text()) == (["1"], "cc")
    again = run_again(dag, run)
    assert set(states(again).values()) == {"success"}
    assert (held(emulator), calls.read_text()) == (["1", "2"], "ccc")
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_dag_is_serialized(airflow_db: None, tmp_path: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("records_serialized", schedule=None) as dag:

        @task.import_documents(**IMPORT, spool_path=str(tmp_path))
        def customers() -> list[Any]:
            return []

        customers()

    read = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("customers")
    assert read.operator_name == "@task.import_documents"
    assert "spool_path" in read.template_fields and "source" not in read.template_fields
