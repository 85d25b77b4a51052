"""The emulated batches: cron clock, pause and resume, property copies, drafts, restarts."""

from __future__ import annotations

import itertools

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.emulator.plugins import TYPES

HOUR = 3600


@pytest.fixture
def batches(bulk_emulator: Emulator) -> IntegrationBatchEmulator:
    bulk_emulator.clock.freeze()
    bulk_emulator.settings(start_delay=5, run_seconds=60)
    return IntegrationBatchEmulator(bulk_emulator)


@pytest.fixture
def path():
    return lambda instance, rest="": f"/integration_batch_instances/{instance}{rest}"


def statuses(batches: IntegrationBatchEmulator, instance: str) -> list[str]:
    return [one["status"] for one in batches.executions(instance)]


def whole(api, path, instance: str, **changes) -> dict:
    return {**api.call("GET", path(instance)).json()["data"], **changes}


def test_a_cron_fires_by_the_clock_and_keeps_one_run_coming(batches, bulk_emulator) -> None:
    instance = batches.add(cron="0 * * * *", cron_status="ACTIVE")
    assert statuses(batches, instance) == ["PENDING"]
    bulk_emulator.clock.advance(3 * HOUR)
    found = batches.executions(instance)
    assert len(found) == 4
    starts = [one["parameters"]["expected_start_date"] for one in found]
    assert all(later - earlier == HOUR * 1000 for earlier, later in itertools.pairwise(starts))
    assert {one["parameters"]["execution_type"] for one in found} == {"CRON"}
    assert found[0]["status"] == "SUCCEEDED"
    assert found[0]["start_date"] == starts[0] + 5000
    assert found[-1]["status"] == "PENDING"
    assert starts[-1] > bulk_emulator.clock.now()


def test_a_pause_cancels_pending_cron_runs_alone(batches, bulk_emulator, api, path) -> None:
    instance = batches.add(cron="0 * * * *", cron_status="ACTIVE")
    manual = {
        "parameters": {
            "execution_type": "MANUAL",
            "expected_start_date": bulk_emulator.clock.now() + 86_400_000,
        }
    }
    assert api.call("POST", path(instance, "/executions"), json=manual).status_code == 200
    # One second after the full hour a cron run is on, the next one is coming.
    coming = batches.executions(instance)[0]["parameters"]["expected_start_date"]
    bulk_emulator.clock.advance((coming - bulk_emulator.clock.now()) / 1000 + 6)
    answer = api.call("PUT", path(instance), json=whole(api, path, instance, cron_status="PAUSED"))
    assert answer.status_code == 200, answer.text
    kinds = [(one["parameters"]["execution_type"], one["status"]) for one in batches.executions(instance)]
    assert sorted(kinds) == [("CRON", "CANCELED"), ("CRON", "RUNNING"), ("MANUAL", "PENDING")]


def test_a_resume_does_not_catch_up(batches, bulk_emulator, api, path) -> None:
    instance = batches.add(cron="0 * * * *", cron_status="ACTIVE")
    api.call("PUT", path(instance), json=whole(api, path, instance, cron_status="PAUSED"))
    bulk_emulator.clock.advance(10 * HOUR)
    assert statuses(batches, instance) == ["CANCELED"]
    api.call("PUT", path(instance), json=whole(api, path, instance, cron_status="ACTIVE"))
    assert statuses(batches, instance) == ["CANCELED", "PENDING"]
    assert batches.executions(instance)[1]["parameters"]["expected_start_date"] > bulk_emulator.clock.now()


def test_what_a_put_leaves_out_is_gone(batches, api, path) -> None:
    instance = batches.add(cron="0 * * * *", cron_status="ACTIVE", ram_size="LARGE")
    body = whole(api, path, instance)
    del body["cron"], body["cron_status"], body["ram_size"]
    changed = api.call("PUT", path(instance), json=body).json()["data"]
    assert "cron" not in changed
    assert changed["ram_size"] == "LOW"
    assert statuses(batches, instance) == ["CANCELED"]


def test_everything_survives_a_restart(batches, bulk_emulator) -> None:
    instance = batches.add(cron="0 * * * *", cron_status="ACTIVE")
    bulk_emulator.clock.advance(2 * HOUR)
    before = batches.executions(instance)
    bulk_emulator.restart()
    assert batches.executions(instance) == before
    bulk_emulator.clock.advance(HOUR)
    assert len(batches.executions(instance)) == len(before) + 1


def test_a_very_long_jump_leaves_older_fires_out(batches, bulk_emulator) -> None:
    instance = batches.add(cron="* * * * *", cron_status="ACTIVE")
    bulk_emulator.clock.advance(30 * 24 * HOUR)
    assert len(batches.executions(instance)) == 5001


def test_fates(batches, bulk_emulator, api, path) -> None:
    instance = batches.add()
    body = {"parameters": {"execution_type": "MANUAL", "expected_start_date": bulk_emulator.clock.now()}}
    made = []
    for fault in ("forced_failed", "lost_status", "stuck_running", None):
        if fault:
            bulk_emulator.fault(fault, times=1)
        made.append(api.call("POST", path(instance, "/executions"), json=body).json()["data"]["id"])
    batches.change_execution(made[3], tasks=10, erroneous=3)
    bulk_emulator.clock.advance(HOUR)
    found = {one["id"]: one for one in batches.executions(instance)}
    assert [found[one]["status"] for one in made] == ["FAILED", "LOST", "RUNNING", "SUCCEEDED"]
    assert found[made[0]]["error"]
    assert (found[made[3]]["completed_tasks"], found[made[3]]["erroneous_tasks"]) == (7, 3)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"parameters": {"execution_type": "SOMETIMES", "expected_start_date": 1}}, 400),
        ({"parameters": {"execution_type": "MANUAL", "expected_start_date": "soon"}}, 400),
        ({"parameters": {"execution_type": "MANUAL", "expected_start_date": 1_000}}, 400),
    ],
)
def test_bad_executions_are_refused(batches, api, path, body, status) -> None:
    instance = batches.add()
    api.error(api.call("POST", path(instance, "/executions"), json=body), status)
    assert batches.executions(instance) == []


def test_an_archived_instance_runs_nothing(batches, bulk_emulator, api, path) -> None:
    instance = batches.add(cron="0 * * * *", cron_status="ACTIVE", archived=True)
    body = {"parameters": {"execution_type": "MANUAL", "expected_start_date": bulk_emulator.clock.now()}}
    assert "archived" in api.error(api.call("POST", path(instance, "/executions"), json=body), 409)
    bulk_emulator.clock.advance(2 * HOUR)
    assert batches.executions(instance) == []


def test_only_pending_can_be_cancelled(batches, bulk_emulator, api, path) -> None:
    instance = batches.add()
    body = {"parameters": {"execution_type": "MANUAL", "expected_start_date": bulk_emulator.clock.now()}}
    made = api.call("POST", path(instance, "/executions"), json=body).json()["data"]["id"]
    bulk_emulator.clock.advance(10)
    one = path(instance, f"/executions/{made}")
    for answer in (
        api.call("PUT", one, json={"status": "CANCELED"}),
        api.call("POST", one + "/action", json={"action": "CANCEL"}),
        api.call("DELETE", one),
    ):
        assert "RUNNING" in api.error(answer, 400)
    api.error(api.call("POST", one + "/action", json={"action": "STOP"}), 400)


@pytest.mark.parametrize("version", ["1.0", "1.0.0.0", "one", 1])
def test_bad_versions_are_refused(batches, api, version) -> None:
    batches.add()
    plugin = api.call("GET", "/plugins").json()["data"][0]
    body = {"version_id": version, "plugin_properties": []}
    api.error(api.call("POST", f"/plugins/{plugin['id']}/versions", json=body), 400)


def test_provider_and_name_are_mandatory(batches, api) -> None:
    batches.add()
    plugin = api.call("GET", "/plugins").json()["data"][0]
    body = {"version_id": "2.0.0", "plugin_properties": []}
    assert "provider" in api.error(api.call("POST", f"/plugins/{plugin['id']}/versions", json=body), 400)


def declared(name: str, kind: str = "STRING", value: object = "x") -> dict[str, object]:
    return {"technical_name": name, "property_type": kind, "value": {TYPES[kind][0]: value}}


@pytest.mark.parametrize("kind", TYPES)
def test_a_property_of_every_type_may_be_null(batches, api, kind) -> None:
    batches.add()
    plugin = api.call("GET", "/plugins").json()["data"][0]
    versions = f"/plugins/{plugin['id']}/versions"
    properties = [declared("provider"), declared("name"), declared("later", kind, None)]
    body = {"version_id": "2.0.0", "plugin_properties": properties}
    version = api.call("POST", versions, json=body).json()["data"]["id"]
    stored = api.call("GET", f"{versions}/{version}/properties").json()["data"]
    assert stored[2]["value"] == {TYPES[kind][0]: None}
    for value in (None, {}, {TYPES[kind][0]: [1]}):
        properties[2]["value"] = value
        api.error(api.call("POST", versions, json={**body, "version_id": "3.0.0"}), 400)


def test_name_and_provider_may_not_be_null(batches, api) -> None:
    batches.add()
    plugin = api.call("GET", "/plugins").json()["data"][0]
    properties = [declared(name, value=None) for name in ("provider", "name")]
    body = {"version_id": "2.0.0", "plugin_properties": properties}
    assert "provider" in api.error(api.call("POST", f"/plugins/{plugin['id']}/versions", json=body), 400)


def test_ids_that_are_none_find_nothing(batches, api, path) -> None:
    instance = batches.add()
    for call in (
        "/plugins/x",
        "/plugins/version/0",
        "/plugins/1/versions/1",
        path("x"),
        path(instance, "/executions/99999999999999999999"),
    ):
        api.error(api.call("GET", call), 404)
