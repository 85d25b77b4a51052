"""Task ids: readable, valid for Airflow, never two nodes under one."""

import re

from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.extract_load.task_ids import task_ids

names = st.text(min_size=1, max_size=200).filter(str.strip)
nodes = st.builds("{}:{}".format, st.sampled_from(["extract", "snapshot", "apply"]), names)
close = st.builds("extract:{}".format, st.text(alphabet="aA @_-é", min_size=1, max_size=4))


def test_plain_names_stay_readable():
    assert task_ids(["extract:ProfitAndLoss@daily", "snapshot:accounts", "extract:Balance Sheet"]) == {
        "extract:ProfitAndLoss@daily": "extract_ProfitAndLoss__daily",
        "snapshot:accounts": "snapshot_accounts",
        "extract:Balance Sheet": "extract_Balance_Sheet",
    }


def test_names_of_one_slug_do_not_merge():
    ids = task_ids(["extract:Balance Sheet", "extract:Balance_Sheet", "extract:Item"])
    assert len(set(ids.values())) == 3
    assert ids["extract:Item"] == "extract_Item"


@given(st.sets(st.one_of(nodes, close), max_size=12))
def test_ids_are_valid_and_distinct(nodes):
    ids = task_ids(nodes)
    assert ids.keys() == nodes
    assert len(set(ids.values())) == len(nodes)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,140}", task_id) for task_id in ids.values())


def test_an_id_does_not_depend_on_order():
    names = ["extract:a b", "extract:a_b", "extract:a-b"]
    assert task_ids(names) == task_ids(reversed(names))
