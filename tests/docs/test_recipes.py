"""The code on the pages under docs/recipes is real: each DAG file is parsed and serialized, and some are run."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from one_task import once, profile

from airflow_bulk.emulator.handle import Emulator
from inline_dag import pulled, states
from s3_server import S3Server

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
FILES = sorted([*RECIPES.glob("*.py"), *RECIPES.glob("*/dags/*.py")])
DAGS = {
    "first_import": {"first_import"},
    "follow_a_cron": {"scores_by_clock", "scores_by_event"},
    "profiles": {"profiles"},
    "query_import": {"customers_nightly"},
    "s3_nightly": {"profiles_nightly"},
    "sql_import": {"customers_hourly"},
    "ten_lines": {"profiles"},
}


def parsed(file: Path) -> dict[str, Any]:
    """The DAGs of one file, as a DAG processor finds them."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(file, bundle_path=file.parent)
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_every_recipe_is_known() -> None:
    assert [file.stem for file in sorted(FILES, key=lambda file: file.stem)] == sorted(DAGS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_is_parsed_and_serialized(file: Path, airflow_db: None) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    found = parsed(file)
    assert set(found) == DAGS[file.stem]
    for dag in found.values():
        read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert set(read.task_ids) == set(dag.task_ids) != set()


def test_a_recipe_that_cannot_be_parsed_is_seen(tmp_path: Path, airflow_db: None) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text((RECIPES / "ten_lines.py").read_text().replace("task_id=", "task_name="))
    with pytest.raises(AssertionError):
        parsed(wrong)


def test_the_nightly_import_runs(
    run_dag: Any, bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import timezone

    dag = parsed(RECIPES / "s3_nightly.py")["profiles_nightly"]
    lines = [profile(number) for number in range(2000)]
    night = timezone.datetime(2026, 3, 1, 3)
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    with S3Server() as s3:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_CRM", s3.connection_json())
        for number in range(3):
            some = [*lines[number::3], *(["no object"] if number == 1 else [])]
            s3.put(f"export/2026-03-01/{number}.ndjson.gz", gzip.compress("\n".join(some).encode()))
        s3.put("export/2026-02-28/0.ndjson.gz", gzip.compress(profile(9999).encode()))
        run = run_dag(dag, run_after=night)
        assert states(run) == {("load_profiles", -1): "success", ("cancel_what_is_left", -1): "success"}
        rejected = s3.body(pulled(run, "load_profiles")["rejects_uri"].partition("crm/")[2])
    assert bulk_emulator.held() == once(lines)
    assert rejected.count(b"\n") == 1


def test_the_rows_of_a_query_are_imported(
    run_dag: Any, bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str
) -> None:
    import psycopg2

    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    schema = f"bulk_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", f"{postgres_url}?options=-csearch_path%3D{schema}")
    with contextlib.closing(psycopg2.connect(postgres_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {schema}")
            cursor.execute(
                f"CREATE TABLE {schema}.customers (customer text, first_name text, spent numeric, consent bool, shop text)"
            )
            for number in range(3000):
                row = (f"c-{number}", "Ann", "1.50", number % 10 != 0, ("north", "south")[number % 2])
                cursor.execute(f"INSERT INTO {schema}.customers VALUES (%s, %s, %s, %s, %s)", row)
            try:
                dag = parsed(RECIPES / "query_import.py")["customers_nightly"]
                run = run_dag(dag, run_conf={"spool": str(tmp_path)})
            finally:
                cursor.execute(f"DROP SCHEMA {schema} CASCADE")
    assert set(states(run).values()) == {"success"}
    accepted = [pulled(run, "customers", map_index=index)["lines_accepted"] for index in (0, 1)]
    assert accepted == [1200, 1500]
    assert bulk_emulator.held().total() == 2700
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # a pytest of its own, with an Airflow of its own, for over a minute
def test_the_test_of_a_dag_runs_where_a_user_would_have_it(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(RECIPES / "tested_dag", folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "2 passed" in done.stdout
