"""An apply with its records on disk does what one in memory does, whatever the size."""

import copy
import datetime
from decimal import Decimal

import pytest
from apply_in_memory import PlanInMemory, WriterInMemory, wanted_in_memory
from apply_on_disk import on_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bulk.extract_load import LoadMapping
from airflow_bulk.extract_load.applying import Applied, BadAnswer, OutsideScope
from airflow_bulk.extract_load.deletions import TooManyDeletions, read_deletions
from airflow_bulk.extract_load.transforming import MappingFailed

LOAD = "accounts"
FAULTS = (
    MappingFailed,
    BadAnswer,
    OutsideScope,
    TooManyDeletions,
    ConnectionError,
    KeyError,
    TypeError,
)


class Notes:
    """A destination that notes each write, changes what it stores, and can fail at one of them."""

    def __init__(self, answers, fails_at):
        self.writes, self.answers, self.fails_at = [], answers, fails_at

    def _write(self, *what):
        self.writes.append(copy.deepcopy(what))
        if len(self.writes) == self.fails_at:
            raise ConnectionError("the answer was lost")
        return copy.deepcopy(self.answers[len(self.writes) % len(self.answers)])

    def create(self, name, record):
        answer = self._write("create", name, record)
        return {"id": 1000 + len(self.writes), **answer}

    def update(self, name, record_id, record):
        return self._write("update", name, record_id, record)

    def delete(self, name, record_id):
        self._write("delete", name, record_id)


def told(act):
    """What an apply brings about: its counts and records, or its fault."""
    try:
        done, records = act()
    except FAULTS as error:
        return type(error).__name__, "" if isinstance(error, OutsideScope) else str(error)
    return done, records


def in_memory(mapping, extracted, current, tables, destination, limit, refused):
    wanted = wanted_in_memory(LOAD, mapping, extracted)
    plan = PlanInMemory(LOAD, mapping, wanted, current, tables, deleting=refused is None)
    return WriterInMemory(LOAD, mapping, destination).write(plan, limit, refused)


def by_kind(record, name):
    """Two objects whose ids count apart; and values that JSON has not."""
    if record.get("Name") == "fails":
        raise LookupError
    made = record.get("Name")
    if made is True or made == "1":
        made = Decimal(1) if made is True else datetime.date(2020, 1, 1)
    references = {key.lower(): record[key] for key in ("Parent", "Vendor") if key in record}
    return {"qbd_id": str(record["Id"])[-1:], "kind": name[0].lower(), "name": made, **references}


NAMED = {"name": "Name", "kind": "Kind", "vendor": "Vendor"}
FIELDS = [by_kind, NAMED, {**NAMED, "parent": "Parent"}]
REFERENCES = [{}, {"parent": LOAD}, {"vendor": "vendors"}, {"vendor": "vendors", "parent": LOAD}]
SCOPES = [None, {"kind": ["a", "b"]}, lambda record: record.get("kind") != "c"]
ONE_FIELD = st.builds(
    LoadMapping,
    fields=st.sampled_from(FIELDS[1:]),
    references=st.sampled_from(REFERENCES),
    scope=st.sampled_from(SCOPES),
)
TWO_FIELDS = st.builds(
    LoadMapping,
    match_on=st.sampled_from([["qbd_id", "kind"], ["kind", "qbd_id"]]),
    fields=st.just(by_kind),
    references=st.sampled_from(REFERENCES),
    scope=st.sampled_from(SCOPES),
)
ANY_MAPPING = st.builds(
    LoadMapping,
    match_on=st.sampled_from(["qbd_id", "name", ["qbd_id", "kind"]]),
    fields=st.sampled_from([None, *FIELDS]),
    references=st.sampled_from(REFERENCES),
    scope=st.sampled_from([*SCOPES, {"kind": "a"}, {"parent": None}, lambda record: record["kind"] != "c"]),
)

NAMES = st.sampled_from(
    [1, 1.0, True, "1", [1, {"a": 1, "b": 2}], [1.0, {"b": 2, "a": 1}], None]
)  # some are equal
NUMBERS = st.integers(1, 4)
SOURCE_IDS = st.one_of(NUMBERS, NUMBERS.map(str))
REFERRED = st.one_of(st.none(), st.integers(1, 6), NUMBERS.map(str))
HELD = st.one_of(st.none(), st.integers(1, 9))
SOURCE = {"Name": NAMES, "Kind": st.sampled_from("ab")}
REFERRING = {"Parent": REFERRED, "Vendor": REFERRED}
# Ids of the two objects do not meet, but for their last digit.
GOOD = st.fixed_dictionaries(
    {},
    optional={
        "A": st.lists(st.fixed_dictionaries({"Id": SOURCE_IDS, **SOURCE}, optional=REFERRING), max_size=6),
        "B@day": st.lists(
            st.fixed_dictionaries({"Id": NUMBERS.map(lambda one: one + 10), **SOURCE}, optional=REFERRING),
            max_size=4,
        ),
    },
)
ODD_IDS = st.one_of(SOURCE_IDS, st.sampled_from(["", None, "\u00e9\0", "\ud800"]))
ODD_NAMES = st.one_of(NAMES, st.sampled_from(["", "fails", 10**30]))
BAD = st.dictionaries(
    st.sampled_from(["A", "B@day"]),
    st.lists(
        st.fixed_dictionaries(
            {"Id": ODD_IDS}, optional={"Name": ODD_NAMES, "Kind": st.sampled_from("abc"), **REFERRING}
        ),
        max_size=6,
    ),
    max_size=2,
)
THERE = st.lists(
    st.fixed_dictionaries(
        {"qbd_id": ODD_IDS, "kind": st.sampled_from("aabbc")},
        optional={"name": NAMES, "parent": HELD, "vendor": HELD, "colour": st.just("red")},
    ),
    max_size=9,
).map(lambda records: [{"id": number, **record} for number, record in enumerate(records, 1)])
THERE_WITHOUT_IDS = st.lists(
    st.fixed_dictionaries({}, optional={"id": HELD, "qbd_id": ODD_IDS, "kind": st.sampled_from("abc")})
)
ANSWER = st.fixed_dictionaries({}, optional={"name": NAMES, "qbd_id": SOURCE_IDS})
BAD_ANSWER = st.fixed_dictionaries(
    {}, optional={"id": HELD, "qbd_id": ODD_IDS, "kind": st.sampled_from("abc")}
)
TABLES = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "vendors": st.lists(
                st.tuples(NUMBERS.map(str), st.one_of(st.none(), st.integers(90, 99))), max_size=5
            )
        }
    ),
)
REFUSED = st.sampled_from([None, "deletions are off"])


def the_same(mapping, extracted, current, tables, answers, fails_at, limit, refused):
    """Apply both ways, and return what they brought about."""
    results = []
    for way in (in_memory, on_disk):
        destination = Notes(answers, fails_at)
        given_now = copy.deepcopy((extracted, current, tables))

        def act(way=way, destination=destination, given_now=given_now):
            return way(mapping, *given_now, destination, read_deletions(limit), refused)

        results.append((told(act), destination.writes))
    assert repr(results[0]) == repr(results[1])  # repr tells 1 from 1.0 and from True
    return results[0][0]


@settings(max_examples=400)
@given(
    mapping=st.one_of(ONE_FIELD, TWO_FIELDS),
    extracted=GOOD,
    then=st.one_of(st.none(), GOOD),
    current=THERE,
    tables=TABLES,
    answers=st.one_of(st.just([{}]), st.lists(ANSWER, min_size=1, max_size=3)),
    refused=REFUSED,
)
def test_it_does_what_an_apply_in_memory_does(mapping, extracted, then, current, tables, answers, refused):
    """Twice: what the first apply leaves is what the second one finds, among others."""
    _, records = the_same(mapping, extracted, current, tables, answers, None, "all", refused)
    more = [{**record, "id": 500 + record["id"]} for record in current[:2]]
    done, _ = the_same(
        mapping, extracted if then is None else then, [*records, *more], tables, [{}], None, "all", refused
    )
    assert isinstance(done, Applied)


@settings(max_examples=400)
@given(
    mapping=st.one_of(ONE_FIELD, TWO_FIELDS, ANY_MAPPING),
    extracted=st.one_of(GOOD, BAD),
    current=st.one_of(THERE, THERE_WITHOUT_IDS),
    tables=TABLES,
    answers=st.lists(st.one_of(ANSWER, BAD_ANSWER), min_size=1, max_size=3),
    fails_at=st.one_of(st.none(), st.integers(1, 6)),
    limit=st.sampled_from(["all", "50%", 1]),
    refused=REFUSED,
)
def test_it_fails_as_an_apply_in_memory_fails(
    mapping, extracted, current, tables, answers, fails_at, limit, refused
):
    the_same(mapping, extracted, current, tables, answers, fails_at, limit, refused)


OWN = LoadMapping(
    fields={"name": "Name", "parent": "Parent", "vendor": "Vendor"},
    references={"parent": LOAD, "vendor": "vendors"},
)


def record(number, name="x", **more):
    return {"Id": number, "Name": name, **more}


def held(record_id, source_id, name="x", **more):
    return {"id": record_id, "qbd_id": source_id, "name": name, **more}


def test_records_that_refer_to_one_created_now_are_settled_last_in_their_order():
    """Equal but for the reference; one that differs; one that is new; and one that has nothing to do with it."""
    extracted = {
        "A": [record(1, Parent=9), record(2), record(3, "y", Parent=9), record(4, Parent=9), record(9)]
    }
    current = [held(3, 3), held(2, 2), held(1, 1), held(5, 5)]
    done, records = the_same(OWN, extracted, current, {}, [{}], None, "all", "off")
    assert (done.unchanged, done.updated, done.created, done.second_writes) == (2, 1, 2, 3)
    assert [one.get("qbd_id") for one in records] == [2, 9, 5, 1, 3, 4]
    assert [one.get("parent") for one in records[3:]] == [1003] * 3


@pytest.mark.parametrize("refused", [None, "off"])
def test_a_reference_to_an_orphan_is_kept_where_the_orphan_is(refused):
    done, records = the_same(
        OWN, {"A": [record(1, Parent=7)]}, [held(70, "7")], {}, [{}], None, "all", refused
    )
    assert done.unresolved_references == (refused is None)
    assert records[0]["parent"] == (70 if refused else None)


def test_of_two_records_with_one_source_id_references_mean_the_first():
    tables = {"vendors": [("5", 50), ("5", 51)]}
    extracted = {"A": [record(1, Parent=7, Vendor=5), record(7)]}
    _, records = the_same(OWN, extracted, [held(70, 7), held(71, "7")], tables, [{}], None, "all", "off")
    assert [(one["parent"], one["vendor"]) for one in records if one["qbd_id"] == 1] == [(70, 50)]


def test_of_two_records_that_a_destination_made_the_same_references_mean_the_last():
    extracted = {"A": [record(1, Parent=2), record(2), record(3)]}
    answers = [{}, {}, {}, {"qbd_id": 2}]  # the third write stores another source id
    _, records = the_same(OWN, extracted, [], {}, answers, None, "all", "off")
    assert records[-1]["parent"] == 1003


@pytest.mark.parametrize("name", ["x", "fails"])
def test_of_two_faults_the_first_is_told(name):
    mapping = LoadMapping(match_on=["kind", "qbd_id"], fields=by_kind)
    extracted = {"A": [record(1), record(11), record(2, name)]}
    fault, message = the_same(mapping, extracted, [], {}, [{}], None, "all", None)
    assert (fault, "record 2 of extract A has the same kind, qbd_id" in message) == ("MappingFailed", True)


def test_the_last_of_three_copies_counts_at_the_place_of_the_first():
    extracted = {"A": [record(1, "a"), record(2, "b"), record(1, "c"), record("1", "d")]}
    _, records = the_same(OWN, extracted, [], {}, [{}], None, "all", None)
    assert [(one["qbd_id"], one["name"]) for one in records] == [("1", "d"), (2, "b")]
