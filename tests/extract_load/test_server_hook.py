"""The hook of the batch server against the emulated one, over real HTTP."""

from datetime import datetime, timedelta

import pytest

from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.platforms.errors import FateUnknown, NotFound, Unauthorized

JOBS = [
    {"type": "extract", "object": "Vendor"},
    {"type": "load", "object": "vendors", "required_objects": {"extract": ["Vendor"]}},
]
HANGING = [
    {"type": "load", "object": "vendors", "required_objects": {"load_result": ["customers"]}},
    {"type": "load", "object": "customers", "required_objects": {"load_result": ["vendors"]}},
]


@pytest.fixture
def hook(extract_load):
    return ExtractLoadHook("el_server")


def test_a_batch_runs_and_shows_its_end_alone(extract_load: ExtractLoadEmulator, hook):
    extract_load.emulator.settings(start_delay=1.0, run_seconds=2.0)
    extract_load.emulator.clock.freeze()
    extract_load.put("Vendor", {"Id": "1", "DisplayName": "Ann"})
    made = hook.create_batch({"since": "2013-01-01", "jobs": JOBS})
    assert not hook.get_batch(made.id).finished
    extract_load.emulator.clock.advance(4)
    batch = hook.get_batch(made.id)
    assert batch.finished
    created, finished = map(datetime.fromisoformat, (batch.created_at, batch.finished_at))
    assert finished - created == timedelta(seconds=3)  # when it ended, not when it was looked at
    assert (batch.status, batch.failure) == (None, None)
    assert [record["DisplayName"] for record in extract_load.destination("vendors")] == ["Ann"]
    assert [batch.id for batch in hook.list_batches()] == [made.id]


def test_the_statuses_come_in_the_documented_order(extract_load, hook):
    hook.create_batch({"jobs": JOBS})
    statuses = [(event["name"], event["status"]) for event in extract_load.events("job status")]
    assert [status for name, status in statuses if name == "Vendor"] == [
        *("in process", "Retrieving Vendor data", "complete")
    ]
    assert [status for name, status in statuses if name == "vendors"] == [
        *("in process", "in process", "pending", "pending", "pending", "in process", "in process", "complete")
    ]


def test_a_result_is_applied_before_what_requires_it(extract_load, hook):
    extract_load.put("Account", {"Id": "1"}, {"Id": "2"})
    extract_load.put("Bill", {"Id": "3"})
    required = {"extract": ["Bill"], "load_result": ["accounts", "periods"]}
    jobs = [
        {"type": "load", "object": "financial_transactions", "required_objects": required},
        {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
        {"type": "load", "object": "periods"},
        {"type": "extract", "object": "Bill"},
        {"type": "extract", "object": "Account"},
    ]
    hook.create_batch({"jobs": jobs})
    written = [event["object"] for event in extract_load.events("write")]
    assert written == ["accounts", "accounts", "financial_transactions"]


@pytest.mark.parametrize(
    ("batch", "job", "found"),
    [
        ({}, {}, ["old", "new"]),
        ({"since": "2013-06-15"}, {}, ["new"]),
        ({"since": "1371254400"}, {}, ["new"]),  # the same, as the documentation's prose has it
        ({"since": "2013-06-15"}, {"since": "2013-01-01"}, ["old", "new"]),
        ({"since": "2013-06-15"}, {"since": None}, ["old", "new"]),
        ({"since": "2013-06-15"}, {"grain": "monthly"}, ["old", "new"]),  # from January 15
        ({"since": "2013-06-15"}, {"grain": "daily"}, ["new"]),
        ({"updated_since": "2013-06-15"}, {"updated_since": "2013-06-15"}, ["old", "new"]),
    ],
)
def test_since_filters_by_the_time_of_creation_and_updated_since_never(extract_load, hook, batch, job, found):
    for number, created in enumerate(("2013-02-01", "2013-07-01")):
        meta = {"CreateTime": f"{created}T00:00:00Z", "LastUpdatedTime": "2013-01-01T00:00:00Z"}
        name = ("old", "new")[number]
        extract_load.put("Vendor", {"Id": str(number), "DisplayName": name, "MetaData": meta})
    hook.create_batch({**batch, "jobs": [{**JOBS[0], **job}, JOBS[1]]})
    assert [record["DisplayName"] for record in extract_load.destination("vendors")] == found


def test_references_become_ids_of_the_destination_by_a_second_put(extract_load, hook):
    extract_load.put("Account", {"Id": "1", "parent_account_id": "2"}, {"Id": "2"})
    extract_load.put("Item", {"Id": "1", "account_id": "2", "vendor_id": "7"})
    jobs = [
        {"type": "extract", "object": "Account"},
        {"type": "extract", "object": "Item"},
        {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
        {
            "type": "load",
            "object": "products",
            "required_objects": {"extract": ["Item"], "load_result": ["accounts"]},
        },
    ]
    hook.create_batch({"jobs": jobs})
    till, cash = extract_load.destination("accounts")
    assert till["parent_account_id"] == cash["id"]
    (pen,) = extract_load.destination("products")
    assert (pen["account_id"], pen["vendor_id"]) == (cash["id"], "7")  # no vendors were loaded
    verbs = [(event["object"], event["verb"]) for event in extract_load.events("write")]
    assert verbs == [
        *(("accounts", "POST"), ("accounts", "POST"), ("accounts", "PUT")),
        *(("products", "POST"), ("products", "PUT")),
    ]
    hook.create_batch({"jobs": jobs})
    assert len(extract_load.events("write")) == len(verbs)


def test_two_records_with_one_source_id_stay_two(extract_load, hook):
    for name in ("Bill", "Invoice"):
        extract_load.put(name, {"Id": "7", "kind": name})
    required = {"extract": ["Bill", "Invoice"]}
    load = {"type": "load", "object": "financial_transactions", "required_objects": required}
    jobs = [*({"type": "extract", "object": name} for name in ("Bill", "Invoice")), load]
    for _ in range(2):
        hook.create_batch({"jobs": jobs})
    assert [event["verb"] for event in extract_load.events("write")] == ["POST", "POST"]


def test_a_mutual_result_never_finishes(extract_load, hook):
    made = hook.create_batch({"jobs": HANGING})
    extract_load.emulator.clock.advance(100_000)
    assert not hook.get_batch(made.id).finished


def test_a_failure_stops_the_batch_which_is_finished_all_the_same(extract_load, hook):
    extract_load.emulator.settings(start_delay=0, run_seconds=0)
    extract_load.put("Vendor", {"Id": "1"})
    extract_load.fail(side="destination", object="vendors", verb="POST")
    later = {"type": "load", "object": "later", "required_objects": {"load_result": ["vendors"]}}
    made = hook.create_batch({"jobs": [*JOBS, later]})
    batch = hook.get_batch(made.id)
    assert batch.finished
    assert batch.failure is None  # the documented server does not tell
    extract_load.emulator.settings(extract_load_status=True)
    assert hook.get_batch(made.id).failure == "status failed, errors in vendors"
    ends = {event["name"]: event["status"] for event in extract_load.events("job status")}
    assert ends == {"Vendor": "complete", "vendors": "complete", "later": "stopped"}


def test_the_optional_status_is_read(extract_load, hook):
    extract_load.emulator.settings(extract_load_status=True, start_delay=0, run_seconds=0)
    made = hook.create_batch({"jobs": JOBS})
    assert hook.get_batch(made.id).status == "complete"


def test_replace_keeps_the_run_and_delete_removes(extract_load, hook):
    made = hook.create_batch({"jobs": JOBS})
    events = len(extract_load.events("job status"))
    replaced = hook.replace_batch(made.id, {"jobs": []})
    assert replaced.raw["jobs"] == []
    assert len(extract_load.events("job status")) == events
    hook.delete_batch(made.id)
    with pytest.raises(NotFound):
        hook.get_batch(made.id)


def test_ids_are_refused_where_the_server_gives_them(hook):
    with pytest.raises(ValueError, match="must not have an id"):
        hook.create_batch({"id": "0" * 24, "jobs": []})
    with pytest.raises(ValueError, match="id differ"):
        hook.replace_batch("0" * 24, {"id": "1" * 24, "jobs": []})
    with pytest.raises(ValueError, match="24 hexadecimal characters"):
        hook.get_batch("../connection")


def test_a_post_whose_answer_is_lost_is_not_repeated(extract_load, hook):
    extract_load.emulator.fault("lost_answer", path="/batch$", times=1)
    with pytest.raises(FateUnknown):
        hook.create_batch({"jobs": JOBS})
    assert len(hook.list_batches()) == 1


def test_secrets_of_connections_and_tenants_are_masked(hook):
    body = {
        "name": "qb",
        "provider": "QB",
        "realm": "1",
        "oauth_access_key": "s3cret",
        "oauth": {"consumer": "x"},
    }
    made = hook.create_connection_object(body)
    shown = [made, hook.get_connection_object(made["id"]), *hook.list_connections()]
    assert "s3cret" not in str(shown)
    assert {entry["oauth_access_key"] for entry in shown} == {"***"}
    assert {entry["realm"] for entry in shown} == {"1"}
    with pytest.raises(ValueError, match="oauth_access_key, oauth is the mask"):
        hook.replace_connection_object(made["id"], made)
    replaced = hook.replace_connection_object(made["id"], {**body, "realm": "2"})
    assert (replaced["realm"], replaced["oauth_access_key"]) == ("2", "***")
    tenant = hook.create_tenant({"name": "one"})
    assert hook.get_tenant(tenant["id"]) in hook.list_tenants()
    assert hook.replace_tenant(tenant["id"], {"name": "two"})["name"] == "two"
    hook.delete_tenant(tenant["id"])
    assert hook.list_tenants() == []
    hook.delete_connection_object(made["id"])
    assert hook.list_connections() == []


def test_the_connection_test_gets_the_batches(extract_load, hook, monkeypatch):
    assert hook.test_connection() == (True, "The server answers and holds 0 batches.")
    wrong = extract_load.connection_json("server").replace(extract_load.emulator.token, "wrong")
    monkeypatch.setenv("AIRFLOW_CONN_EL_SERVER", wrong)
    good, message = ExtractLoadHook("el_server").test_connection()
    assert not good
    assert message.startswith("401")
    with pytest.raises(Unauthorized):
        ExtractLoadHook("el_server").list_batches()
