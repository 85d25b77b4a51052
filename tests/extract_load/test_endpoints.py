"""Sources and the destination against the emulated ones, over real HTTP."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from airflow_bulk.extract_load.readings import read_again
from airflow_bulk.hooks.extract_load_endpoints import (
    ActiveCellDestination,
    JsonSource,
    QuickBooksSource,
    destination_of,
    source_of,
)
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.errors import FateUnknown, Refused

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
MAY = datetime(2013, 5, 1, tzinfo=UTC)


def record(number, created=APRIL, updated=MAY):
    times = {"CreateTime": created.isoformat(), "LastUpdatedTime": updated.isoformat()}
    return {"Id": str(number), "Name": f"n{number}", "MetaData": times}


def read(source, since=None, updated_since=None, grain=None):
    found = source.extract("Account", since=since, updated_since=updated_since, grain=grain)
    return [entry["Name"] for entry in found]


@pytest.fixture(params=["quickbooks", "json"])
def source(request, extract_load):
    return source_of(f"el_{request.param}")


def test_the_connection_says_which_source_it_is(extract_load):
    assert isinstance(source_of("el_quickbooks"), QuickBooksSource)
    assert isinstance(source_of("el_json"), JsonSource)
    assert isinstance(destination_of("el_destination"), ActiveCellDestination)
    with pytest.raises(ConnectionFieldError, match="a destination is activecell"):
        destination_of("el_quickbooks")


def test_all_pages_are_read(extract_load):
    extract_load.put("Account", *(record(number) for number in range(7)))
    for source in (
        QuickBooksSource("el_quickbooks", page_size=3),
        JsonSource("el_json", "/{object}", page_size=3),
    ):
        assert read(source) == [f"n{number}" for number in range(7)]
    starts = [event["start"] for event in extract_load.events("read")]
    assert starts == [1, 4, 7] * 4  # each source reads twice, and compares


def test_a_list_that_changes_while_its_pages_are_read_is_read_again(extract_load):
    extract_load.put("Account", *(record(number) for number in range(6)))
    # The count, the first page; then a record goes while the second page is under way.
    extract_load.emulator.fault("slow", path="/query$", times=1, skip=2, answer_delay=1.5)
    with ThreadPoolExecutor(1) as pool:
        source = QuickBooksSource("el_quickbooks", page_size=2)
        reading = pool.submit(read_again, lambda: read(source), "extract Account")
        while not any(event["start"] == 3 for event in extract_load.events("read")):
            assert not reading.done()
        extract_load.remove("Account", "0")
        assert reading.result() == [f"n{number}" for number in range(1, 6)]


def test_no_record_is_an_empty_extract(source):
    assert read(source) == []


def test_both_bounds_hold_at_once(extract_load, source):
    extract_load.put(
        "Account",
        record(1, created=APRIL, updated=APRIL),
        record(2, created=APRIL, updated=MAY),
        record(3, created=MAY, updated=MAY),
    )
    assert read(source, since=MAY) == ["n3"]
    assert read(source, updated_since=MAY) == ["n2", "n3"]
    assert read(source, since=APRIL, updated_since=MAY) == ["n2", "n3"]


def test_the_time_of_change_is_known(extract_load, source):
    extract_load.put("Account", record(1))
    (entry,) = source.extract("Account", since=None, updated_since=None, grain=None)
    assert source.changed_at("Account", entry) == MAY


@pytest.mark.parametrize(
    ("source", "bound", "option"),
    [
        (QuickBooksSource("el_quickbooks", since_field=None), "since", "since_field"),
        (QuickBooksSource("el_quickbooks", updated_field=None), "updated_since", "updated_field"),
        (JsonSource("el_json", since_param=None), "since", "since_param"),
        (JsonSource("el_json", updated_param=None), "updated_since", "updated_param"),
    ],
)
def test_a_bound_without_its_field_is_an_error_not_a_full_read(extract_load, source, bound, option):
    with pytest.raises(ValueError, match=f"{bound} is set, but the source has no {option}"):
        read(source, **{bound: APRIL})
    assert extract_load.events("read") == []


def test_grain_reaches_the_source(extract_load):
    extract_load.put("Account", {**record(1), "grain": "daily"}, {**record(2), "grain": "monthly"})
    assert read(JsonSource("el_json"), grain="daily") == ["n1"]


def test_a_passing_error_on_one_page_is_asked_again(extract_load):
    extract_load.put("Account", *(record(number) for number in range(4)))
    extract_load.fail(side="source", object="Account", page=2, status=503)
    assert len(read(QuickBooksSource("el_quickbooks", page_size=2))) == 4


def test_a_source_without_realm_says_so(extract_load, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_EL_QUICKBOOKS", extract_load.connection_json("source", api="quickbooks"))
    with pytest.raises(ConnectionFieldError, match="has no realm"):
        read(QuickBooksSource("el_quickbooks"))


def test_the_destination_lists_creates_updates_and_deletes(extract_load):
    destination = destination_of("el_destination")
    made = destination.create("Accounts", {"name": "Cash", "qbd_id": "1"})
    assert destination.update("Accounts", made["id"], {"name": "Bank", "qbd_id": "1"})["name"] == "Bank"
    assert list(destination.snapshot("accounts")) == [{"name": "Bank", "qbd_id": "1", "id": made["id"]}]
    destination.delete("accounts", made["id"])
    destination.delete("accounts", made["id"])  # gone already
    assert extract_load.destination("accounts") == []
    assert [event["verb"] for event in extract_load.events("write")] == ["POST", "PUT", "DELETE"]


def test_a_create_whose_answer_is_lost_is_not_repeated(extract_load):
    extract_load.emulator.fault("lost_answer", path="accounts", method="POST", times=1)
    with pytest.raises(FateUnknown):
        destination_of("el_destination").create("accounts", {"name": "Cash"})
    assert len(extract_load.destination("accounts")) == 1


def test_nothing_but_200_is_success(extract_load):
    extract_load.emulator.fault("empty_answer", path="accounts", status=201)
    with pytest.raises(Refused):
        list(destination_of("el_destination").snapshot("accounts"))


def test_no_token_reaches_the_request_log(extract_load):
    list(destination_of("el_destination").snapshot("accounts"))
    assert extract_load.emulator.token not in str(extract_load.emulator.requests())
