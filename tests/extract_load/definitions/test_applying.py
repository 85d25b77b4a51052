"""The apply engine against a destination in memory: what it writes, what it leaves, what it refuses."""

import copy
import itertools

import pytest
from apply_on_disk import on_disk
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.extract_load.applying import Outcome, OutsideScope
from airflow_bulk.extract_load.deletions import Feed, TooManyDeletions, read_deletions, refusal
from airflow_bulk.extract_load.planning import reference_table
from airflow_bulk.extract_load.transforming import MappingFailed, wanted_records
from airflow_bulk.extract_load.work_file import WorkFile


class Warehouse:
    """A destination in memory that counts its writes and can die at one of them."""

    def __init__(self, records=(), dies_at=None):
        self.records = {record["id"]: dict(record) for record in records}
        self.writes = []
        self.dies_at = dies_at
        self.ids = itertools.count(1000)

    def _write(self, kind):
        self.writes.append(kind)
        if self.dies_at == len(self.writes):
            raise ConnectionError("the answer was lost")

    def snapshot(self, name):
        return [dict(record) for record in self.records.values()]

    def create(self, name, record):
        stored = {**record, "id": next(self.ids)}
        self.records[stored["id"]] = stored
        self._write("create")
        return dict(stored)

    def update(self, name, record_id, record):
        self.records[record_id] = {**record, "id": record_id}
        self._write("update")
        return dict(self.records[record_id])

    def delete(self, name, record_id):
        del self.records[record_id]
        self._write("delete")


ACCOUNTS = LoadMapping(
    feeds="Account",
    fields={"name": "Name", "parent_id": "Parent.value"},
    references={"parent_id": "accounts"},
)


def account(number, name, parent=None):
    return {"Id": str(number), "Name": name, **({"Parent": {"value": str(parent)}} if parent else {})}


def apply(
    warehouse,
    records,
    mapping=ACCOUNTS,
    *,
    deletions="off",
    refused=None,
    tables=None,
    load="accounts",
    **more,
):
    limit = read_deletions(deletions)
    refused = refused or refusal(
        limit, [Feed("extract:Account", len(records), bounded=False, rests_on="a total")], []
    )
    given_to = (mapping, {"Account": records}, warehouse.snapshot(load), tables or {}, warehouse)
    return Outcome(*on_disk(*given_to, limit, refused, load=load, **more))


def wanted_list(load, mapping, extracted):
    with WorkFile() as work:
        return list(wanted_records(load, mapping, extracted, work))


def named(warehouse):
    names = {record["id"]: record["name"] for record in warehouse.records.values()}
    return {record["name"]: names.get(record.get("parent_id")) for record in warehouse.records.values()}


def test_creates_updates_and_leaves_alone():
    warehouse = Warehouse(
        [
            {"id": 1, "qbd_id": 11, "name": "Cash", "parent_id": None, "colour": "red"},
            {"id": 2, "qbd_id": 12, "name": "Bnk", "parent_id": None},
            {"id": 3, "qbd_id": 99, "name": "Gone", "parent_id": None},
        ]
    )
    outcome = apply(warehouse, [account(11, "Cash"), account(12, "Bank"), account(13, "Till", 11)])
    done = outcome.applied
    assert (done.created, done.updated, done.deleted, done.unchanged, done.kept_orphans) == (1, 1, 0, 1, 1)
    assert (done.would_delete, done.deletions_refused) == (1, "deletions are off")
    assert named(warehouse) == {"Cash": None, "Bank": None, "Gone": None, "Till": "Cash"}
    assert warehouse.records[1]["colour"] == "red"
    assert sorted(record["id"] for record in outcome.records) == sorted(warehouse.records)


def test_a_reference_to_a_record_created_later_gets_a_second_write():
    warehouse = Warehouse()
    outcome = apply(warehouse, [account(1, "Leaf", 2), account(2, "Branch", 3), account(3, "Root")])
    assert named(warehouse) == {"Leaf": "Branch", "Branch": "Root", "Root": None}
    assert warehouse.writes == ["create"] * 3 + ["update"] * 2
    assert outcome.applied.second_writes == 2


def test_a_second_run_changes_nothing():
    warehouse = Warehouse()
    records = [account(1, "Leaf", 2), account(2, "Root"), account(3, "Lost", 77)]
    first = apply(warehouse, records)
    warehouse.writes.clear()
    again = apply(warehouse, records).applied
    assert first.applied.unresolved_references == again.unresolved_references == 1
    assert warehouse.writes == []
    assert again.unchanged == 3


@given(st.data())
def test_a_killed_apply_repeated_creates_nothing_twice(data):
    size = data.draw(st.integers(1, 6))
    parents = [data.draw(st.one_of(st.none(), st.integers(1, size))) for _ in range(size)]
    records = [account(number, f"a{number}", parent) for number, parent in enumerate(parents, 1)]
    there = data.draw(st.lists(st.integers(1, size), unique=True))
    before = [{"id": number, "qbd_id": number, "name": "old", "parent_id": None} for number in there]
    unharmed = Warehouse(before)
    apply(unharmed, records)
    harmed = Warehouse(copy.deepcopy(before), dies_at=data.draw(st.integers(1, max(1, len(unharmed.writes)))))
    try:
        apply(harmed, records)
    except ConnectionError:
        apply(harmed, records)  # reads the destination again, as a retry does
    assert named(harmed) == named(unharmed)
    assert len(harmed.records) == len(unharmed.records)


def test_references_to_other_loads_use_their_result():
    vendors = LoadMapping(feeds="Vendor")
    table = reference_table(vendors, [{"id": 501, "qbd_id": "v1"}, {"id": 502, "qbd_id": None}])
    bills = LoadMapping(fields={"vendor_id": "VendorRef"}, references={"vendor_id": "vendors"})
    warehouse = Warehouse()
    records = [{"Id": 1, "VendorRef": "v1"}, {"Id": 2, "VendorRef": "v9"}, {"Id": 3}]
    done = apply(warehouse, records, bills, load="bills", tables={"vendors": table}).applied
    assert [record["vendor_id"] for record in warehouse.records.values()] == [501, None, None]
    assert done.unresolved_references == 1


def test_the_mapping_of_the_issue_leaves_a_reference_alone_that_no_field_fills():
    mapping = LoadMapping(
        feeds=["Account"],
        match_on="qbd_id",
        fields={"name": "Name"},
        references={"parent_account_id": "accounts"},
    )
    cash = {"id": 1, "qbd_id": "1", "name": "Cash", "parent_account_id": None}
    warehouse = Warehouse([cash, {"id": 2, "qbd_id": "2", "name": "Till", "parent_account_id": 1}])
    books = [account(1, "Cash"), account(2, "Till", 1), account(3, "New", 1)]
    done = apply(warehouse, books, mapping).applied
    assert (done.created, done.updated, done.unchanged, done.second_writes) == (1, 0, 2, 0)
    assert warehouse.records[2]["parent_account_id"] == 1
    apply(warehouse, [account(2, "Till renamed", 1)], mapping)
    assert warehouse.records[2] == {
        "id": 2,
        "qbd_id": "2",
        "name": "Till renamed",
        "parent_account_id": 1,
    }


@pytest.mark.parametrize("fields", [{"name": "Name", "parent_id": "Parent.value"}, dict])
def test_a_reference_that_is_filled_with_nothing_is_cleared(fields):
    mapping = LoadMapping(fields=fields, references={"parent_id": "accounts"})
    warehouse = Warehouse([{"id": 2, "qbd_id": "2", "name": "Till", "parent_id": 1}])
    apply(warehouse, [{"Id": "2", "name": "Till", "Name": "Till", "parent_id": None}], mapping)
    assert warehouse.records[2]["parent_id"] is None


def test_the_first_unmatched_counterpart_is_taken_and_the_other_is_an_orphan():
    twins = [
        {"id": 1, "qbd_id": "5", "name": "Till", "parent_id": None},
        {"id": 2, "qbd_id": "5", "name": "Till"},
    ]
    warehouse = Warehouse(twins)
    done = apply(warehouse, [account(5, "Till")], deletions="all").applied
    assert (done.unchanged, done.deleted) == (1, 1)
    assert list(warehouse.records) == [1]


def test_scope_spares_what_is_outside():
    mapping = LoadMapping(fields={"name": "Name", "kind": "Kind"}, scope={"kind": ["a", "b"]})
    warehouse = Warehouse(
        [{"id": 1, "qbd_id": "1", "name": "x", "kind": "c"}, {"id": 2, "qbd_id": "2", "kind": "a"}]
    )
    done = apply(warehouse, [{"Id": "7", "Name": "new", "Kind": "b"}], mapping, deletions="all").applied
    assert (done.created, done.deleted, done.out_of_scope) == (1, 1, 1)
    assert 1 in warehouse.records


def test_a_mapping_that_writes_outside_its_scope_is_refused_before_the_first_write():
    mapping = LoadMapping(fields={"name": "Name"}, scope={"kind": "a"})
    warehouse = Warehouse()
    with pytest.raises(
        MappingFailed, match="1 of 1 records that the mapping makes are outside its own scope"
    ):
        apply(warehouse, [account(1, "x")], mapping)
    assert warehouse.writes == []


def test_a_callable_scope_is_checked_at_the_first_create():
    mapping = LoadMapping(fields={"name": "Name"}, scope=lambda record: record.get("kind") == "a")
    warehouse = Warehouse()
    with pytest.raises(OutsideScope, match="outside the mapping's own scope"):
        apply(warehouse, [account(1, "x"), account(2, "y")], mapping)
    assert warehouse.writes == ["create"]


@pytest.mark.parametrize(("deletions", "writes"), [("all", 2), (2, 2), ("50%", 2)])
def test_deletions_within_the_limit(deletions, writes):
    records = [{"id": number, "qbd_id": number, "name": "x", "parent_id": None} for number in range(1, 5)]
    warehouse = Warehouse(records)
    done = apply(warehouse, [account(1, "x"), account(2, "x")], deletions=deletions).applied
    assert (done.deleted, done.kept_orphans, done.deletions_refused) == (2, 0, None)
    assert warehouse.writes == ["delete"] * writes


@pytest.mark.parametrize("deletions", [1, "49%"])
def test_deletions_over_the_limit_refuse_the_whole_apply(deletions):
    records = [{"id": number, "qbd_id": number, "name": "x", "parent_id": None} for number in range(1, 5)]
    warehouse = Warehouse(records)
    with pytest.raises(TooManyDeletions, match="2 of 4 records"):
        apply(warehouse, [account(1, "x"), account(2, "y"), account(7, "new")], deletions=deletions)
    assert warehouse.writes == []


@pytest.mark.parametrize(
    ("feeds", "unrequired", "reason"),
    [
        ([], [], "no extract feeds this load"),
        ([Feed("extract:A", 5, True, "a total of 5")], [], "extract:A was limited by since or updated_since"),
        (
            [Feed("extract:A", 5, False, "a total of 5"), Feed("extract:B", 0, False, "a total of 0")],
            [],
            "extract:B brought no record at all",
        ),
        (
            [Feed("extract:A", 5, False, None)],
            [],
            "nothing shows that the reading of extract:A is complete, so absence proves nothing",
        ),
        ([Feed("extract:A", 5, False, "a total of 5")], ["B"], "B feeds this load but is not required by it"),
    ],
)
def test_orphans_are_kept_where_absence_proves_nothing(feeds, unrequired, reason):
    assert reason in refusal(read_deletions("all"), feeds, unrequired)
    assert refusal(read_deletions("all"), [Feed("extract:A", 5, False, "a total of 5")], []) is None


def test_a_permit_that_is_refused_stops_before_the_next_write():
    warehouse = Warehouse()
    permits = iter([None, None])

    def permit():
        if next(permits, "no") == "no":
            raise PermissionError

    with pytest.raises(PermissionError):
        apply(warehouse, [account(number, "x") for number in range(9)], permit=permit)
    assert warehouse.writes == ["create", "create"]


def test_a_record_listed_twice_counts_once_the_later_one():
    warehouse = Warehouse()
    apply(warehouse, [account(1, "old"), account(1, "new")])
    assert named(warehouse) == {"new": None}


def test_two_records_with_one_matching_value_are_refused_without_quoting_them():
    mapping = LoadMapping(match_on="code", fields={"code": "Name"})
    with pytest.raises(MappingFailed) as caught:
        wanted_list("accounts", mapping, {"Account": [account(1, "secret"), account(2, "secret")]})
    assert "record 2 of extract Account has the same code" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "record", "message"),
    [
        (
            lambda record: record["secret"],
            {"Id": 1},
            r"fields fails on record 1 of extract Account \(KeyError\)",
        ),
        ({"name": "Name"}, {"Name": "x"}, "record 1 of extract Account has no value in qbd_id"),
    ],
)
def test_a_mapping_that_does_not_fit_says_which_record(fields, record, message):
    with pytest.raises(MappingFailed, match=message):
        wanted_list("accounts", LoadMapping(fields=fields), {"Account": [record]})


def test_callables_may_take_the_object_and_leave_records_out():
    mapping = LoadMapping(fields=lambda record, name: {"kind": name} if record["Id"] == 2 else None)
    wanted = wanted_list("x", mapping, {"Bill": [{"Id": 1}, {"Id": 2}], "Invoice": []})
    assert [entry.record for entry in wanted] == [{"kind": "Bill", "qbd_id": 2}]


def test_fields_of_the_same_name_by_default():
    record = {"Id": 1, "Name": "x", "MetaData": {"CreateTime": "2013-01-01"}}
    (entry,) = wanted_list("x", LoadMapping(), {"A": [record]})
    assert entry.record == {"Name": "x", "qbd_id": 1}


BOOKS = st.dictionaries(
    st.integers(1, 8),
    st.tuples(st.sampled_from(["Cash", "Bank", "Till"]), st.one_of(st.none(), st.integers(1, 9))),
    max_size=8,
)


def model(before, books, *, deleting):
    """What the destination shall hold, by source id: (name, source id of the parent)."""
    kept = {} if deleting else {number: entry for number, entry in before.items() if number not in books}
    known = set(books) | (set() if deleting else set(before))
    return {
        **kept,
        **{number: (name, parent if parent in known else None) for number, (name, parent) in books.items()},
    }


def held(warehouse):
    source_ids = {record["id"]: record["qbd_id"] for record in warehouse.records.values()}
    return {
        int(record["qbd_id"]): (
            record["name"],
            source_ids.get(record["parent_id"]) and int(source_ids[record["parent_id"]]),
        )
        for record in warehouse.records.values()
    }


@given(st.lists(BOOKS, min_size=1, max_size=4), st.booleans())
def test_each_apply_writes_exactly_what_differs(versions, deleting):
    warehouse = Warehouse()
    for books in versions:
        before = held(warehouse)
        warehouse.writes.clear()
        records = [account(number, name, parent) for number, (name, parent) in books.items()]
        deletes = deleting and bool(records)
        done = apply(warehouse, records, deletions="all" if deleting else "off").applied
        wanted = model(before, books, deleting=deletes)
        assert held(warehouse) == wanted
        assert done.created == warehouse.writes.count("create") == len(set(books) - set(before))
        assert done.deleted == warehouse.writes.count("delete") == len(set(before) - set(wanted))
        again = len(warehouse.writes)
        apply(warehouse, records, deletions="all" if deleting else "off")
        assert len(warehouse.writes) == again
