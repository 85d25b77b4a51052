"""Applies that write several records at once, through the operator and real HTTP."""

from __future__ import annotations

import logging
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from own_destination import BulkOwnDestination, OwnDestination

from airflow_bulk.extract_load import BatchDefinitionError, LoadMapping
from airflow_bulk.hooks.extract_load_endpoints import ActiveCellDestination
from airflow_bulk.operators.extract_load import ApplyOperator, ExtractLoadTaskGroup
from airflow_bulk.runs.extract_load.staging import read_records, write_records
from airflow_bulk.runs.failures import TaskStopped, TryFailed

TREE = LoadMapping(fields={"name": "Name", "parent_id": "Parent"}, references={"parent_id": "accounts"})


def book(number, name, parent=None):
    return {"Id": str(number), "Name": name, "Parent": parent and str(parent)}


def there(number, name, parent=None):
    return {"id": number, "qbd_id": str(number), "name": name, "parent_id": parent}


#: 200 to create, each under the one before; 100 to update, 50 that are equal, 70 to delete.
BOOKS = [
    *(book(number, f"new {number}", number - 1) for number in range(1001, 1201)),
    *(book(number, f"renamed {number}") for number in range(1, 101)),
    *(book(number, f"equal {number}") for number in range(101, 151)),
]
HELD = [
    *(there(number, f"old {number}") for number in range(1, 101)),
    *(there(number, f"equal {number}") for number in range(101, 151)),
    *(there(number, f"gone {number}") for number in range(151, 221)),
]
COUNTS = {"created": 200, "updated": 100, "deleted": 70, "unchanged": 50, "second_writes": 199}


IDS = {"dag_id": "d", "run_id": "r", "task_id": "apply", "map_index": -1}


def in_try(number):
    return {"ti": SimpleNamespace(**IDS, try_number=number)}


@pytest.fixture
def apply(monkeypatch, tmp_path):
    """``apply(server, records, **arguments)`` executes an apply; ``context`` may be given."""

    def run(server, records=BOOKS, context=None, **arguments):
        monkeypatch.setenv("AIRFLOW_CONN_OWN", server.connection_json())
        staged, count = write_records(str(tmp_path), f"read{len(list(tmp_path.iterdir()))}", iter(records))
        bounds = {"since": None, "updated_since": None, "rests_on": "a total"}
        operator = ApplyOperator(
            **{
                "task_id": "apply",
                "destination": "own",
                "object_name": "accounts",
                "mapping": TREE,
                "staging": str(tmp_path),
                "extracts": [{"node": "e", "object": "Account", "uri": staged, "records": count, **bounds}],
                "deletions": "all",
                "settle": 0.0,
                **arguments,
            }
        )
        return operator.execute(context or in_try(1))

    return run


def tree(server):
    """Names, and the names of the parents."""
    names = {number: record["name"] for number, record in server.records.items()}
    return {record["name"]: names.get(record["parent_id"]) for record in server.records.values()}


def rows(result):
    """What an apply says that the destination holds, in its order, without what the destination chooses."""
    found = list(read_records(result["uri"], "result"))
    names = {record["id"]: record["name"] for record in found}
    return [(record["name"], names.get(record["parent_id"])) for record in found]


def test_the_result_is_that_of_one_write_at_a_time_and_stages_do_not_overlap(apply):
    found = {}
    for at_once in (1, 16):
        with OwnDestination(HELD) as server:
            result = apply(server, writes_at_once=at_once)
            assert {name: result[name] for name in COUNTS} == COUNTS
            assert server.most <= at_once
            # Updates, creates, deletions, and the second writes of references.
            verbs = [verb for verb, _ in server.writes]
            changes = [verbs[0], *(then for first, then in pairwise(verbs) if first != then)]
            assert changes == ["PUT", "POST", "DELETE", "PUT"]
            assert len(verbs) == 100 + 200 + 70 + 199
            found[at_once] = rows(result), tree(server)
    assert found[1] == found[16]
    assert found[16][1]["new 1200"] == "new 1199"


def test_as_many_writes_are_under_way_as_asked_for_on_as_many_connections(apply, caplog):
    """More than the 10 connections that a session keeps by itself; each answer sets a cookie that others read."""
    together = threading.Barrier(16)

    def at_write(verb, record, done):
        if verb == "POST" and not done:
            together.wait(60)

    records = [book(number, f"new {number}") for number in range(16 * 40)]
    with OwnDestination(at_write=at_write) as server, caplog.at_level(logging.DEBUG):
        assert apply(server, records, writes_at_once=16)["created"] == len(records)
        assert server.most == 16
        assert server.connections <= 1 + 16  # the reading had one of its own
    assert "pool is full" not in caplog.text


def test_one_429_holds_back_all_writes(apply):
    """Only those that were on their way already arrive within the silence; the one that got the 429 comes again."""
    silence, arrived, counted = 5.0, [], []
    lock = threading.Lock()
    destination = ActiveCellDestination("own")

    def at_write(verb, record, done):
        if done:
            return None
        with lock:
            arrived.append(record["qbd_id"])
            if len(arrived) == 100:
                threading.Timer(silence - 0.5, lambda: counted.append(len(arrived))).start()
                return 429, {"Retry-After": str(int(silence))}
            late = 100 < len(arrived) <= 100 + 15
        # Those on their way are answered once the 429 was read: until then the others could not know of it.
        until = time.monotonic() + silence - 1.5
        while late and not destination.hook.budget.held and time.monotonic() < until:
            time.sleep(0.005)
        return None

    records = [book(number, f"new {number}") for number in range(600)]
    with OwnDestination(at_write=at_write) as server:
        result = apply(server, records, destination=destination, writes_at_once=16)
        assert (result["created"], len(server.records)) == (600, 600)
        assert set(server.created.values()) == {1}
    assert len(arrived) == 601
    assert counted[0] - 100 <= 15


def test_a_refused_record_stops_the_rest_and_what_is_under_way_counts(apply, capsys):
    together = threading.Barrier(4)

    def at_write(verb, record, done):
        if not done and 40 <= int(record["qbd_id"]) < 44:
            together.wait(60)  # all four are under way when one is refused
            return (400, {}) if record["qbd_id"] == "42" else None
        return None

    records = [book(number, f"secret {number}") for number in range(500)]
    with (
        OwnDestination(at_write=at_write) as server,
        pytest.raises(AirflowFailException, match=r"Could not create one of accounts: .*400") as caught,
    ):
        apply(server, records, writes_at_once=4)
    assert len(server.records) < 60
    assert {"40", "41", "43"} < set(server.by_key())
    assert "42" not in server.by_key()
    logged = capsys.readouterr().out
    assert f"the apply ends early: created {len(server.records)} of 500" in logged
    assert "secret" not in str(caught.value) + logged


def test_a_lost_answer_ends_the_try_and_the_next_one_creates_nothing_twice(apply, extract_load):
    extract_load.emulator.fault("lost_answer", path=r"accounts\.json", method="POST", times=3, skip=20)
    emulated = SimpleNamespace(connection_json=lambda: extract_load.connection_json("destination"))
    records = [book(number, f"new {number}") for number in range(200)]
    with pytest.raises(TryFailed, match="unknown whether it was done"):
        apply(emulated, records, writes_at_once=8)
    assert 20 < len(extract_load.destination("accounts")) < 60
    apply(emulated, records, writes_at_once=8, context=in_try(2))
    assert sorted(int(one["qbd_id"]) for one in extract_load.destination("accounts")) == list(range(200))


class Marked:
    """A task whose try does not count any more once something has happened."""

    def __init__(self, happened):
        self.happened = happened
        self.ti = SimpleNamespace(**IDS, try_number=1, get_task_states=self.get_task_states)
        self.context = {"ti": self.ti, "task_state_store": self}

    def set(self, key, value):
        pass

    def get_task_states(self, **asked):
        return {"r": {"apply": "restarting" if self.happened() else "running"}}


@pytest.mark.parametrize("at_once", [1, 16])
def test_writes_that_wait_out_a_silence_do_not_leave_once_the_try_was_cleared(apply, at_once):
    """A newer try may have read the destination by then: what left now would be created twice."""
    others = set(threading.enumerate())
    with OwnDestination(at_write=lambda *_: (429, {"Retry-After": "3"})) as server:
        marked = Marked(lambda: server.calls["POST"] >= 1)
        with pytest.raises(TaskStopped, match="restarting now, so this try writes no further"):
            apply(server, writes_at_once=at_once, deletions="off", context=marked.context)
        assert 1 <= server.calls["POST"] <= at_once
        left = {one.name for one in set(threading.enumerate()) - others}
        assert [name for name in left if name.startswith("writes-")] == []
        assert server.records == {}


def test_many_records_are_created_in_one_call(apply):
    with OwnDestination() as server:
        result = apply(server, destination=BulkOwnDestination("own"), writes_at_once=4)
        assert (result["created"], result["second_writes"]) == (350, 199)
        assert server.calls["POST"] == 50  # 7 at a time
        assert set(server.created.values()) == {1}
        assert tree(server)["new 1200"] == "new 1199"
        assert server.most <= 4


@pytest.mark.parametrize("at_once", [1, 4])
def test_records_that_a_bulk_destination_refuses_are_told_by_their_number(apply, at_once):
    def fields(record):
        return {"name": record["Name"], "bad": record["Id"] in ("9", "12")}

    records = [book(number, f"Smith {number}") for number in range(1, 101)]
    with OwnDestination() as server:
        with pytest.raises(AirflowFailException) as caught:
            apply(
                server,
                records,
                mapping=LoadMapping(fields=fields),
                destination=BulkOwnDestination("own"),
                writes_at_once=at_once,
            )
        told = str(caught.value)
        assert "has not created 2 of 100 records, by their number in the plan: 9, 12." in told
        assert "the name * is taken" in told
        assert "Smith" not in told
        stored = set(server.by_key())
    assert {str(number) for number in range(1, 15)} - {"9", "12"} <= stored
    assert len(stored) <= 14 - 2 + 7 * 2 * at_once


class Answering(BulkOwnDestination):
    """A bulk destination whose own code answers with something else."""

    def __init__(self, conn_id, answers):
        super().__init__(conn_id)
        object.__setattr__(self, "answers", answers)

    def create_many(self, name, records):
        return self.answers(super().create_many(name, records))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda found: found[:-1], "was given 7 records and answered with 6 answers"),
        (lambda found: {"records": found}, "was given 7 records and answered with a dict"),
        (lambda found: ["done"] * len(found), "something that is no record and no NotCreated"),
        (lambda found: [{**one, "id": None} for one in found], "the answer names no id"),
    ],
)
def test_an_answer_to_many_records_that_cannot_be_told_apart_ends_the_try(apply, answers, message):
    records = [book(number, f"new {number}") for number in range(30)]
    with OwnDestination() as server:
        with pytest.raises(AirflowException, match=message) as caught:
            apply(server, records, destination=Answering("own", answers))
        assert not isinstance(caught.value, AirflowFailException)
        assert len(server.records) == 7
        # The next try reads the destination and creates what is missing.
        second = in_try(2)
        assert apply(server, records, destination=BulkOwnDestination("own"), context=second)["created"] == 23
        assert set(server.created.values()) == {1}


def test_the_group_hands_it_to_each_load_and_refuses_what_cannot_be_meant(extract_load, tmp_path):
    def group(dag_id, writes_at_once):
        with DAG(dag_id, schedule=None):
            return ExtractLoadTaskGroup(
                "books",
                definition={
                    "jobs": [{"type": "load", "object": "accounts"}, {"type": "load", "object": "bills"}]
                },
                source="el_json",
                destination="el_destination",
                staging=str(tmp_path),
                read_only=(),
                mappings={"accounts": LoadMapping(), "bills": LoadMapping()},
                writes_at_once=writes_at_once,
            ).tasks_by_node

    def numbers(tasks):
        return [tasks[f"apply:{name}"].writes_at_once for name in ("accounts", "bills")]

    assert numbers(group("el_all_loads", 5)) == [5, 5]
    assert numbers(group("el_one_load", {"bills": 16})) == [1, 16]
    with pytest.raises(BatchDefinitionError) as caught:
        group("el_bad_number", {"bills": 65, "vendors": 2})
    assert [problem.message for problem in caught.value.problems] == [
        "writes_at_once=65: write a whole number from 1 (one write after the other) to 64",
        "writes_at_once names vendors, which is no load of this batch",
    ]
    with pytest.raises(ValueError, match="writes_at_once=0: write a whole number"):
        ApplyOperator(task_id="a", destination="d", object_name="o", staging="s", writes_at_once=0)
