"""Records between tasks: local files and an object store; what becomes of them."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, ObjectStoragePath
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.extract_load.readings import PagesMoved
from airflow_bulk.operators.extract_load import ExtractLoadTaskGroup
from airflow_bulk.runs.extract_load.staging import (
    StagedFileGone,
    folders_of_all_runs,
    read_records,
    write_records,
)
from airflow_bulk.runs.own_files import OwnFile, own_files, own_name, owner_of, remove_old
from inline_dag import run_again, states
from s3_server import BUCKET, S3Server

RECORDS = [
    {"Id": str(number), "name": "ü" * 100, "at": datetime(2013, 1, 1, tzinfo=UTC)} for number in range(20_000)
]


OWNER = owner_of("d", "g")
DAY = 24 * 3600.0


def named(start, run_id="manual__2026-01-01T00:00:00+00:00"):
    return own_name(start, OWNER, run_id)


@pytest.fixture(scope="module")
def server():
    with S3Server() as server:  # one for all: Airflow keeps the file system of a connection id
        yield server


@pytest.fixture(params=["local", "s3"])
def staging(request, tmp_path, monkeypatch, server):
    if request.param == "local":
        return str(tmp_path / "a" / "b+c:d")
    monkeypatch.setenv("AIRFLOW_CONN_STAGING_STORE", server.connection_json())
    return f"s3://staging_store@{BUCKET}/{tmp_path.name}/manual__2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("before", [0, 1, 60_000])
def test_a_reading_that_is_abandoned_leaves_nothing(staging, before):
    """Some records, or more than a store takes in one piece; the next reading then writes a file of its own."""

    def records():
        for number in range(before):
            yield RECORDS[number % len(RECORDS)]
        raise PagesMoved("the total was 2, and then 3")

    with pytest.raises(PagesMoved):
        write_records(staging, named("extract_Account"), records())
    uri, count = write_records(staging, named("extract_Account"), iter(RECORDS[:2]))
    assert count == 2
    assert [path.name for path in ObjectStoragePath(staging).iterdir()] == [uri.rpartition("/")[2]]


def test_records_come_back_as_they_went(staging):
    uri, count = write_records(staging, named("extract_Account"), iter(RECORDS))
    assert count == len(RECORDS)
    back = list(read_records(uri, "x"))
    assert [record["Id"] for record in back] == [record["Id"] for record in RECORDS]
    assert back[0] == {"Id": "0", "name": "ü" * 100, "at": "2013-01-01T00:00:00Z"}


def test_each_writing_is_a_file_of_its_own(staging):
    first, _ = write_records(staging, named("x"), [{"n": 1}])
    second, _ = write_records(staging, named("x"), [{"n": Decimal("1.50")}])
    assert first != second
    assert list(read_records(first, "x")) == [{"n": 1}]
    assert list(read_records(second, "x")) == [{"n": "1.50"}]


def test_no_record_is_an_empty_file(staging):
    uri, count = write_records(staging, named("x"), [])
    assert (count, list(read_records(uri, "x"))) == (0, [])


def test_records_that_are_gone(staging):
    uri, _ = write_records(staging, named("x"), [{"n": 1}])
    (file,) = own_files(staging, OWNER)
    file.remove()
    file.remove()  # gone already
    with pytest.raises(
        StagedFileGone, match=r"The records of extract:x are gone: there is no file \S+\.ndjson"
    ):
        list(read_records(uri, "extract:x"))


class Airflow:
    """What Airflow answers about runs, and what it was asked."""

    dag_id, run_id = "d", "now"

    def __init__(self, *active):
        self.active, self.asked = active, []

    def get_dr_count(self, *, dag_id, run_ids, states):
        self.asked.append((dag_id, *run_ids))
        return len(set(run_ids) & set(self.active))


def test_old_files_of_runs_that_are_over_go(staging):
    write_records(staging, named("x", "over"), [{"n": 1}])
    write_records(staging, named("y", "over"), [{"n": 1}])
    write_records(staging, named("x", "a ctive/1"), [{"n": 1}])
    write_records(staging, named("x", "now"), [{"n": 1}])
    write_records(staging, named("x", "l" * 300), [{"n": 1}])
    write_records(staging, own_name("x", owner_of("d", "other"), "over"), [{"n": 1}])
    airflow = Airflow("a ctive/1")
    remove_old(staging, OWNER, DAY, airflow, "files")
    assert (airflow.asked, len(runs(staging))) == ([], 4)
    remove_old(staging.rpartition("/")[0] + "/*/", OWNER, -DAY, airflow, "files")
    assert sorted(airflow.asked) == [("d", "a ctive/1"), ("d", "over")]
    assert runs(staging) == {"a ctive/1": 1, "now": 1}
    assert len(list(own_files(staging, owner_of("d", "other")))) == 1


def runs(staging):
    return Counter(file.run_id for file in own_files(staging, OWNER))


def test_the_age_of_a_run_is_that_of_its_last_file(tmp_path):
    for age in (3 * DAY, DAY / 2):
        uri, _ = write_records(str(tmp_path), named("x", "failed"), [{"n": 1}])
        os.utime(uri.removeprefix("file://"), (time.time() - age,) * 2)
    remove_old(str(tmp_path), OWNER, DAY, Airflow(), "files")
    assert runs(str(tmp_path)) == {"failed": 2}
    remove_old(str(tmp_path), OWNER, DAY / 4, Airflow(), "files")
    assert runs(str(tmp_path)) == {}


def test_the_own_run_keeps_its_files_also_where_its_id_is_too_long_for_a_name(tmp_path):
    own, other = "manual__" + "ä" * 150, "manual__" + "ö" * 150
    for run_id in (own, other):
        write_records(str(tmp_path), own_name("x", OWNER, run_id), [{"n": 1}])
    airflow = Airflow()
    airflow.run_id = own
    remove_old(str(tmp_path), OWNER, -DAY, airflow, "files")
    (left,) = own_files(str(tmp_path), OWNER)
    assert left.begins(own_name("x", OWNER, own).rpartition(".")[0])


def test_what_cannot_be_removed_is_a_warning(tmp_path, caplog):
    write_records(str(tmp_path), named("x", "over"), [{"n": 1}])
    remove_old(str(tmp_path), OWNER, -DAY, SimpleNamespace(run_id="now", dag_id="d"), "files")
    assert "Could not remove old files (AttributeError). It holds records" in caplog.text
    remove_old("nostore://nowhere/x", OWNER, DAY, Airflow(), "files")
    assert "Could not remove old files (ValueError)" in caplog.text


@given(st.text(), st.text(min_size=1), st.text(min_size=1, max_size=300))
def test_a_name_tells_whose_and_of_which_run_it_is(start, dag_id, run_id):
    name = own_name(start or "x", owner_of(dag_id, "g"), run_id) + ".ndjson"
    assert len(name.encode()) <= 255
    assert not set(name) & set("/*?[]#%&")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).touch()
        Path(folder, f".{name}.partial").touch()
        Path(folder, f"x{name}x").touch()
        found = list(own_files(folder, owner_of(dag_id, "g")))
        assert list(own_files(folder, owner_of(dag_id, "h"))) == []
    assert len(found) == 2
    assert {one.run_id for one in found} <= {run_id, None}
    assert all(one.run_id == run_id for one in found if len(run_id) < 10)


def test_owners_do_not_run_together():
    assert len({owner_of("a", "bc"), owner_of("ab", "c"), owner_of("abc"), owner_of("abc", "")}) == 4
    assert OwnFile("n", "==1", 0, list).run_id is None


@pytest.mark.parametrize(
    ("staging", "pattern"),
    [
        ("s3://aws@staging/{{ run_id }}/", "s3://aws@staging/*/"),
        ("s3://aws@{{ var.value.bucket }}/x/{{ run_id }}", "s3://aws@RENDERED/x/*"),
        ("{{ params.staging }}/{{ run_id }}", "RENDERED/*"),
        ("{{ params.staging }}", "RENDERED"),
        ('{{ "/".join(x) }}/a-{{ ds }}-b/[c]', "RENDERED/a-*-b/[[]c]"),
        ("/data/staging", "/data/staging"),
        ("file:///data/{{ ds }}/{% if a %}b{% endif %}", "file:///data/*/*b*"),
        ("staging/{{ ds }}", "staging/*"),
    ],
)
def test_a_folder_with_templates_stands_for_those_of_all_runs(staging, pattern):
    rendered = folders_of_all_runs(staging, lambda text: re.sub(r"\{\{.*?\}\}", "RENDERED", text))
    assert rendered == pattern


def test_each_run_removes_what_older_ones_have_staged(extract_load, run_dag, tmp_path):
    extract_load.put("Account", {"Id": "1", "Name": "Till"})
    with DAG("el_lifetime", schedule=None, max_active_runs=1) as dag:
        ExtractLoadTaskGroup(
            "g",
            definition={
                "jobs": [
                    {"type": "extract", "object": "Account"},
                    {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
                ]
            },
            source="el_quickbooks",
            destination="el_destination",
            staging=f"{tmp_path}/{{{{ run_id }}}}",
            keep_staged=timedelta(days=2),
        )
    first = run_dag(dag)
    assert set(states(first).values()) == {"success"}
    folder = tmp_path / first.run_id
    staged = sorted(folder.iterdir())
    assert len(staged) == 3
    foreign = folder / "notes.ndjson"
    foreign.touch()
    for path in (*staged, foreign):
        os.utime(path, (time.time() - DAY,) * 2)
    run_dag(dag)
    assert sorted(folder.iterdir()) == sorted([*staged, foreign])
    for path in (*staged, foreign):
        os.utime(path, (time.time() - 3 * DAY,) * 2)
    last = run_dag(dag)
    assert list(folder.iterdir()) == [foreign]
    assert len(list((tmp_path / last.run_id).iterdir())) == 3

    apply = next(one for one in dag.task_dict if "apply" in one)
    for path in (tmp_path / last.run_id).iterdir():
        if "extract" in path.name:
            path.unlink()
    alone = dag.partial_subset(apply, include_upstream=False)
    assert states(run_again(alone, last))[(apply, -1)] == "failed"


def test_no_time_is_no_time():
    with pytest.raises(ValueError, match="keep_staged must be above zero, and is 0:00:00"):
        ExtractLoadTaskGroup("g", definition={"jobs": []}, staging="/s", keep_staged=timedelta(0))
