"""The file in which an apply keeps its records: private, gone with the process, and bounded in memory."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from apply_on_disk import on_disk
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.extract_load import LoadMapping, record_tables
from airflow_bulk.extract_load.deletions import read_deletions
from airflow_bulk.extract_load.transforming import MappingFailed, wanted_records
from airflow_bulk.extract_load.work_file import (
    WorkFile,
    WorkFileFailed,
    packed,
    stored_key,
    stored_text,
    unpacked,
)
from airflow_bulk.operators.extract_load import ApplyOperator
from airflow_bulk.runs.extract_load.staging import write_records
from airflow_bulk.runs.failures import TryFailed

MEGABYTE = 1 << 20
MORE_THAN_THE_CACHE = record_tables.CACHE_KIB // 1024 + 8


@contextmanager
def files_of_at_most(size):
    """Let no file of this process grow beyond so many bytes, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def fill(work):
    work.fill(
        record_tables.ADD_CURRENT, ((b"", b"", None, bytes(MEGABYTE)) for _ in range(MORE_THAN_THE_CACHE))
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_nobody_else_can_open_the_file_and_it_is_gone_with_the_process():
    def opened():
        return {
            int(one.name): os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()
        }

    with WorkFile() as work:
        before = opened()
        fill(work)
        (number, name) = (set(opened().items()) - set(before.items())).pop()
        assert name.endswith("(deleted)")
        assert stat.S_IMODE(os.fstat(number).st_mode) == 0o600
        assert os.fstat(number).st_size > MEGABYTE
    assert name not in opened().values()


def test_a_full_disk_is_told():
    with files_of_at_most(MEGABYTE), WorkFile() as work, pytest.raises(WorkFileFailed) as caught:
        fill(work)
    assert "cannot be kept on disk while they are compared (OperationalError: " in str(caught.value)
    assert "Make room there, or name another folder" in str(caught.value)


def test_a_try_whose_disk_is_full_fails_and_may_be_retried(extract_load, tmp_path):
    records = ({"Id": str(number), "Name": "x" * MEGABYTE} for number in range(MORE_THAN_THE_CACHE))
    uri, count = write_records(str(tmp_path), "accounts", records)
    apply = ApplyOperator(
        task_id="apply",
        destination="el_destination",
        object_name="accounts",
        staging=str(tmp_path),
        extracts=[
            {
                "node": "e",
                "object": "Account",
                "uri": uri,
                "records": count,
                "since": None,
                "updated_since": None,
            }
        ],
    )
    with files_of_at_most(MEGABYTE), pytest.raises(TryFailed, match="A retry reads the destination again"):
        apply.execute({"ti": None})
    assert extract_load.destination("accounts") == []
    assert len(list(tmp_path.iterdir())) == 1


def test_an_iterator_may_outlive_the_file():
    with WorkFile() as work:
        fill(work)
        rows = work.rows("SELECT place FROM current ORDER BY place")
        assert next(rows) == (1,)
    with pytest.raises(WorkFileFailed):
        next(rows)


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=2, max_size=2))
def test_two_keys_are_two_in_the_tables(keys):
    assert (stored_key(keys[0]) == stored_key(keys[1])) == (keys[0] == keys[1])
    assert (stored_key(keys[0][:1]) == stored_key(keys[1][:1])) == (keys[0][:1] == keys[1][:1])


def test_keys_that_only_look_alike():
    assert stored_key(("1", "2", "34")) != stored_key(("1", "23", "4"))
    assert stored_key(("1", "a1:b", "")) != stored_key(("1", "a", "b"))
    assert stored_key(None) == (None, None)
    assert len({stored_text(text) for text in ("\ud800", "\ud801", "?", "")}) == 4


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=8,
)


@given(JSON)
def test_a_value_comes_back_with_its_types(value):
    assert repr(unpacked(packed(value))) == repr(value)


def test_a_value_that_is_no_plain_data_is_refused_without_quoting_it():
    mapping = LoadMapping(fields=lambda record: {"name": (lambda: "secret")})
    with WorkFile() as work, pytest.raises(MappingFailed) as caught:
        wanted_records("accounts", mapping, {"Account": [{"Id": 1}]}, work)
    assert "fields makes of record 1 of extract Account a value that is no plain data" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_statement_scans_a_table_for_each_row_of_another():
    """Else an apply would take a time that grows with the square of its size."""
    statements: list[str] = []

    class Traced(WorkFile):
        def __init__(self):
            super().__init__()
            self._connection.set_trace_callback(statements.append)

    source = [{"Id": number, "Kind": "a", "Parent": number + 1, "Vendor": 1} for number in (1, 2, 3, 4, 1)]
    current = [
        {"id": number, "qbd_id": number % 3, "kind": "a", "name": number % 2 or None} for number in range(9)
    ]
    mapping = LoadMapping(
        match_on=["kind", "qbd_id"],
        fields={"name": "Name", "kind": "Kind", "qbd_id": "Id", "parent": "Parent", "vendor": "Vendor"},
        references={"parent": "accounts", "vendor": "vendors"},
    )
    tables = {"vendors": [("1", 7)]}
    given_to = (mapping, {"A": source}, current, tables, Answers(), read_deletions("all"), "off")
    on_disk(*given_to, work_file=Traced)
    asked = {one for one in statements if one.lstrip().split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")}
    assert len(asked) > 20
    with WorkFile() as work:
        for statement in (
            record_tables.make_wanted(2),
            record_tables.INDEX_WANTED,
            record_tables.INDEX_COPIES,
            record_tables.INDEX_CURRENT,
            record_tables.INDEX_CURRENT_SOURCE,
            record_tables.INDEX_COUNTERPARTS,
            record_tables.INDEX_IDS,
        ):
            work.do(statement)
        for statement in asked:
            scans: dict[int, int] = {}
            steps = list(work.rows(f"EXPLAIN QUERY PLAN {statement}"))
            repeated = {number for number, _, _, step in steps if step.startswith("CORRELATED")}
            for _, parent, _, step in steps:
                assert "AUTOMATIC" not in step, statement
                scans[parent] = scans.get(parent, 0) + step.startswith("SCAN")
            assert max(scans.values(), default=0) <= 1, (statement, steps)
            assert not any(scans.get(number) for number in repeated), (statement, steps)


class Answers:
    """A destination that stores what it gets."""

    def __init__(self):
        self.created = 0

    def create(self, name, record):
        self.created += 1
        return {**record, "id": 10_000_000 + self.created}

    def update(self, name, record_id, record):
        return {**record, "id": record_id}

    def delete(self, name, record_id):
        pass


def large(size):
    """An apply of so many records of about 500 bytes, half of them there, each with a parent; what it peaks at, in MB."""
    wanted = ({"Id": number, "Name": f"n{number}" * 50, "Parent": number // 2} for number in range(1, size))
    there = (
        {"id": number, "qbd_id": str(number), "name": f"n{number}" * 50}
        for number in range(size, size // 2, -1)
    )
    mapping = LoadMapping(
        fields={"name": "Name", "parent": "Parent", "vendor": "Id"},
        references={"parent": "accounts", "vendor": "vendors"},
    )
    vendors = ((str(number), number) for number in range(size))
    given_to = (mapping, {"A": wanted}, there, {"vendors": vendors}, Answers(), read_deletions("all"), None)
    done, count = on_disk(*given_to, counted=True)
    assert count == size - 1
    assert (done.created, done.deleted) == (size // 2, 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records():
    """Twice the cache, not hundreds of megabytes; each size in a process of its own, since a peak stays."""
    act = "import sys; from test_work_file import large; print(large(int(sys.argv[1])))"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    peaks = [
        float(
            subprocess.run(
                [sys.executable, "-c", act, str(size)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([*places, *sys.path])},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for size in (1_000, 250_000)
    ]
    assert peaks[1] - peaks[0] < 2.5 * record_tables.CACHE_KIB / 1024
